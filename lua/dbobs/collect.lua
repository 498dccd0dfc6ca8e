--- Collectors: which are configured, and their supervision. A collector that fails is logged and started again with
--- backoff; it takes nobody with it.
local counters = require "dbobs.counters"
local log = require "dbobs.log"
local options = require "dbobs.options"
local run = require "dbobs.run"
local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"
local target_module = require "dbobs.target"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local M = {}

local FIRST_BACKOFF, LONGEST_BACKOFF = 1, 60
-- A follower that has run so long is well again.
local SETTLED = 5

-- The collectors that the pipeline asked for, in its order; and the targets by the table they were made of, so that
-- the collectors of one target share its connections.
local jobs, targets = {}, {}

local OWN_OPTIONS = { every = "duration", to = "any", jitter = "duration", deadline = "duration" }

local function check_collector(collector)
  local well = type(collector) == "table" and type(collector.name) == "string"
  if well and (collector.collect or collector.follow) then return end
  error("dbobs.collect: the first argument must be a collector: a table with name and collect (or follow); "
    .. "does its file end with 'return'?", 3)
end

local function check_options(collector, given)
  local known = {}
  for name, kind in pairs(OWN_OPTIONS) do known[name] = kind end
  for name, default in pairs(collector.options or {}) do known[name] = type(default) end
  options.check(given, known, ("collector '%s'"):format(collector.name), 3)
  if given.to == nil then error(("collector '%s': option 'to' is missing: the topic, like kafka:topic(topics.metrics)")
    :format(collector.name), 3) end
  local complete = {}
  for name, default in pairs(collector.options or {}) do complete[name] = default end
  for name, value in pairs(given) do complete[name] = value end
  complete.every = timer.duration(complete.every or "30s")
  if complete.every <= 0 then
    error(("collector '%s': option 'every' must be longer than 0"):format(collector.name), 3)
  end
  return complete
end

-- Snapshots must not wait for Kafka: what is newer says more. Log lines must.
local function snapshot_sink(to)
  return to.with and to:with { when_full = "drop_oldest" } or to
end

local function shared_target(given)
  if not targets[given] then
    local target, problem = target_module.new(given)
    if not target then error(problem, 3) end
    for _, other in pairs(targets) do
      if other.name == target.name then
        error(("two targets are called '%s': give each a 'name' of its own"):format(target.name), 3)
      end
    end
    targets[given] = target
  end
  return targets[given]
end

--- Asks for a collector on a target. It starts when the pipeline has been read whole.
---@param collector table what a file of collectors/ returns
---@param target table an entry of targets.lua
---@param given {every: string|number, to: userdata, jitter: string|nil, deadline: string|nil} and the collector's own
---   options
function M.collect(collector, target, given)
  check_collector(collector)
  if type(target) ~= "table" then error("dbobs.collect: the second argument must be a target: a table", 2) end
  local complete = check_options(collector, given or {})
  jobs[#jobs + 1] = {
    collector = collector,
    target = shared_target(target),
    options = complete,
    state = {},
    batches = {},
    snapshot_sink = snapshot_sink(complete.to),
  }
end

--- The collectors asked for so far.
---@return table[] jobs
function M.jobs()
  return jobs
end

local function fields(job, more)
  more = more or {}
  more.target, more.collector = job.target.name, job.collector.name
  return more
end

local function with_traceback(cause)
  if cause == task.CANCELLED or cause == task.DEADLINE then return cause end
  return { cause = tostring(cause), traceback = debug.traceback("", 2) }
end

-- Calls one of the collector's functions. Returns true; or false, the cause and the traceback when it was a Lua error.
local function protected(fn, current)
  local ok, result, cause = xpcall(fn, with_traceback, current)
  if ok and (result ~= nil or cause == nil) then return true end
  if ok then return false, tostring(cause) end
  if result == task.CANCELLED then error(result, 0) end
  if result == task.DEADLINE then return false, "it took longer than it may (option 'deadline')" end
  return false, result.cause, result.traceback
end

local function count(job, name, n)
  counters.add(job.collector.name, job.target.name, name, n)
end

-- What became of the records of the runs before: reports come in while the collector waits for its next tick.
local function check_delivery(job)
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

--- Counts what was delivered until now. To be called after the producers' flush.
function M.settle()
  for _, job in ipairs(jobs) do check_delivery(job) end
end

--- One collection, within its deadline.
---@param job table
---@return boolean ok, string|nil cause, string|nil traceback
function M.once(job)
  check_delivery(job)
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

-- Collects at each tick, for ever. After a failure the next attempt comes by backoff when that is before the tick.
local function collect_regularly(job)
  local period = job.options.every
  local jitter = job.options.jitter and timer.duration(job.options.jitter) or period / 10
  local due = sys.monotonic() + math.random() * jitter
  local failures = 0
  while true do
    timer.sleep(math.max(due - sys.monotonic(), 0))
    local ok, cause, traceback = M.once(job)
    local skipped
    local now = sys.monotonic()
    due, skipped = timer.next_tick(due, period, now)
    if skipped > 0 then count(job, "ticks_skipped", skipped) end
    failures = (ok or not cause) and 0 or failures + 1
    if failures > 0 then due = math.min(due, now + backoff(failures, period)) end
    tell(job, "collect", ok, cause, traceback, due - now)
  end
end

local function follow(job)
  local failures = 0
  while true do
    local began = sys.monotonic()
    local settled = task.background(function()
      timer.sleep(SETTLED)
      tell(job, "follow", true)
    end)
    local ok, cause, traceback = protected(job.collector.follow, run.new(job, job.options.to))
    task.cancel(settled)
    if ok then return end
    count(job, "errors")
    failures = sys.monotonic() - began > LONGEST_BACKOFF and 1 or failures + 1
    local pause = backoff(failures, LONGEST_BACKOFF)
    tell(job, "follow", ok, cause, traceback, pause)
    timer.sleep(pause)
  end
end

--- Starts the tasks of every collector.
---@return userdata[] tasks
function M.start()
  local tasks = {}
  for _, job in ipairs(jobs) do
    if job.collector.collect then tasks[#tasks + 1] = task.spawn(collect_regularly, job) end
    if job.collector.follow then tasks[#tasks + 1] = task.spawn(follow, job) end
  end
  return tasks
end

--- Runs each collector once, all side by side, and waits until their records are delivered.
---@return boolean ok whether none failed
function M.run_once()
  local tasks, ok = {}, true
  for _, job in ipairs(jobs) do
    if job.collector.collect then
      tasks[#tasks + 1] = task.spawn(function()
        local well, cause, traceback = M.once(job)
        if not well and cause then
          log.error("collector failed", fields(job, { error = cause, traceback = traceback }))
        end
        for _, batch in ipairs(job.batches) do well = sink.wait(batch) and well end
        check_delivery(job)
        ok = ok and well
      end)
    end
  end
  for _, one in ipairs(tasks) do ok = task.join(one) and ok end
  return ok
end

return M
