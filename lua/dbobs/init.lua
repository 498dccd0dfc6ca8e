--- dbobs: everything that a pipeline or script uses.
---   local dbobs = require "dbobs"
local collect = require "dbobs.collect"
local kafka = require "dbobs.kafka"
local log = require "dbobs.log"
local options = require "dbobs.options"
local output = require "dbobs.output"
local otlp = require "dbobs.otlp"
local pipeline = require "dbobs.pipeline"
local postgres = require "dbobs.postgres"
local record = require "dbobs.record"
local sink = require "dbobs.sink"
local tail = require "dbobs.tail"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local M = {
  -- the four primitives
  postgres = postgres,
  kafka = setmetatable({}, {
    __index = kafka,
    -- dbobs.kafka { ["bootstrap.servers"] = ... } makes a producer
    __call = function(_, properties) return output.producer(properties) end,
  }),
  tail = tail,
  sleep = timer.sleep,
  every = timer.every,
  -- tasks
  spawn = task.spawn,
  join = task.join,
  cancel = task.cancel,
  deadline = task.deadline,
  wait = task.wait,
  -- clocks
  now = timer.wall,
  monotonic = timer.monotonic,
  duration = timer.duration,
  iso8601 = timer.iso8601,
  -- the rest
  collect = collect.collect,
  batch = sink.batch,
  send = sink.send,
  wait_delivered = sink.wait,
  json = require "cjson",
  otlp = otlp,
  record = record,
  log = log,
  check_options = options.check,
}

--- An environment variable; an empty one counts as unset.
---@param name string
---@param default string|nil
---@return string|nil
function M.env(name, default)
  local value = os.getenv(name)
  if value == nil or value == "" then return default end
  return value
end

--- The options that were given as `dbobs run FILE name=value`, checked.
---@param defaults table<string, string|number|boolean> name -> default; its type is the option's type
---@return table<string, string|number|boolean>
function M.arguments(defaults)
  return pipeline.arguments(defaults)
end

return M
