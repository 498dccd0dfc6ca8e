--- Runs the jobs of dbobs.collect: at their ticks, within their deadlines, and again with backoff after a failure. Each
--- job has tasks of its own, so that one that hangs delays nobody.
local counters = require "dbobs.counters"
local log = require "dbobs.log"
local run = require "dbobs.run"
local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local M = {}

local FIRST_BACKOFF, LONGEST_BACKOFF = 1, 60
-- A follower that has run so long is well again.
local SETTLED = 5
-- No more collections than this begin in a second, where the periods leave room for it.
local STARTS_A_SECOND = 20

local function fields(job, more)
  more = more or {}
  more.target, more.collector = job.target.name, job.collector.name
  return more
end

local function with_traceback(cause)
  if cause == task.CANCELLED or cause == task.DEADLINE then return cause end
  return { cause = tostring(cause), traceback = debug.traceback("", 2) }
end

-- Calls one of the collector's functions. Returns true; or false, the cause, the traceback when it was a Lua error, and
-- whether it must not be called again.
local function protected(fn, current)
  local ok, result, cause, final = xpcall(fn, with_traceback, current)
  if ok and (result ~= nil or cause == nil) then return true end
  if ok then return false, tostring(cause), nil, final end
  if result == task.CANCELLED then error(result, 0) end
  if result == task.DEADLINE then return false, "it took longer than it may (option 'deadline')" end
  return false, result.cause, result.traceback
end

local function count(job, name, n)
  counters.add(job.collector.name, job.target.name, name, n)
end

--- Counts what became of the records of the runs before: reports come in while the collector waits for its next tick.
---@param job table
function M.check_delivery(job)
  local pending_batches, reported, failures, first = {}, 0, 0, nil
  for _, batch in ipairs(job.batches) do
    local sent, pending, failed, cause = sink.status(batch)
    if pending > 0 then
      pending_batches[#pending_batches + 1] = batch
    else
      reported, failures, first = reported + sent, failures + failed, first or cause
    end
  end
  job.batches = pending_batches
  if reported == 0 then return end
  count(job, "records_delivered", reported - failures)
  if failures > 0 then count(job, "records_failed", failures) end
  log.condition("delivery/" .. job.collector.name .. "/" .. job.target.name, failures > 0, "error",
    "records were not delivered", fields(job, { error = first, records = failures }))
end

---@class dbobs.job_status how one part of a job is doing; times in microseconds since 1970
---@field started number
---@field runs integer
---@field errors integer
---@field last_success number|nil the end of the last run that was not a failure; of a follower: of its last quiet time
---@field error string|nil of the last run, or attempt to follow, if it failed, or a part of it
---@field error_time number|nil
---@field next_run number|nil
---@field stopped boolean|nil it failed, and is not started again
---@field over boolean|nil it had nothing to do, or nothing any more

--- How a part of a job is doing, see dbobs.health.
---@param job table
---@param part "collect"|"follow"
---@return dbobs.job_status
function M.status(job, part)
  job.status = job.status or {}
  job.status[part] = job.status[part] or { started = sys.wall(), runs = 0, errors = 0 }
  return job.status[part]
end

local function note_end(job, part, ok, cause)
  local status, now = M.status(job, part), sys.wall()
  if ok then status.last_success = now else status.errors = status.errors + 1 end
  status.error, status.error_time = cause, cause and now
end

local function note_next(job, seconds)
  M.status(job, "collect").next_run = sys.wall() + seconds * 1e6
end

--- One collection, within its deadline.
---@param job table
---@return boolean ok, string|nil cause, string|nil traceback
function M.once(job)
  M.check_delivery(job)
  local current = run.new(job, job.snapshot_sink, sink.batch())
  local ok, cause, traceback
  local _, late = task.deadline(job.options.deadline or job.options.every, function()
    ok, cause, traceback = protected(job.collector.collect, current)
    return true
  end)
  if late then ok, cause = false, late end
  job.batches[#job.batches + 1] = current.batch
  count(job, "runs")
  if not ok then count(job, "errors") end
  local status = M.status(job, "collect")
  status.runs = status.runs + 1
  note_end(job, "collect", ok, cause or (current.failed_parts > 0 and "a part failed: see the log" or nil))
  if ok and current.failed_parts > 0 then return false, nil end
  return ok, cause, traceback
end

local function tell(job, part, ok, cause, traceback, pause)
  local key = ("collector/%s/%s/%s"):format(job.collector.name, part, job.target.name)
  if traceback then
    log.error("collector raised an error; it is started again", fields(job, { error = cause, traceback = traceback,
      again_in = ("%.0fs"):format(pause) }))
  elseif ok or cause then
    log.condition(key, not ok, "error", "collector failed", fields(job, { error = cause }))
  end
end

local function backoff(failures, longest)
  local seconds = math.min(FIRST_BACKOFF * 2 ^ math.min(failures - 1, 10), LONGEST_BACKOFF, longest)
  return seconds * (0.75 + math.random() / 2)
end

-- A number from 0 to 1 that is always the same for a text, and spread evenly over texts (FNV-1a, mixed).
local function fraction(text)
  local hash = bit.tobit(0x811c9dc5)
  for i = 1, #text do
    hash = bit.bxor(hash, text:byte(i))
    -- times 0x01000193, in 32 bits
    hash = bit.tobit(hash + bit.lshift(hash, 1) + bit.lshift(hash, 4) + bit.lshift(hash, 7) + bit.lshift(hash, 8)
      + bit.lshift(hash, 24))
  end
  hash = bit.bxor(hash, bit.rshift(hash, 15))
  return (hash % 65521) / 65521
end

--- How long after the start a job's first tick is: a part of its jitter that is always the same for this collector and
--- target. Without the option `jitter` that is a tenth of the period, or as much of it as many jobs need so that they
--- do not all begin together.
---@param job table
---@param jobs integer how many jobs there are
---@return number seconds
function M.offset(job, jobs)
  local period = job.options.every
  local jitter = job.options.jitter and timer.duration(job.options.jitter)
    or math.min(period, math.max(period / 10, jobs / STARTS_A_SECOND))
  return jitter * fraction(job.collector.name .. "/" .. job.target.name)
end

-- Collects at each tick, for ever. After a failure the next attempt comes by backoff when that is before the tick; the
-- ticks stay where they are.
local function collect_regularly(job, offset)
  local period = job.options.every
  local tick = sys.monotonic() + offset
  local due, failures = tick, 0
  note_next(job, offset)
  while true do
    timer.sleep(math.max(due - sys.monotonic(), 0))
    local ok, cause, traceback = M.once(job)
    local now, skipped = sys.monotonic(), 0
    if now >= tick then tick, skipped = timer.next_tick(tick, period, now) end
    if skipped > 0 then count(job, "ticks_skipped", skipped) end
    failures = (ok or not cause) and 0 or failures + 1
    due = failures > 0 and math.min(tick, now + backoff(failures, period)) or tick
    note_next(job, due - now)
    tell(job, "collect", ok, cause, traceback, due - now)
  end
end

local function follow(job)
  local failures = 0
  M.status(job, "follow")
  while true do
    local began = sys.monotonic()
    local settled = task.background(function()
      timer.sleep(SETTLED)
      note_end(job, "follow", true)
      tell(job, "follow", true)
    end)
    local ok, cause, traceback, final = protected(job.collector.follow, run.new(job, job.options.to))
    task.cancel(settled)
    if ok then
      M.status(job, "follow").over = true
      return
    end
    count(job, "errors")
    note_end(job, "follow", false, cause)
    if final then
      M.status(job, "follow").stopped = true
      log.error("collector stopped for good", fields(job, { error = cause }))
      return
    end
    failures = sys.monotonic() - began > LONGEST_BACKOFF and 1 or failures + 1
    local pause = backoff(failures, LONGEST_BACKOFF)
    tell(job, "follow", ok, cause, traceback, pause)
    timer.sleep(pause)
  end
end

--- Starts a job's tasks.
---@param job table
---@param jobs integer how many jobs there are, see offset
function M.start(job, jobs)
  job.tasks = {}
  if job.collector.collect then job.tasks[1] = task.spawn(collect_regularly, job, M.offset(job, jobs)) end
  if job.collector.follow then job.tasks[#job.tasks + 1] = task.spawn(follow, job) end
end

--- Ends the tasks of jobs, and waits until they have ended, or the time is over.
---@param jobs table[]
---@param seconds number
function M.stop(jobs, seconds)
  for _, job in ipairs(jobs) do
    for _, one in ipairs(job.tasks or {}) do task.cancel(one) end
  end
  task.deadline(seconds, function()
    for _, job in ipairs(jobs) do
      for _, one in ipairs(job.tasks or {}) do task.join(one) end
    end
    return true
  end)
end

-- One collection, up to the delivery of its records.
local function once_and_delivered(job)
  local well, cause, traceback = M.once(job)
  if not well and cause then
    log.error("collector failed", fields(job, { error = cause, traceback = traceback }))
  end
  for _, batch in ipairs(job.batches) do well = sink.wait(batch) and well end
  M.check_delivery(job)
  return well
end

--- Runs each job once, all side by side, and waits until their records are delivered.
---@param jobs table[]
---@return boolean ok whether none failed
function M.run_once(jobs)
  local tasks, ok = {}, true
  for _, job in ipairs(jobs) do
    if job.collector.collect then
      tasks[#tasks + 1] = task.spawn(function() ok = once_and_delivered(job) and ok end)
    end
  end
  for _, one in ipairs(tasks) do ok = task.join(one) and ok end
  return ok
end

return M
