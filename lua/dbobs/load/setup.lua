--- What a test is, from the workload and the command line: the same in the main thread and in each of the others.
local env = require "dbobs.environment"
local limits = require "dbobs.load.limits"
local options = require "dbobs.load.options"
local params = require "dbobs.core.pgparams"
local stages = require "dbobs.load.stages"
local sys = require "dbobs.core.sys"

local M = {}

local ENVIRONMENT = { "POSTGRES_HOST", "PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "POSTGRES_DB" }

--- The server that the environment names, by POSTGRES_HOST and friends or libpq's own variables.
---@return table|nil target nil when it names none
function M.environment_target()
  for _, name in ipairs(ENVIRONMENT) do
    if env.get(name) then
      return {
        host = env.get "POSTGRES_HOST", port = env.get "POSTGRES_PORT", user = env.get "POSTGRES_USER",
        password = env.get "POSTGRES_PASSWORD", dbname = env.get "POSTGRES_DB",
      }
    end
  end
end

local function of_text(text)
  local parameters = params.parse(text)
  if not parameters then
    return nil, "option target: not a connection string or URI that libpq understands"
  end
  return { { parameters = parameters, weight = 1 } }
end

local function targets_of(workload, values)
  if values.target ~= "" then return of_text(values.target) end
  local given = workload.targets
  if type(given) == "function" then given = given(values) end
  local list = {}
  for i, target in ipairs(given or {}) do
    local parameters = {}
    for name, value in pairs(target) do
      if name ~= "weight" and name ~= "name" then parameters[name] = value end
    end
    local weight = target.weight or 1
    if type(weight) ~= "number" or weight <= 0 or weight ~= weight then
      return nil, ("target %d: the weight must be a number above 0, got %s"):format(i, tostring(weight))
    end
    list[#list + 1] = { parameters = parameters, weight = weight, name = target.name }
  end
  if #list > 0 then return list end
  return nil, "no server is named, and a load is put on none by accident: "
    .. "add target=\"host=... dbname=...\", or set PGHOST or POSTGRES_HOST"
end

local function stages_of(workload, values)
  if values.stages ~= "" then return stages.parse(values.stages) end
  if not workload.stages then return nil end
  local list = {}
  for i, stage in ipairs(workload.stages) do
    local seconds = sys.parse_duration(tostring(stage.duration))
    if not seconds then return nil, ("stage %d: the duration must be one like \"30s\""):format(i) end
    list[i] = { seconds = seconds, rate = stage.rate, connections = stage.connections }
  end
  return list
end

local function rate_of(workload, values, list, given)
  if given.rate then return values.rate > 0 and values.rate or nil end
  local ramp = list and stages.ramp(list, "rate")
  if ramp then return ramp end
  if workload.rate then return workload.rate end
  return values.rate > 0 and values.rate or nil
end

local function settle(workload, given)
  local values, problem = options.settle(workload, given)
  if not values then return nil, problem end
  local test = { workload = workload, values = values }
  test.events, problem = workload:events_of(values)
  if not test.events then return nil, problem end
  test.targets, problem = targets_of(workload, values)
  if not test.targets then return nil, problem end
  local list
  list, problem = stages_of(workload, values)
  if problem then return nil, problem end
  test.rate = rate_of(workload, values, list, given)
  test.open = test.rate ~= nil or workload.feed ~= nil
  test.active = list and stages.ramp(list, "connections")
  test.duration = values.duration > 0 and values.duration or math.huge
  if list and not given.duration then test.duration = stages.duration(list) end
  test.limits, problem = limits.settle(workload.limits or {}, values.limits)
  if not test.limits then return nil, problem end
  return test
end

--- Settles a test.
---@param workload table
---@param given table<string, string> name -> text, of the command line
---@return table|nil test {workload, values, events, targets, rate, open, active, duration, limits}. rate: nil, a
---   number or a function of time; open: whether times count from when events should start; active: how many
---   connections take part, a function of time; duration in seconds, math.huge without end
---@return string|nil problem
function M.settle(workload, given)
  local ok, test, problem = pcall(settle, workload, given)
  if ok then return test, problem end
  return nil, ("workload %s: %s"):format(workload.name, tostring(test))
end

--- How many threads a test has.
function M.threads(values, cpus)
  local threads = values.threads
  if threads == 0 then threads = math.min(cpus, math.ceil(values.connections / 32)) end
  return math.max(1, math.min(threads, values.connections))
end

--- The target of each connection: by their weights, evenly.
---@return integer[] connection's number -> target's index
function M.assign(targets, connections)
  local assigned, total = {}, 0
  local counts = {}
  for i, target in ipairs(targets) do counts[i], total = 0, total + target.weight end
  for number = 1, connections do
    local best, lack
    for i, target in ipairs(targets) do
      local missing = number * target.weight / total - counts[i]
      if not best or missing > lack then best, lack = i, missing end
    end
    assigned[number], counts[best] = best, counts[best] + 1
  end
  return assigned
end

return M
