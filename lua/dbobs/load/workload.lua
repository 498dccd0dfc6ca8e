--- A workload file, checked: what `dbobs.load.workload` makes of the table that the file gives.
local hints = require "dbobs.options"
local options = require "dbobs.load.options"

local M = {}

local workload = {}
workload.__index = workload

local FIELDS = {
  name = "string", description = "string", options = "table", defaults = "table", targets = "table|function",
  prepare = "function", run = "function", cleanup = "function", connect = "function", events = "table|function",
  rate = "function", stages = "table", limits = "table", retry_on = "table", feed = "function",
}

local EVENT_FIELDS = { name = "string", weight = "number|function", run = "function" }

local function check_event(event, i)
  local problem = hints.problem(event, EVENT_FIELDS, "event " .. i)
  if problem then return problem end
  if not event.name then return ("event %d has no name"):format(i) end
  if not event.run then return ("event '%s' has no run function"):format(event.name) end
end

--- What is wrong with a list of events.
---@param events table[]
---@param settled boolean|nil whether every weight must be a number by now
---@return string|nil problem
function M.events_problem(events, settled)
  local names, total = {}, 0
  for i, event in ipairs(events) do
    local problem = check_event(event, i)
    if problem then return problem end
    if names[event.name] then return ("two events are called '%s'"):format(event.name) end
    names[event.name] = true
    -- A function's value is known once the options are.
    local weight = event.weight or 1
    if type(weight) == "function" and not settled then weight = 1 end
    if type(weight) ~= "number" or weight < 0 or weight ~= weight or weight == math.huge then
      return ("event '%s': the weight must be a number of 0 or more, got %s"):format(event.name, tostring(weight))
    end
    total = total + weight
  end
  if #events == 0 then return "there are no events" end
  if total <= 0 then return "every event has the weight 0" end
end

--- Checks a workload; raises what is wrong with it.
---@param spec table
---@return table workload
function M.new(spec)
  local problem = hints.problem(spec, FIELDS, "workload")
  if not problem and not spec.name then problem = "a workload needs a name" end
  if not problem and not spec.events then problem = ("workload '%s' has no events"):format(spec.name) end
  spec.options, spec.defaults = spec.options or {}, spec.defaults or {}
  problem = problem or options.problem(spec.options)
  if not problem and type(spec.events) == "table" then problem = M.events_problem(spec.events) end
  if problem then error(("workload %s: %s"):format(tostring(spec.name), problem), 0) end
  return setmetatable(spec, workload)
end

--- Whether a pipeline file's value is a workload.
function M.is(value)
  return getmetatable(value) == workload
end

--- The events with their weights for these options.
---@param self table
---@param values table option values
---@return table[]|nil events
---@return string|nil problem
function workload:events_of(values)
  local events = self.events
  if type(events) == "function" then events = events(values) end
  local settled = {}
  for i, event in ipairs(events) do
    local weight = event.weight
    if type(weight) == "function" then weight = weight(values) end
    settled[i] = { name = event.name, run = event.run, weight = weight == nil and 1 or weight }
  end
  local problem = M.events_problem(settled, true)
  if problem then return nil, "workload: " .. problem end
  return settled
end

return M
