--- Who collects which database when: a few at once, each with a time of its own. What was slow the last time comes
--- last, and for a worker that is stuck with one database another one takes over the rest, so that a database that
--- hangs delays no other one.
local latch = require "dbobs.core.latch"
local report = require "dbobs.metrics_report"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- So many databases at once; with those that are stuck no more than the second number.
local WORKERS, MOST = 4, 16
-- Who works so long on one database is stuck, and the database slow.
local SLOW_SECONDS = 2
-- The time of a run when nobody limits it; the share of it that is for the databases, and for one of them.
local USUAL_SECONDS, SHARE, SHARE_OF_ONE = 30, 0.95, 0.5

---@class dbobs.metrics.schedule
---@field run dbobs.run
---@field limit number seconds that one database may take
---@field until_time number on the monotonic clock

--- The time of a run that begins now.
---@param run dbobs.run
---@return dbobs.metrics.schedule
function M.schedule(run)
  local seconds = sys.duration(run.options.deadline or run.options.every or USUAL_SECONDS)
  return { run = run, limit = seconds * SHARE_OF_ONE, until_time = sys.monotonic() + seconds * SHARE }
end

-- The databases, those that were slow the last time behind the others.
local function in_order(run, names)
  local slow = run.state.slow or {}
  local list = {}
  for _, late in ipairs { false, true } do
    for _, name in ipairs(names) do
      if (slow[name] == true) == late then list[#list + 1] = name end
    end
  end
  run.state.slow = {}
  return list
end

-- Takes databases from the queue until there are none, or no time.
local function work(queue, worker)
  while queue.next <= #queue.names do
    local now = sys.monotonic()
    local limit = math.min(queue.schedule.limit, queue.schedule.until_time - now)
    if limit <= 0 then return end
    local name = queue.names[queue.next]
    queue.next, worker.began = queue.next + 1, now
    queue.collect(name, limit)
    queue.run.state.slow[name] = sys.monotonic() - now > SLOW_SECONDS or nil
  end
end

local function start(queue)
  local worker = { began = sys.monotonic() }
  queue.workers[worker] = true
  worker.task = task.spawn(function()
    local ok, cause = xpcall(work, function(raised)
      if type(raised) ~= "string" then return raised end
      return debug.traceback(raised, 2)
    end, queue, worker)
    queue.workers[worker] = nil
    if not ok then queue.failure = queue.failure or cause end
    queue.bell:signal()
  end)
end

local function counts(queue)
  local all, stuck, now = 0, 0, sys.monotonic()
  for worker in pairs(queue.workers) do
    all = all + 1
    if now - worker.began > SLOW_SECONDS then stuck = stuck + 1 end
  end
  return all, stuck
end

local function run_workers(queue)
  while not queue.failure do
    local all, stuck = counts(queue)
    local time_is_up = sys.monotonic() >= queue.schedule.until_time
    while queue.next <= #queue.names and not time_is_up and all - stuck < WORKERS and all < MOST
      and all < #queue.names do
      start(queue)
      all = all + 1
    end
    if all == 0 then return end
    task.wait(queue.bell, SLOW_SECONDS)
  end
  error(queue.failure, 0)
end

--- Collects the databases by calling collect(name, limit) for each, in a task; `limit` is the time in seconds that it
--- may take. Raises what one of the calls raises.
---@param schedule dbobs.metrics.schedule
---@param names string[]
---@param collect fun(name: string, limit: number)
function M.collect(schedule, names, collect)
  local queue = {
    run = schedule.run, schedule = schedule, collect = collect, next = 1, workers = {}, bell = latch(),
    names = in_order(schedule.run, names),
  }
  local ok, cause = pcall(run_workers, queue)
  for worker in pairs(queue.workers) do task.cancel(worker.task) end
  if not ok then error(cause, 0) end
  local left = #queue.names - queue.next + 1
  report.part(schedule.run, left > 0 and ("%d of %d, '%s' the first"):format(left, #queue.names,
    queue.names[queue.next]) or nil, "databases for which no time was left")
end

return M
