--- The options of a load test: those of every workload and those that a workload declares.
local hints = require "dbobs.options"
local sys = require "dbobs.core.sys"

local M = {}

--- What every workload takes.
M.general = {
  { name = "target", type = "string", default = "",
    help = "connection string or URI of the server; else the file's own targets" },
  { name = "connections", type = "integer", default = 8, help = "how many, 1 to 10000" },
  { name = "threads", type = "integer", default = 0,
    help = "each with a Lua state of its own; 0: as the connections ask for" },
  { name = "duration", type = "duration", default = "60s", help = "how long; 0s: until it is stopped" },
  { name = "warmup", type = "duration", default = "0s", help = "time before the figures begin" },
  { name = "rate", type = "number", default = 0,
    help = "events a second, of all connections together; 0: as many as they can" },
  { name = "arrivals", type = { one = { "constant", "poisson" } }, default = "constant",
    help = "how a rate is spread in time" },
  { name = "stages", type = "string", default = "",
    help = "ramps, like 10s:500,60s:500,10s:0 (rates) or 30s:100c (connections)" },
  { name = "think", type = "duration", default = "0s", help = "pause of a connection behind each event" },
  { name = "reconnect", type = "integer", default = 0, help = "a new connection after so many events; 0: never" },
  { name = "protocol", type = { one = { "prepared", "extended", "simple" } }, default = "prepared",
    help = "how statements are sent" },
  { name = "retries", type = "integer", default = 0,
    help = "how often an event is tried again after a serialization failure or deadlock" },
  { name = "errors", type = { one = { "stop", "count" } }, default = "stop",
    help = "stop when an event always fails, or only count" },
  { name = "seed", type = "integer", default = 1, help = "of the random numbers: the same seed gives the same load" },
  { name = "interval", type = "duration", default = "1s", help = "how often a line of figures is written" },
  { name = "limits", type = "string", default = "",
    help = "like p99=20ms,errors=0,rate=900: exit code 1 when one is broken" },
  { name = "json", type = "string", default = "", help = "file for the figures as JSON" },
  { name = "hgrm", type = "string", default = "",
    help = "file for the distribution, as HdrHistogram's plotter reads it" },
  { name = "html", type = "string", default = "", help = "file for a page with plots" },
  { name = "kafka", type = "string", default = "", help = "topic for the figures, load-results for instance" },
}

local convert = {}

function convert.string(text) return text end

function convert.number(text) return tonumber(text), "a number" end

function convert.integer(text)
  local number = tonumber(text)
  if number and number % 1 ~= 0 then number = nil end
  return number, "an integer"
end

function convert.duration(text) return sys.parse_duration(tostring(text)), 'a duration like "30s"' end

function convert.boolean(text)
  if text == "true" or text == "yes" or text == "1" then return true end
  if text == "false" or text == "no" or text == "0" then return false end
  return nil, "true or false"
end

local function to_type(kind, text)
  if type(kind) ~= "table" then return convert[kind](text) end
  for _, allowed in ipairs(kind.one) do
    if text == allowed then return text end
  end
  return nil, "one of " .. table.concat(kind.one, ", ")
end

--- What is wrong with a workload's own declarations.
---@param declared table[]
---@return string|nil problem
function M.problem(declared)
  local known = {}
  for _, option in ipairs(M.general) do known[option.name] = true end
  for i, option in ipairs(declared) do
    local name = option.name
    if type(name) ~= "string" then return ("option %d has no name"):format(i) end
    if known[name] then return ("option '%s' is there already"):format(name) end
    known[name] = true
    if type(option.help) ~= "string" then return ("option '%s' has no help"):format(name) end
    local kind = option.type
    if type(kind) ~= "table" and not convert[kind] then
      return ("option '%s': type must be string, number, integer, boolean, duration or { one = ... }"):format(name)
    end
    if option.default == nil then return ("option '%s' has no default"):format(name) end
    if to_type(kind, tostring(option.default)) == nil then
      return ("option '%s': the default is no %s"):format(name, kind)
    end
  end
end

local function each(workload)
  local all = {}
  for _, option in ipairs(M.general) do all[#all + 1] = option end
  for _, option in ipairs(workload.options) do all[#all + 1] = option end
  return all
end

local function default_of(workload, option)
  local own = workload.defaults[option.name]
  if own ~= nil then return own end
  return option.default
end

--- The values of all options.
---@param workload table
---@param given table<string, string> name -> text, of the command line
---@return table|nil values durations in seconds
---@return string|nil problem
function M.settle(workload, given)
  local values, names, later = {}, {}, {}
  for _, option in ipairs(each(workload)) do
    local name = option.name
    names[#names + 1] = name
    local default = default_of(workload, option)
    local computed = type(default) == "function"
    local text = given[name] or (not computed and tostring(default))
    if not text then
      later[#later + 1] = { name = name, compute = default }
    else
      local value, expected = to_type(option.type, text)
      if value == nil then return nil, ("option %s: %s expected, got '%s'"):format(name, expected, text) end
      values[name] = value
    end
  end
  for _, one in ipairs(later) do values[one.name] = one.compute(values) end
  for name, text in pairs(given) do
    if values[name] == nil then
      return nil, ("unknown option %s=%s%s"):format(name, text, hints.hint(name, names))
    end
  end
  if values.connections < 1 or values.connections > 10000 then return nil, "option connections: 1 to 10000" end
  if values.threads < 0 then return nil, "option threads: 0 or more" end
  if values.rate < 0 or values.rate ~= values.rate then return nil, "option rate: 0 or more" end
  if values.interval <= 0 then return nil, "option interval: more than 0" end
  return values
end

local function lines(workload, options)
  local parts = {}
  for _, option in ipairs(options) do
    local kind = type(option.type) == "table" and table.concat(option.type.one, "|") or option.type
    local default = default_of(workload, option)
    default = type(default) == "function" and "(computed)" or tostring(default)
    local name = ("  %-22s"):format(option.name .. "=" .. default)
    parts[#parts + 1] = ("%s %s (%s)\n"):format(name, option.help, kind)
  end
  return table.concat(parts)
end

--- The text that --help prints.
function M.help(workload, path)
  local own = #workload.options > 0 and ("\nOptions of this workload:\n" .. lines(workload, workload.options)) or ""
  return ([[
Usage: dbobs run %s [prepare|run|cleanup] [name=value...]

%s
%s
Options of every load test:
%s]]):format(path, workload.description or workload.name, own, lines(workload, M.general))
end

return M
