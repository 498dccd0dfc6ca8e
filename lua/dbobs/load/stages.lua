--- Stages of a load test: ramps of the rate, or of the number of connections, in time.
local sys = require "dbobs.core.sys"

local M = {}

--- Reads "10s:500,60s:500,10s:0": within 10 s to 500 events a second, 60 s at that, then down. "30s:100c" is about
--- connections.
---@param text string
---@return table|nil stages list of {seconds, rate|connections}
---@return string|nil problem
function M.parse(text)
  local stages = {}
  for part in (text .. ","):gmatch "([^,]*)," do
    local duration, number, unit = part:match "^%s*([%d%.]+%a*):([%d%.]+)(c?)%s*$"
    local seconds, value = duration and sys.parse_duration(duration), tonumber(number)
    if not seconds or not value then return nil, ("stages: '%s' is none, write 10s:500 or 10s:100c"):format(part) end
    stages[#stages + 1] = { seconds = seconds, [unit == "c" and "connections" or "rate"] = value }
  end
  return stages
end

--- The value at each time: a straight line from each stage's end to the next one's.
---@param stages table[] list of {seconds, rate|connections}
---@param field "rate"|"connections"
---@return (fun(t: number): number)|nil nil when no stage has it
function M.ramp(stages, field)
  local points, time, value = { { 0, 0 } }, 0, 0
  local any = false
  for _, stage in ipairs(stages) do
    time = time + stage.seconds
    any = any or stage[field] ~= nil
    value = stage[field] or value
    points[#points + 1] = { time, value }
  end
  if not any then return nil end
  return function(t)
    for i = 2, #points do
      local from, to = points[i - 1], points[i]
      if t < to[1] then return from[2] + (to[2] - from[2]) * (t - from[1]) / (to[1] - from[1]) end
    end
    return points[#points][2]
  end
end

--- All stages together.
---@return number seconds
function M.duration(stages)
  local seconds = 0
  for _, stage in ipairs(stages) do seconds = seconds + stage.seconds end
  return seconds
end

return M
