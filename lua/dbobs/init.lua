--- dbobs: everything that a pipeline or script uses.
---   local dbobs = require "dbobs"
--- What a script does not use is not loaded: each field below comes from its module at first use.
local M = {}

-- name of the field -> its module, or the module and the field there; call: what runs when the field is called
local FIELDS = {
  -- the four primitives
  kafka = { "dbobs.kafka", call = { "dbobs.output", "producer" } },
  postgres = { "dbobs.postgres" },
  tail = { "dbobs.tail" },
  sleep = { "dbobs.timer", "sleep" },
  every = { "dbobs.timer", "every" },
  -- tasks
  spawn = { "dbobs.task", "spawn" },
  join = { "dbobs.task", "join" },
  cancel = { "dbobs.task", "cancel" },
  deadline = { "dbobs.task", "deadline" },
  wait = { "dbobs.task", "wait" },
  -- clocks
  now = { "dbobs.timer", "wall" },
  monotonic = { "dbobs.timer", "monotonic" },
  duration = { "dbobs.timer", "duration" },
  iso8601 = { "dbobs.timer", "iso8601" },
  -- sending
  collect = { "dbobs.collect", "collect" },
  each = { "dbobs.collect", "each" },
  targets = { "dbobs.targets", "new" },
  health = { "dbobs.health", "serve" },
  batch = { "dbobs.sink", "batch" },
  send = { "dbobs.sink", "send" },
  load = { "dbobs.load" },
  wait_delivered = { "dbobs.sink", "wait" },
  -- formats
  json = { "dbobs.json" },
  otlp = { "dbobs.otlp" },
  record = { "dbobs.record" },
  statements = { "dbobs.statements" },
  -- the rest
  env = { "dbobs.environment", "get" },
  log = { "dbobs.log" },
  check_options = { "dbobs.options", "check" },
  -- arguments(defaults): the options given as `dbobs run FILE name=value`, over their defaults and checked
  arguments = { "dbobs.pipeline", "arguments" },
}

setmetatable(M, {
  fields = FIELDS, -- for the reference
  __index = function(self, name)
    local place = FIELDS[name]
    if not place then
      local names = {}
      for field in pairs(FIELDS) do names[#names + 1] = field end
      local hint = require("dbobs.options").hint(tostring(name), names)
      error(("dbobs.%s: there is no such thing%s"):format(tostring(name), hint), 2)
    end
    local module = require(place[1])
    local value = module
    if place[2] then value = module[place[2]] end
    rawset(self, name, value)
    return value
  end,
})

--- Kafka. Called, it makes a producer: dbobs.kafka { ["bootstrap.servers"] = ... }.
M.kafka = setmetatable({}, {
  __index = function(_, name) return require("dbobs.kafka")[name] end,
  __call = function(_, properties) return require("dbobs.output").producer(properties) end,
})

return M
