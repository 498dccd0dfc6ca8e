--- One thread of a load test: its connections, each a task that runs events. Started by dbobs.load.control, to which it
--- talks by messages; the module is the main task of the thread's vm.
local start = require "dbobs.start"
local buffer = require "string.buffer"
local connection = require "dbobs.load.connection"
local core = require "dbobs.core.task"
local figures = require "dbobs.load.figures"
local log = require "dbobs.log"
local pacer = require "dbobs.core.pacer"
local pipeline = require "dbobs.pipeline"
local random = require "dbobs.core.random"
local schedule = require "dbobs.load.schedule"
local setup = require "dbobs.load.setup"
local statements = require "dbobs.load.statements"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local thread = require "dbobs.core.thread"
local timer = require "dbobs.timer"

local monotonic = sys.monotonic

-- How many connections of a thread are opened at the same time.
local OPENING = 16
-- An event that has failed so often, and never succeeded, always fails.
local ALWAYS = 20
-- How long statements under way may take when the time is over.
local GRACE_SECONDS = 5
-- Pauses between attempts to reach a server that is away.
local FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1

local worker = {}
worker.__index = worker

function worker:tell(message)
  self.parent:send(buffer.encode(message))
end

-- Ends the test for all threads.
function worker:give_up(message, traceback)
  if self.gave_up then return end
  self.gave_up, self.stopping = true, true
  self:tell { kind = "fatal", message = message, traceback = traceback }
end

-- What to do about tables that are not there; nil for any other failure.
function worker:not_prepared(failure)
  if not connection.is_failure(failure) or failure.sqlstate ~= "42P01" or not self.test.workload.prepare then
    return nil
  end
  return ("%s: the tables are not prepared: dbobs run %s prepare"):format(failure.message, self.path)
end

-- Connections.

local function open(self, one)
  local target = self.test.targets[self.assigned[one.number]]
  local parameters = {}
  for name, value in pairs(target.parameters) do parameters[name] = value end
  parameters.fallback_application_name = "dbobs load"
  local db, cause, info = connection.connect(parameters, {
    statements = self.statements, protocol = self.test.values.protocol, random = one.random, number = one.number,
    on_bytes = self.on_bytes,
  })
  if not db then return nil, cause, info end
  local connect = self.test.workload.connect
  if connect then
    local ok, failure = pcall(connect, db, self.test.values)
    if not ok then
      db:close()
      if failure == task.CANCELLED then error(failure, 0) end
      local problem = self:not_prepared(failure) or "connect: " .. tostring(failure)
      return nil, problem, { retryable = connection.is_failure(failure) and failure.lost }
    end
  end
  one.db, one.left = db, self.test.values.reconnect
  self.connected = self.connected + 1
  return db
end

local function close(self, one)
  if not one.db then return end
  one.db:close()
  one.db = nil
  self.connected = self.connected - 1
end

-- Connects again after a loss, while the server is away with growing pauses.
local function reopen(self, one)
  local pause = FIRST_PAUSE
  self.figures.reconnects = self.figures.reconnects + 1
  while not self:over() do
    local db, cause, info = open(self, one)
    log.condition("load", db == nil, "warn", "a server of the load test cannot be reached", { error = cause })
    if db then return true end
    if info and info.retryable == false and not self:may_come_back(info) then
      self:give_up("the connection was lost and another is refused: " .. cause)
      return false
    end
    timer.sleep(pause * (0.5 + math.random()))
    pause = math.min(pause * 2, LONGEST_PAUSE)
  end
  return false
end

-- A server that restarts refuses for a while, or is full of connections that it has not missed yet.
function worker:may_come_back(info)
  local class = (info.sqlstate or ""):sub(1, 2)
  return info.lost or class == "57" or class == "53" or class == "08" or self.test.values.errors == "count"
end

-- Running events.

function worker:over()
  return self.stopping or monotonic() >= self.ends
end

local function choose(self, one)
  if self.total_weight == 0 then return 1 end
  local dice, events = one.random:real() * self.total_weight, self.events
  for i = 1, #events do
    dice = dice - events[i].weight
    if dice < 0 then return i end
  end
  return #events
end

-- SQLSTATEs behind which an event is tried again: serialization failures, deadlocks, and the workload's own.
local function retryable_states(workload)
  local states = { ["40001"] = true, ["40P01"] = true }
  for _, state in ipairs(workload.retry_on or {}) do states[state] = true end
  return states
end

-- A mistake in the script ends the test, and so does an event that never succeeds.
local function judge(self, index, failure)
  local event = self.figures.events[index]
  if self.test.values.errors == "count" then return end
  local not_prepared = event.service:count() == 0 and self:not_prepared(failure)
  if not_prepared then
    self:give_up(not_prepared)
  elseif event.failed >= ALWAYS and event.service:count() == 0 and not failure.lost
    and not self.retryable[failure.sqlstate] then
    self:give_up(("event '%s' always fails: %s (to count failures and go on: errors=count)"):format(event.name,
      tostring(failure)))
  end
end

local function to_failure(self, index, cause)
  if connection.is_failure(cause) then return cause end
  if cause == task.CANCELLED or cause == task.DEADLINE then error(cause, 0) end
  if self.test.values.errors ~= "count" then
    self:give_up(("event '%s' raised an error: %s"):format(self.events[index].name, tostring(cause)))
  end
  return connection.failure { sqlstate = "Lua", message = tostring(cause), lost = false }
end

-- After an event that raised: tries it again as often as it may. Returns nothing when it went well at last, else the
-- failure.
local function retry(self, one, index, entry, cause)
  local run, figure, retries = self.events[index].run, self.figures.events[index], 0
  while true do
    local failure = to_failure(self, index, cause)
    one.db:recover()
    if not self.retryable[failure.sqlstate] or retries >= self.test.values.retries then return failure end
    retries = retries + 1
    figure.retries = figure.retries + 1
    local ok
    ok, cause = pcall(run, one.db, one.random, self.values, entry)
    if ok then return nil end
  end
end

local function wait_until(self, one, due)
  local slot = one.slot
  while not slot:reached(due) do
    if core.wait(slot) == "cancelled" then error(task.CANCELLED, 0) end
    if self.stopping then return false end
  end
  return true
end

-- When the next event is to start; nil when there is none any more.
local function next_start(self, one)
  if not self.schedule then
    local now = one.ended or monotonic()
    if now >= self.ends or self.stopping then return nil end
    return now, now
  end
  local due = self.schedule:take()
  if due >= self.ends or self.stopping then return nil end
  if not wait_until(self, one, due) then return nil end
  local now = monotonic()
  if now >= self.ends then
    self.figures.not_started = self.figures.not_started + 1
    return nil
  end
  return due, now
end

-- One event and what belongs to it.
local function step(self, one, index, due, started, entry)
  one.busy = true
  local ok, failure = pcall(self.events[index].run, one.db, one.random, self.values, entry)
  if not ok then
    failure = retry(self, one, index, entry, failure)
    ok = not failure
  end
  one.busy = false
  one.ended = nil
  if started >= self.begins then
    if ok then
      one.ended = self.figures:count(index, due, started)
      one.last = one.ended
    else
      self.figures:fail(index, failure)
    end
  end
  if not ok then judge(self, index, failure) end
end

local function after(self, one)
  local values = self.test.values
  if values.reconnect > 0 then
    one.left = one.left - 1
    if one.left <= 0 then close(self, one) end
  end
  if values.think > 0 then timer.sleep(values.think) end
  one.ended = nil
end

-- Whether this connection takes part at this time; waits while it does not.
local function take_part(self, one)
  local active = self.test.active
  while active and not self:over() and one.number > active(monotonic() - self.starts) do timer.sleep(0.05) end
end

local function drive(self, one)
  local test = self.test
  local pauses = test.values.reconnect > 0 or test.values.think > 0
  wait_until(self, one, self.starts)
  while not self.stopping do
    if one.db and one.db.closed then close(self, one) end
    if not one.db then
      one.ended = nil
      if not reopen(self, one) then return end
    end
    if test.active then take_part(self, one) end
    local due, started = next_start(self, one)
    if not due then return end
    step(self, one, choose(self, one), due, started)
    if pauses then after(self, one) end
  end
end

-- A session of a feed: its connection lasts from its first entry to its last.
local function follow(self, one)
  for i, entry in ipairs(one.session) do
    local due = self.starts + entry.at
    if due >= self.ends or not wait_until(self, one, due) then
      self.figures.not_started = self.figures.not_started + #one.session - i + 1
      break
    end
    if one.db and one.db.closed then close(self, one) end
    if not one.db and not open(self, one) and not reopen(self, one) then break end
    step(self, one, self.event_index[entry.event], due, monotonic(), entry)
  end
  close(self, one)
end

-- The thread's life.

-- Opens the connections, some at a time. Returns false when one is refused.
function worker:connect_all()
  if self.test.workload.feed then return true end
  local next_one, refused = 0, nil
  local function opener()
    while not refused and not self.stopping do
      next_one = next_one + 1
      local one = self.connections[next_one]
      if not one then return end
      local db, cause, info = open(self, one)
      if not db then refused = refused or { cause = cause, sqlstate = info and info.sqlstate } end
    end
  end
  local openers = {}
  for i = 1, math.min(OPENING, #self.connections) do openers[i] = task.spawn(opener) end
  for _, one in ipairs(openers) do task.join(one) end
  if not refused then return true end
  self:tell { kind = "refused", cause = refused.cause, sqlstate = refused.sqlstate, connected = self.connected }
  return false
end

function worker:begin(message)
  self.starts, self.begins, self.ends = message.starts, message.begins, message.ends
  local test = self.test
  if test.rate then
    self.schedule = schedule.new {
      rate = test.rate, poisson = test.values.arrivals == "poisson", start = self.starts, index = self.index,
      threads = self.threads, random = random.new(test.values.seed, -self.index, 1),
    }
  end
  self.running = {}
  for i, one in ipairs(self.connections) do
    self.running[i] = task.spawn(function()
      local ok, cause = xpcall(one.session and follow or drive, function(cause)
        return cause == task.CANCELLED and cause or debug.traceback(tostring(cause), 2)
      end, self, one)
      if not ok and cause ~= task.CANCELLED then self:give_up("the load test failed: " .. cause) end
    end)
  end
  task.background(function() self:tick() end)
  task.background(function() self:finish() end)
end

function worker:tick()
  local slot, interval, n = self.pacer:slot(), self.test.values.interval, 0
  while not self.finished do
    n = n + 1
    local due = self.begins + n * interval
    if due > self.ends + 1e-6 then return end
    while not slot:reached(due) do
      if core.wait(slot) == "cancelled" then return end
    end
    if self.finished then return end
    local tick = self.figures:take_tick()
    tick.kind, tick.number, tick.connected = "tick", n, self.connected
    self:tell(tick)
  end
end

-- Before its time only a feed comes to its end.
function worker:all_ended()
  if not self.test.workload.feed then return false end
  for _, one in ipairs(self.running) do
    if task.status(one) == "running" then return false end
  end
  return true
end

-- Waits for the end and tells all figures.
function worker:finish()
  while not self:over() and not self:all_ended() do
    timer.sleep(math.min(0.05, math.max(self.ends - monotonic(), 0)))
  end
  local ended = monotonic()
  local grace = ended + (self.stopping and 1 or GRACE_SECONDS)
  for _, one in ipairs(self.running) do
    while task.status(one) == "running" and monotonic() < grace do task.wait(one, grace - monotonic()) end
    if task.status(one) == "running" then task.cancel(one) end
  end
  for i, one in ipairs(self.running) do
    if self.connections[i].busy then self.figures.unfinished = self.figures.unfinished + 1 end
    task.join(one)
  end
  local last = self.begins
  for _, one in ipairs(self.connections) do
    last = math.max(last, one.last or last)
    close(self, one)
  end
  if self.schedule then
    self.figures.not_started = self.figures.not_started + self.schedule:left(math.min(ended, self.ends))
  end
  self.finished = true
  local all = self.figures:all(self.statements)
  all.kind, all.ended = "final", self.test.open and ended or math.max(last, math.min(ended, self.ends))
  self:tell(all)
end

function worker:obey()
  while true do
    local text = self.parent:receive()
    if text == nil then break end
    if text == false then
      task.wait(self.parent)
    else
      local message = buffer.decode(text)
      if message.kind == "go" then self:begin(message) end
      if message.kind == "stop" then self:stop() end
    end
  end
end

-- Ends early: those that wait for their time are woken.
function worker:stop()
  self.stopping = true
  for i, one in ipairs(self.running or {}) do
    if not self.connections[i].busy then task.cancel(one) end
  end
end

-- This thread's share of the connections; of a feed, its sessions.
function worker:add_connections()
  local test, sessions = self.test, nil
  if test.workload.feed then
    sessions, self.event_index = test.workload.feed(test.values), {}
    for i, event in ipairs(self.events) do self.event_index[event.name] = i end
  end
  local count = sessions and #sessions or test.values.connections
  self.assigned = setup.assign(test.targets, count)
  for number = self.index, count, self.threads do
    table.insert(self.connections, {
      number = number, slot = self.pacer:slot(), random = random.new(test.values.seed, number, count),
      session = sessions and sessions[number],
    })
  end
end

local function new_worker(parent, config)
  local source = assert(pipeline.load(config.path))
  pipeline.set_arguments({})
  local workload = source.chunk()
  local test = assert(setup.settle(workload, config.given))
  local self = setmetatable({
    parent = parent, path = config.path, test = test, index = config.index, threads = config.threads, connected = 0,
    statements = statements.new(test.values.protocol), events = test.events, connections = {}, total_weight = 0,
    figures = figures.new(test.events, test.open), ends = math.huge, retryable = retryable_states(workload),
    stopping = false, schedule = false, gave_up = false, finished = false, values = test.values,
    pacer = assert(pacer.new()),
  }, worker)
  self.on_bytes = function(received, sent)
    self.figures.received, self.figures.sent = self.figures.received + received, self.figures.sent + sent
  end
  self:add_connections()
  if #self.events > 1 then
    for _, event in ipairs(self.events) do self.total_weight = self.total_weight + event.weight end
  end
  if workload.run then workload.run(test.values) end
  return self
end

return function(text)
  start.state()
  local parent = thread.parent()
  local ok, cause = xpcall(function()
    local self = new_worker(parent, buffer.decode(text))
    log.configure(buffer.decode(text).log)
    if self:connect_all() then self:tell { kind = "ready", connected = self.connected } end
    self:obey()
  end, function(cause) return debug.traceback(tostring(cause), 2) end)
  if not ok then
    parent:send(buffer.encode { kind = "fatal", message = "a thread of the load test failed: " .. cause })
  end
  sys.finish(0)
end
