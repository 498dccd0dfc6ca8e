--- Which records of a server log are sent: the options of the logs collector, checked and made into what the parser
--- takes. Without any of them the parser has no filter at all.
local core = require "dbobs.core.tail"
local options = require "dbobs.options"

local M = {}

local EVENTS, LEVELS = core.names()

-- PostgreSQL's severities are taken for the level that they have in the records.
local SEVERITIES = { log = "info", notice = "info", fatal = "critical", panic = "critical" }
for i = 1, 5 do SEVERITIES["debug" .. i] = "debug" end

local function rank(name)
  name = tostring(name):lower()
  name = SEVERITIES[name] or name
  for i, level in ipairs(LEVELS) do
    if level == name then return i - 1 end
  end
end

local function check_event(name, what)
  for _, event in ipairs(EVENTS) do
    if event == name then return end
  end
  return ("%s: there is no event type '%s' in a server log%s"):format(what, tostring(name),
    options.hint(tostring(name), EVENTS))
end

local function check_event_types(given)
  for key, value in pairs(given) do
    local name = type(key) == "number" and value or key
    local problem = check_event(name, "event_types")
    if problem then return problem end
    if type(key) ~= "number" and value ~= false then
      return ("event_types: '%s' must be false (not sent); or list the types that are sent, like { 'deadlock' }")
        :format(key)
    end
  end
end

local function check_sample(given)
  for name, share in pairs(given) do
    local problem = check_event(name, "sample")
    if problem then return problem end
    if type(share) ~= "number" or not (share >= 0 and share <= 1) then
      return ("sample: '%s' must be a share from 0 to 1, like 0.1 for a tenth, got %s"):format(name, tostring(share))
    end
  end
end

--- What is wrong with the choice that a pipeline makes.
---@param given {min_level: string, event_types: table, log_databases: string[], sample: table<string, number>,
--- rate: number} see pipelines/collectors/logs.lua
---@return string|nil problem
function M.problem(given)
  if not rank(given.min_level) then
    return ("option 'min_level' must be one of %s, or a severity of PostgreSQL, got '%s'"):format(
      table.concat(LEVELS, ", "), given.min_level)
  end
  for _, pattern in pairs(given.log_databases) do
    if type(pattern) ~= "string" then
      return "option 'log_databases' must be a list of texts, like { 'app', 'shop_*' }"
    end
  end
  if not (given.rate >= 0 and given.rate < math.huge) then
    return ("option 'rate' must be a number of events a second, 0 for no limit, got %s"):format(tostring(given.rate))
  end
  return check_event_types(given.event_types) or check_sample(given.sample)
end

--- What parser:filter takes.
---@param given table as for M.problem
---@return table|nil filter nil: everything is wanted
function M.filter(given)
  local left_out = {}
  if #given.event_types > 0 then
    for _, name in ipairs(EVENTS) do left_out[name] = true end
    for _, name in ipairs(given.event_types) do left_out[name] = false end
  end
  for name, wanted in pairs(given.event_types) do
    if wanted == false then left_out[name] = true end
  end
  local level = rank(given.min_level)
  if level == 0 and not next(left_out) and #given.log_databases == 0 and not next(given.sample) and given.rate == 0 then
    return nil
  end
  return { level = level, left_out = left_out, share = given.sample, rate = given.rate,
    databases = #given.log_databases > 0 and given.log_databases or nil }
end

return M
