--- Time: sleeping, regular ticks, clocks. Durations are texts like "250ms", "30s", "5m", "2h", "7d", or seconds.
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

--- Seconds of a duration; raises at the caller for anything that is none.
---@param value string|number
---@param level integer|nil whose line an error names: 1 (the default) is the caller of duration
---@return number seconds
function M.duration(value, level)
  local ok, seconds = pcall(sys.duration, value)
  if not ok then
    local cause = tostring(seconds):gsub("^.-%((.*)%)$", "%1")
    error(cause, (level or 1) + 1)
  end
  return seconds
end

--- Waits for the duration; other tasks go on meanwhile.
---@param duration string|number
function M.sleep(duration)
  local until_time = sys.monotonic() + M.duration(duration, 2)
  repeat
    local left = until_time - sys.monotonic()
    task.wait(nil, math.max(left, 0))
  until left <= 0 or sys.monotonic() >= until_time
end

--- Seconds of a clock that never goes back.
---@return number seconds
M.monotonic = sys.monotonic

--- Microseconds since 1970-01-01T00:00:00Z.
---@return number microseconds
M.wall = sys.wall

--- An instant as ISO 8601 in UTC with microseconds.
---@param microseconds number since 1970
---@return string
function M.iso8601(microseconds)
  local seconds = math.floor(microseconds / 1e6)
  return os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. (".%06dZ"):format(microseconds - seconds * 1e6)
end

--- The tick after `last` of a regular schedule that is still to come.
---@param last number when the last tick was due (monotonic seconds)
---@param period number seconds
---@param now number monotonic seconds
---@return number due, number skipped how many ticks have passed meanwhile and are left out
function M.next_tick(last, period, now)
  local missed = math.max(math.floor((now - last) / period), 0)
  return last + (missed + 1) * period, missed
end

--- Calls fn(tick) every `period` in the current task, for ever, or until it returns false. The first tick comes after a
--- random part of `options.jitter` (a duration, by default a tenth of the period), so that many of them do not fire
--- together. Ticks that fall due while fn still runs are skipped and counted.
---@param period string|number duration
---@param fn fun(tick: {number: integer, skipped: integer}): boolean|nil
---@param options {jitter: string|number|nil}|nil
function M.every(period, fn, options)
  if type(fn) ~= "function" then error("every: the second argument must be a function, got " .. type(fn), 2) end
  require("dbobs.options").check(options or {}, { jitter = "duration" }, "every", 2)
  period = M.duration(period, 2)
  if period <= 0 then error("every: the period must be longer than 0", 2) end
  local jitter = options and options.jitter and M.duration(options.jitter, 2) or period / 10
  local due = sys.monotonic() + math.random() * jitter
  local tick = { number = 0, skipped = 0 }
  while true do
    M.sleep(math.max(due - sys.monotonic(), 0))
    tick.number = tick.number + 1
    if fn(tick) == false then return end
    local missed
    due, missed = M.next_tick(due, period, sys.monotonic())
    tick.skipped = tick.skipped + missed
  end
end

return M
