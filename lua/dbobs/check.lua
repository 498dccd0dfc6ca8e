--- Tries a pipeline's collectors once, without sending anything: each target is connected to, then its collectors run
--- side by side. Targets that hang hold nobody up: they give their turn to the next ones.
local guest = require "dbobs.guest"
local latch = require "dbobs.core.latch"
local pool = require "dbobs.pool"
local rights = require "dbobs.rights"
local run = require "dbobs.run"
local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- So many targets are tried at once; one that is at it for longer than this is counted out.
local AT_ONCE, TURN_SECONDS = 32, 2

---@class dbobs.check.result one collector on one target
---@field job table see dbobs.collect
---@field ok boolean|nil nil: it has not come to an end
---@field records integer that one collection sends
---@field problems string[]
---@field says string[]

---@class dbobs.check.target
---@field target table
---@field results dbobs.check.result[]
---@field done boolean|nil
---@field sql string[] statements that give the role what it lacks; for a superuser, in the target's database

-- One function of a collector, whose failure is a problem.
local function call(result, fn, current)
  local ok, said, cause = pcall(fn, current)
  if not ok and (said == task.CANCELLED or said == task.DEADLINE) then error(said, 0) end
  if not ok then table.insert(result.problems, tostring(said))
  elseif said == nil and cause then table.insert(result.problems, cause)
  elseif type(said) == "string" then table.insert(result.says, said) end
end

-- A run that keeps what it is told instead of logging it.
local function new_run(result, batch)
  local current, seen = run.new(result.job, sink.discard(), batch), {}
  function current:partial(what, why) -- luacheck: ignore 212
    local problem = why and ("%s: %s"):format(what, why) or what
    -- A collector may both count a part as failed and tell it as a condition.
    if not seen[problem] then table.insert(result.problems, problem) end
    seen[problem] = true
  end
  function current:tell(what, active, why)
    if active then self:partial(what, why) end
  end
  return current
end

local function try(result, seconds)
  local collector, batch = result.job.collector, sink.batch()
  local current = new_run(result, batch)
  local _, late = task.deadline(seconds, function()
    for _, name in ipairs { "collect", "check" } do
      if collector[name] then call(result, collector[name], current) end
    end
    return true
  end)
  if late then table.insert(result.problems, ("no answer within %g s"):format(seconds)) end
  result.records = (sink.status(batch))
  result.ok = #result.problems == 0
end

-- Connects, and asks what rights the role has. nil and the cause when there is no connection.
local function ask(target)
  local has
  local statements = { { name = "rights", sql = rights.ASK, each = function(chunk) has = chunk:rows()[1] end } }
  local failures, cause = pool.use(target, nil, function(db) return guest.snapshot(db, statements) end)
  if not failures then return nil, cause end
  return has or {}
end

local function fail_all(one, cause)
  for _, result in ipairs(one.results) do
    result.ok, result.problems = false, { cause }
  end
end

local function try_target(one, seconds)
  local has, cause = task.deadline(seconds, ask, one.target)
  if not has then return fail_all(one, cause) end
  local tasks, collectors, well = {}, {}, true
  for i, result in ipairs(one.results) do tasks[i] = task.spawn(try, result, seconds) end
  for i, result in ipairs(one.results) do
    local ended = task.join(tasks[i])
    if not ended then
      result.ok = false
      table.insert(result.problems, "the collector raised an error, see the log")
    end
    well = well and result.ok
    collectors[i] = result.job.collector
  end
  if not well and has.role then one.sql = rights.missing(has, collectors) end
  pool.close(one.target)
end

--- The targets of jobs, with their collectors, in the order of the pipeline.
---@param jobs table[]
---@return dbobs.check.target[]
function M.targets(jobs)
  local list, known = {}, {}
  for _, job in ipairs(jobs) do
    local one = known[job.target]
    if not one then
      one = { target = job.target, results = {}, sql = {} }
      known[job.target] = one
      list[#list + 1] = one
    end
    table.insert(one.results, { job = job, records = 0, problems = {}, says = {} })
  end
  return list
end

local function in_turn(list)
  local count, now = 0, sys.monotonic()
  for _, one in ipairs(list) do
    if one.began and not one.done and now - one.began < TURN_SECONDS then count = count + 1 end
  end
  return count
end

--- Tries them all, and waits for the last. When the task is cancelled, what is known by then stands in the list.
---@param list dbobs.check.target[] see targets
---@param seconds number how long connecting, and then each collector, may take
---@param tell fun() called when a target is done, and now and then
function M.run(list, seconds, tell)
  local bell, tasks, left = latch(), {}, #list
  local function start(one)
    one.began = sys.monotonic()
    tasks[#tasks + 1] = task.spawn(function()
      local ok, cause = pcall(try_target, one, seconds)
      if not ok and cause ~= task.CANCELLED then fail_all(one, tostring(cause)) end
      one.done, left = ok or cause ~= task.CANCELLED, left - 1
      bell:signal()
    end)
  end
  local ok, cause = pcall(function()
    local first = 1
    while left > 0 do
      while first <= #list and in_turn(list) < AT_ONCE do
        start(list[first])
        first = first + 1
      end
      tell()
      task.wait(bell, TURN_SECONDS / 4)
    end
  end)
  for _, one in ipairs(tasks) do task.cancel(one) end
  if not ok then error(cause, 0) end
end

return M
