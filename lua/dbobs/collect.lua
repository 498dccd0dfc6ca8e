--- Collectors: which are asked for, on which targets; fixed ones, and those of lists that are read again while dbobs
--- runs. How they run is seen to by dbobs.supervisor, what becomes of a list by dbobs.roster.
local counters = require "dbobs.counters"
local log = require "dbobs.log"
local options = require "dbobs.options"
local pool = require "dbobs.pool"
local roster = require "dbobs.roster"
local sink = require "dbobs.sink"
local supervisor = require "dbobs.supervisor"
local target_module = require "dbobs.target"
local targets_module = require "dbobs.targets"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local M = {}

---@class dbobs.collector what a file of collectors/ returns
---@field name string
---@field options table<string, any>|nil the options that it takes, with their default values
---@field kinds table<string, string|table>|nil the kinds of those options where a default does not tell, see
---  dbobs.check_options
---@field problem fun(options: table): string|nil|nil what is wrong with complete options, beyond their kinds
---@field collect fun(run: dbobs.run): any|nil called each `every`; nil and a cause, or raising, is a failure
---@field follow fun(run: dbobs.run): any|nil runs until it is cancelled

-- How long the tasks of a target that is dropped may take to end, and what they sent to be delivered.
local DROP_SECONDS, DELIVERY_SECONDS = 10, 300

-- The collectors that the pipeline asked for on fixed targets, in its order; the targets, {target, given, member}, by
-- the table they were made of, so that the collectors of one target share its connections, and by name; and the lists
-- that are read again.
local jobs, targets, names, rosters = {}, {}, {}, {}

-- The member of a list that a task is taking up: what the task asks for meanwhile is the member's.
local taking = setmetatable({}, { __mode = "k" })

local watchers

local OWN_OPTIONS = { every = "duration", to = "any", jitter = "duration", deadline = "duration" }

local function check_collector(collector)
  local well = type(collector) == "table" and type(collector.name) == "string"
  if well and (collector.collect or collector.follow) then return end
  error("dbobs.collect: the first argument must be a collector: a table with name and collect (or follow); "
    .. "does its file end with 'return'?", 3)
end

local function check_options(collector, given)
  local known, kinds = {}, collector.kinds or {}
  for name, kind in pairs(OWN_OPTIONS) do known[name] = kind end
  for name, default in pairs(collector.options or {}) do known[name] = kinds[name] or type(default) end
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
  local problem = collector.problem and collector.problem(complete)
  if problem then error(("collector '%s': %s"):format(collector.name, problem), 3) end
  return complete
end

-- Snapshots must not wait for Kafka: what is newer says more. Log lines must.
local function snapshot_sink(to)
  return to.with and to:with { when_full = "drop_oldest" } or to
end

local function member_of_task()
  local current = task.current()
  return current and taking[current]
end

local function add_target(given, target, member)
  local known = { given = given, target = target, member = member }
  targets[given], names[target.name] = known, known
  if member then table.insert(member.targets, known) end
end

-- A target made of the pipeline's table. What is made for a member of a list goes with it.
local function shared_target(given)
  if targets[given] then return targets[given].target end
  local target, problem = target_module.new(given)
  if not target then error(problem, 3) end
  if names[target.name] then
    error(("two targets are called '%s': give each a 'name' of its own"):format(target.name), 3)
  end
  add_target(given, target, member_of_task())
  return target
end

--- Asks for a collector on a target. It starts when the pipeline has been read whole.
---@param collector dbobs.collector
---@param target dbobs.target
---@param given {every: string|number, to: dbobs.sink, jitter: string|nil, deadline: string|nil} and the collector's own
---   options
function M.collect(collector, target, given)
  check_collector(collector)
  if targets_module.is_source(target) then
    error("dbobs.collect: the second argument is a list of targets that changes: write dbobs.each(targets, "
      .. "function(target) dbobs.collect(..., target, ...) end)", 2)
  end
  if type(target) ~= "table" then error("dbobs.collect: the second argument must be a target: a table", 2) end
  local complete = check_options(collector, given or {})
  local member = member_of_task()
  local list = member and member.jobs or jobs
  list[#list + 1] = {
    collector = collector,
    target = shared_target(target),
    options = complete,
    state = {},
    batches = {},
    snapshot_sink = snapshot_sink(complete.to),
  }
end

-- The targets of lists that are read again.

local function forget_targets(member)
  for _, known in ipairs(member.targets) do targets[known.given], names[known.target.name] = nil, nil end
end

-- Calls the pipeline's function for one member, whose jobs are collected meanwhile.
local function take(fn, member)
  local current = task.current()
  member.jobs, member.targets = {}, {}
  add_target(member.given, member.target, member)
  taking[current] = member
  local ok, cause = pcall(fn, member.given)
  taking[current] = nil
  if ok then return true end
  forget_targets(member)
  if cause == task.CANCELLED then error(cause, 0) end
  return nil, tostring(cause)
end

-- What the last records of a dropped target became is still counted; then its counters go, unless it has come back.
local function settle_dropped(member)
  task.deadline(DELIVERY_SECONDS, function()
    for _, job in ipairs(member.jobs) do
      for _, batch in ipairs(job.batches) do sink.wait(batch) end
    end
    return true
  end)
  for _, job in ipairs(member.jobs) do supervisor.check_delivery(job) end
  if names[member.name] then return end
  log.forget(member.name)
  counters.forget(member.name)
end

local function drop(members)
  local leaving = {}
  for _, member in ipairs(members) do
    for _, job in ipairs(member.jobs) do leaving[#leaving + 1] = job end
  end
  supervisor.stop(leaving, DROP_SECONDS)
  for _, member in ipairs(members) do
    for _, known in ipairs(member.targets) do pool.close(known.target) end
    forget_targets(member)
    log.forget(member.name)
    task.background(settle_dropped, member)
  end
end

-- Where a target of this name comes from, when it is not one of the list's.
local function holder(name, self)
  local known = names[name]
  if not known or (known.member and known.member.roster == self) then return nil end
  return known.member and known.member.origin or "the pipeline"
end

local function add_roster(source, fn)
  local self
  self = roster.new(source, {
    take = function(member)
      member.roster = self
      return take(fn, member)
    end,
    drop = drop,
    holder = holder,
  })
  rosters[#rosters + 1] = self
end

--- Calls fn for each target of a list: for those of a fixed one now, for those of a list that is read again
--- (dbobs.targets) when they are taken up. What fn asks for with dbobs.collect is ended when its target is dropped.
---@param list (dbobs.target|dbobs.source)[]|dbobs.source an array, in which such lists may stand as well; or such a
---  list
---@param fn fun(target: dbobs.target)
function M.each(list, fn)
  if type(fn) ~= "function" then
    error("dbobs.each: the second argument must be a function: function(target) ... end", 2)
  end
  if targets_module.is_source(list) then return add_roster(list, fn) end
  if type(list) ~= "table" then
    error("dbobs.each: the first argument must be a list of targets; does its file end with 'return'?", 2)
  end
  if #list == 0 and next(list) ~= nil then list = { list } end
  for _, target in ipairs(list) do
    if targets_module.is_source(target) then add_roster(target, fn) else fn(target) end
  end
end

--- All jobs: of the fixed targets, and of those that are taken up at present.
---@return table[] jobs
function M.jobs()
  local all = {}
  for i, job in ipairs(jobs) do all[i] = job end
  for _, one in ipairs(rosters) do
    for _, member in pairs(one.members) do
      for _, job in ipairs(member.jobs) do all[#all + 1] = job end
    end
  end
  return all
end

--- The lists that are read again.
---@return dbobs.roster[]
function M.rosters()
  return rosters
end

--- Reads all those lists once, side by side, and takes up what is in them.
---@return {roster: dbobs.roster, problems: table[]}[] looks in the order of the pipeline
function M.look()
  local looks, tasks = {}, {}
  for i, one in ipairs(rosters) do
    looks[i] = { roster = one, problems = {} }
    tasks[i] = task.spawn(function() looks[i].problems = one:safe_look() end)
  end
  for _, one in ipairs(tasks) do task.join(one) end
  return looks
end

local function start_taken(members)
  local count = #M.jobs()
  for _, member in ipairs(members) do
    for _, job in ipairs(member.jobs) do supervisor.start(job, count) end
  end
end

--- Starts the tasks of every collector, and the looks at the lists.
---@return integer jobs how many there are at first
function M.start()
  local all = M.jobs()
  for _, job in ipairs(all) do supervisor.start(job, #all) end
  watchers = {}
  for i, one in ipairs(rosters) do watchers[i] = task.spawn(one.watch, one, start_taken) end
  return #all
end

--- Ends all that start has started, and waits for it.
---@param seconds number how long at most
function M.stop(seconds)
  for _, watcher in ipairs(watchers or {}) do task.cancel(watcher) end
  supervisor.stop(M.jobs(), seconds)
end

--- Counts what was delivered until now. To be called after the producers' flush.
function M.settle()
  for _, job in ipairs(M.jobs()) do supervisor.check_delivery(job) end
end

--- Runs each collector once, all side by side, and waits until their records are delivered.
---@return boolean ok whether none failed
function M.run_once()
  return supervisor.run_once(M.jobs())
end

return M
