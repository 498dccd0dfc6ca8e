--- How far the reading of server logs is: figures for whoever watches dbobs, progress while a backlog is caught up on
--- (a line on a terminal, else one in the log now and then), and what is at risk while Kafka takes nothing.
local counters = require "dbobs.counters"
local log = require "dbobs.log"
local output = require "dbobs.output"
local sys = require "dbobs.core.sys"

local M = {}

--- From when on there is a backlog: so many bytes are left, or what was written so many seconds ago is.
M.backlog_bytes, M.backlog_seconds = 64e6, 10
--- How often progress is told in the log, in seconds, and for how long nothing must be taken before bytes are at risk.
M.tell_every, M.stuck_seconds = 10, 30
-- How often progress is looked at while there is a backlog and else, and over how long its rate is measured.
local SHOW_EVERY, LOOK_EVERY, RATE_OVER = 0.5, 5, 5
-- There is none any more when less is left, or when all that was there so many seconds ago is delivered.
local NO_BACKLOG, KEPT_UP = 1e6, 2

-- The logs that have a backlog, and when that was told last.
local behind, told_at = {}, nil

--- A time as people say it.
---@param seconds number
---@return string like "3 min 20 s"
function M.duration(seconds)
  seconds = math.floor(seconds + 0.5)
  if seconds < 60 then return ("%d s"):format(seconds) end
  if seconds < 3600 then return ("%d min %d s"):format(seconds / 60, seconds % 60) end
  if seconds < 86400 then return ("%d h %d min"):format(seconds / 3600, seconds % 3600 / 60) end
  return ("%d d %d h"):format(seconds / 86400, seconds % 86400 / 3600)
end

--- Bytes as people say them.
---@param bytes number
---@return string like "12.4 MB"
function M.size(bytes)
  if bytes < 999.5 then return ("%d B"):format(bytes) end
  if bytes < 999.95e3 then return ("%.1f kB"):format(bytes / 1e3) end
  if bytes < 999.95e6 then return ("%.1f MB"):format(bytes / 1e6) end
  return ("%.1f GB"):format(bytes / 1e9)
end

---@class dbobs.log_progress
local progress = {}
progress.__index = progress

--- The progress of one target's log.
---@param target string its name
---@return dbobs.log_progress
function M.new(target)
  return setmetatable({ target = target, next_look = 0 }, progress)
end

-- All that have a backlog in numbers: sent since they began to have one, left, bytes a second, their names.
local function total()
  local sum = { sent = 0, left = 0, rate = 0, names = {} }
  for one in pairs(behind) do
    sum.sent, sum.left, sum.rate = sum.sent + one.sent, sum.left + one.left, sum.rate + one.rate
    sum.names[#sum.names + 1] = one.target
  end
  return sum
end

-- The same in texts of decreasing length.
local function texts(sum)
  local who = #sum.names == 1 and sum.names[1] or ("%d logs"):format(#sum.names)
  local percent = math.floor(100 * sum.sent / math.max(sum.sent + sum.left, 1))
  local rate = ("%.1f MB/s"):format(sum.rate / 1e6)
  local time = sum.rate > 0 and (", %s left"):format(M.duration(sum.left / sum.rate)) or ""
  local short = ("%d %%, %s%s"):format(percent, rate, time)
  return who, ("%d %% of %s, %s%s"):format(percent, M.size(sum.sent + sum.left), rate, time), short
end

-- A status line would come between the records on the same terminal.
local function has_line()
  return log.has_status() and not (output.is_stdout() and sys.is_terminal(1))
end

-- Tells the progress of all, on the terminal each time, else in the log now and then.
local function show(now)
  if next(behind) == nil then
    told_at = nil
    return log.status(nil)
  end
  local who, text, short = texts(total())
  if has_line() then
    local line = ("catching up on %s: %s"):format(who, text)
    return log.status(#line < sys.columns(2) and line or short)
  end
  told_at = told_at or now
  if now - told_at < M.tell_every then return end
  told_at = now
  log.info("catching up: " .. text, { target = who })
end

local function measure(self, seen, now)
  self.left = math.max(seen.size - seen.acknowledged, 0)
  self.sent = seen.delivered - self.began_at
  if now - self.mark.time >= RATE_OVER then self.before, self.mark = self.mark, { time = now, sent = self.sent } end
  local since = self.before
  if now > since.time then self.rate = (self.sent - since.sent) / (now - since.time) end
end

local function begin(self, seen, now)
  self.began, self.began_at, self.rate = now, seen.delivered, 0
  self.mark = { time = now, sent = 0 }
  self.before = self.mark
  measure(self, seen, now)
  self.goal = { time = now, delivered = seen.delivered + self.left }
  behind[self] = true
end

-- Whether reading keeps up with the writer again: all that was there at a time is delivered soon after.
local function has_caught_up(self, seen, now)
  if seen.delivered < self.goal.delivered then return false end
  if self.left <= NO_BACKLOG or now - self.goal.time <= KEPT_UP then return true end
  self.goal = { time = now, delivered = seen.delivered + self.left }
  return false
end

local function finish(self, now)
  behind[self] = nil
  local seconds = now - self.began
  self.began = nil
  log.info(("caught up: %s in %s"):format(M.size(self.sent), M.duration(seconds)), { target = self.target })
end

-- Whether what was there some seconds ago is still not delivered.
local function is_late(self, seen, now)
  local left = seen.size - seen.acknowledged
  local mark = self.late
  if not mark or seen.delivered >= mark.delivered then
    self.late = left > 0 and { time = now, delivered = seen.delivered + left } or nil
    return false
  end
  return now - mark.time > M.backlog_seconds
end

-- Rotated files are kept open. When nothing is taken for long that is worth knowing, and again when it has doubled.
local function tell_risk(self, seen, now)
  if self.delivered ~= seen.delivered or seen.size <= seen.acknowledged then
    self.delivered, self.moved = seen.delivered, now
  end
  local stuck = seen.at_risk > 0 and now - self.moved >= M.stuck_seconds
  local fields = { target = self.target, collector = "logs", bytes_at_risk = seen.at_risk }
  log.condition("logs/at risk/" .. self.target, stuck, "warn", "nothing of the log is taken by Kafka: its rotated "
    .. "files are kept open, what they hold is lost if they are removed before and dbobs ends", fields)
  if stuck and self.told_risk and seen.at_risk >= 2 * self.told_risk then
    log.warn("more bytes of rotated log files are at risk", fields)
    self.told_risk = seen.at_risk
  end
  self.told_risk = stuck and (self.told_risk or seen.at_risk) or nil
end

--- Looks, when it is time, at how far the log is. To be called often, and now and then when nothing happens.
---@param follower {progress: fun(self: table): table} see dbobs.follower.progress
function progress:look(follower)
  local now = sys.monotonic()
  if now < self.next_look then return end
  local seen = follower:progress()
  local left = math.max(seen.size - seen.acknowledged, 0)
  counters.set("logs", self.target, "bytes_behind", left)
  counters.set("logs", self.target, "bytes_at_risk", seen.at_risk)
  tell_risk(self, seen, now)
  local late = is_late(self, seen, now)
  if self.began then
    measure(self, seen, now)
    if has_caught_up(self, seen, now) then finish(self, now) end
    show(now)
  elseif left > M.backlog_bytes or late then
    begin(self, seen, now)
    show(now)
  end
  self.next_look = now + ((self.began or left > M.backlog_bytes) and SHOW_EVERY or left > 0 and 1 or LOOK_EVERY)
end

--- The log is not followed any more.
function progress:stop()
  behind[self] = nil
  if self.began then show(sys.monotonic()) end
  self.began = nil
  log.condition("logs/at risk/" .. self.target, false, "warn", "")
end

return M
