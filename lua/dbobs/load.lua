--- Load tests: dbobs.load.workload { ... } is what a workload file returns.
local workload = require "dbobs.load.workload"

local M = {}

---@class dbobs.load.event
---@field name string
---@field weight number|fun(options: table): number|nil how often it is chosen, against the others; 1 by default
---@field run fun(db: dbobs.load.connection, random: table, options: table)

---@class dbobs.load.spec
---@field name string
---@field description string|nil for --help
---@field options table[]|nil each {name, type, default, help}; type: "string", "number", "integer", "boolean",
---   "duration" (seconds in Lua) or { one = { ... } }
---@field defaults table|nil of options that every load test has: { connections = 4, duration = "0s" }
---@field targets table[]|fun(options: table): table[]|nil the servers: libpq's parameters, and weight
---@field prepare fun(run: dbobs.load.preparation)|nil makes tables and data
---@field cleanup fun(run: dbobs.load.preparation)|nil beside dropping the tables that prepare made
---@field connect fun(db: dbobs.load.connection, options: table)|nil for each new connection
---@field run fun(options: table)|nil once in each thread, before its connections
---@field events dbobs.load.event[]|fun(options: table): dbobs.load.event[]
---@field feed (fun(options: table): table[])|nil sessions with their own timing, in place of connections and rate:
---   each a list of {at = seconds after the start, event = its name, ...}; the event's run gets the entry as its
---   fourth argument
---@field rate (fun(t: number): number)|nil events a second, t seconds after the start; rate= on the command line wins
---@field stages table[]|nil each {duration, rate = or connections =}
---@field retry_on string[]|nil SQLSTATEs for retries=, beside serialization failures and deadlocks
---@field limits table|nil { p99 = "20ms", errors = 0, rate = 900 }: exit code 1 when one is broken

--- Checks a workload. Raises what is wrong with it.
---@param spec dbobs.load.spec
---@return table workload to be returned by the file
function M.workload(spec)
  return workload.new(spec)
end

--- For `targets` of a workload: the server that the environment names, by POSTGRES_HOST and friends or libpq's own
--- variables.
---@return table[] targets empty when it names none
function M.targets_of_environment()
  return { require("dbobs.load.setup").environment_target() }
end

return M
