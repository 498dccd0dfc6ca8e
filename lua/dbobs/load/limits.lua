--- Limits that a load test must keep: { p99 = "20ms", errors = 0, rate = 900 }.
local hints = require "dbobs.options"
local sys = require "dbobs.core.sys"

local M = {}

local TIMES = { mean = true, p50 = 50, p90 = 90, p95 = 95, p99 = 99, p999 = 99.9, p9999 = 99.99, max = 100 }
local NUMBERS = { errors = true, not_started = true, rate = true }

local function names()
  local list = {}
  for name in pairs(TIMES) do list[#list + 1] = name end
  for name in pairs(NUMBERS) do list[#list + 1] = name end
  return list
end

--- Reads the limits of a workload and of the command line, which wins.
---@param declared table<string, string|number>
---@param text string like "p99=20ms,errors=0"
---@return table<string, number>|nil limits times in seconds
---@return string|nil problem
function M.settle(declared, text)
  local given, limits = {}, {}
  for name, value in pairs(declared) do given[name] = value end
  for part in text:gmatch "[^,%s]+" do
    local name, value = part:match "^([%w_]+)=(.+)$"
    if not name then return nil, ("limits: '%s' is none, write p99=20ms"):format(part) end
    given[name] = value
  end
  for name, value in pairs(given) do
    if not TIMES[name] and not NUMBERS[name] then
      return nil, ("limits: there is no limit '%s'%s"):format(name, hints.hint(name, names()))
    end
    local number
    if TIMES[name] then number = sys.parse_duration(tostring(value))
    else number = tonumber(value) end
    if not number then
      return nil, ("limits: %s: %s expected, got '%s'"):format(name, TIMES[name] and "a duration" or "a number", value)
    end
    limits[name] = number
  end
  return limits
end

--- What the figures break.
---@param limits table<string, number>
---@param total {rate: number, errors: number, not_started: number, times: userdata} times: a histogram
---@return string[] broken one sentence each
function M.broken(limits, total)
  local broken = {}
  for name, limit in pairs(limits) do
    if TIMES[name] then
      local value = name == "mean" and total.times:mean() or total.times:percentile(TIMES[name])
      if name == "max" then value = total.times:max() end
      if value > limit then
        broken[#broken + 1] = ("%s is %.3f ms, over the limit of %.3f ms"):format(name, value * 1e3, limit * 1e3)
      end
    elseif name == "rate" then
      if total.rate < limit then
        broken[#broken + 1] = ("the rate is %.1f/s, under the limit of %g/s"):format(total.rate, limit)
      end
    elseif total[name] > limit then
      broken[#broken + 1] = ("%s: %d, over the limit of %d"):format(name:gsub("_", " "), total[name], limit)
    end
  end
  table.sort(broken)
  return broken
end

return M
