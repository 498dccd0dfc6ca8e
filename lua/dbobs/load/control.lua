--- A load test as a whole, in the main thread: checks the servers, starts the threads, prints their figures as they
--- come, and reports at the end.
local buffer = require "string.buffer"
local histogram = require "dbobs.core.histogram"
local log = require "dbobs.log"
local limits = require "dbobs.load.limits"
local output = require "dbobs.load.output"
local postgres = require "dbobs.postgres"
local result = require "dbobs.load.result"
local setup = require "dbobs.load.setup"
local sys = require "dbobs.core.sys"
local tables = require "dbobs.load.tables"
local task = require "dbobs.task"
local text = require "dbobs.load.text"
local thread = require "dbobs.core.thread"

local M = {}

-- From "go" to the beginning, so that all threads have heard it.
local HEAD_START = 0.05
-- How long a thread's last message may take, beyond what it allows its statements.
local LAST_WORD_SECONDS = 15

-- How often a load without an end looks for a server that is away at its start.
local LOOK_SECONDS = 1

local function fail(cause)
  log.error("load: " .. cause)
  return 1
end

local control = {}
control.__index = control

-- The servers before the test: that they answer, who they are, how many connections they have room for.
local function look_at(target)
  local db, cause, info = postgres.connect(target.parameters)
  -- What a server says has a SQLSTATE; of one that is not there, or not yet, there is none, or 57P03.
  if not db then return nil, cause, not (info and info.sqlstate) or info.sqlstate == "57P03" end
  local rows = db:query [[select current_setting('max_connections')::int "most",
    current_setting('server_version') "version",
    (select count(*)::int from pg_stat_activity where backend_type = 'client backend') used]]
  local seen = { name = target.name, host = db.host, port = db.port, dbname = db.dbname }
  if rows then seen.most, seen.used, seen.version = rows[1].most, rows[1].used, rows[1].version end
  db:close()
  seen.text = ("%s:%s/%s%s"):format(seen.host, seen.port, seen.dbname,
    seen.version and " (PostgreSQL " .. seen.version:match "^%S+" .. ")" or "")
  return seen
end

function control:look()
  self.servers = {}
  for i, target in ipairs(self.test.targets) do
    local seen, cause, away = look_at(target)
    if not seen then return nil, cause, away end
    self.servers[i] = seen
  end
  return true
end

-- A load that never ends waits for its servers; one that measures does not.
function control:find_servers()
  local key, orders = "load/" .. self.path, sys.orders()
  while true do
    local ok, cause, away = self:look()
    local _, must_stop = sys.order()
    local waits = not ok and away and self.test.duration == math.huge and not must_stop
    log.condition(key, waits, "warn", "load: a server is away; it is waited for", { error = cause })
    if not waits then return ok, cause end
    task.wait(orders, LOOK_SECONDS)
  end
end

local function describe_loop(test)
  if test.workload.feed then return "open loop: events at their own times" end
  if not test.rate then return "closed loop: each connection as fast as it can" end
  local arrivals = test.values.arrivals == "poisson" and "at random times (Poisson)" or "evenly spread"
  if type(test.rate) == "number" then return ("open loop: %g events a second, %s"):format(test.rate, arrivals) end
  return "open loop: a rate that changes in time, " .. arrivals
end

function control:announce()
  local test = self.test
  local names = {}
  for i, server in ipairs(self.servers) do names[i] = server.text end
  local lasts = test.duration < math.huge and ("for %g s"):format(test.duration) or "until it is stopped"
  sys.write(("%s on %s: %d connections, %d threads, %s, %s, seed %d\n"):format(test.workload.name,
    table.concat(names, ", "), test.values.connections, self.threads, describe_loop(test), lasts, test.values.seed))
end

-- Threads and their messages.

local handlers = {}

function handlers.ready(self)
  self.ready = self.ready + 1
end

-- One thread was refused a connection: the others need not go on.
function handlers.refused(self, message)
  local cause = message.cause
  local server = self.servers[1]
  if message.sqlstate == "53300" and server.most then
    cause = ("%s. The server's max_connections is %d, of which %d were in use before: take fewer connections, "
      .. "raise it, or put a pooler in front"):format(cause, server.most, server.used - 1)
  end
  self.failure = self.failure or cause
end

function handlers.fatal(self, message)
  self.failure = self.failure or message.message
end

local function add_errors(to, from)
  for state, count in pairs(from) do to[state] = (to[state] or 0) + count end
end

function handlers.tick(self, message)
  local tick = self.ticks[message.number]
  if not tick then
    if message.number <= self.printed then return end
    tick = { times = histogram.new(), errors = {}, connected = 0, heard = 0 }
    self.ticks[message.number] = tick
  end
  tick.times:add(message.times)
  add_errors(tick.errors, message.errors)
  tick.connected, tick.heard = tick.connected + message.connected, tick.heard + 1
  -- A thread that does not keep up is waited for until the next tick but one.
  if tick.heard == self.threads then self:print_ticks(message.number) end
  self:print_ticks(message.number - 2)
end

function handlers.final(self, message)
  result.add(self.all, message)
  self.finals = self.finals + 1
end

function control:print_ticks(last)
  local interval = self.test.values.interval
  for number = self.printed + 1, last do
    local tick = self.ticks[number] or { times = histogram.new(), errors = {}, connected = 0 }
    local point = {
      t = number * interval, rate = tick.times:count() / interval, p50_ms = tick.times:percentile(50) * 1e3,
      p99_ms = tick.times:percentile(99) * 1e3, max_ms = tick.times:max() * 1e3, errors = tick.errors,
      connected = tick.connected,
    }
    if self.keeps_timeline then self.timeline[#self.timeline + 1] = point end
    self.ticks[number] = nil
    sys.write(text.line(point))
  end
  self.printed = math.max(self.printed, last)
end

function control:listen(one)
  while true do
    local message = one:receive()
    if message == nil then
      if not self.ending then self.failure = self.failure or "a thread of the load test ended before its time" end
      return
    end
    if message == false then
      task.wait(one)
    else
      message = buffer.decode(message)
      handlers[message.kind](self, message)
    end
  end
end

function control:start()
  self.list, self.listeners = {}, {}
  for index = 1, self.threads do
    local config = {
      path = self.path, given = self.given, index = index, threads = self.threads, log = log.configuration(),
    }
    local one, cause = thread.start("dbobs.load.worker", buffer.encode(config))
    if not one then return nil, cause end
    self.list[index] = one
    self.listeners[index] = task.spawn(function() self:listen(one) end)
  end
  return true
end

function control:tell(message)
  local encoded = buffer.encode(message)
  for _, one in ipairs(self.list) do one:send(encoded) end
end

-- Waits until done(), a failure, or an order to stop. Returns "done", "failed" or "stopped".
function control:wait(done, seconds)
  local orders = sys.orders()
  local until_time = seconds and sys.monotonic() + seconds
  while not done() do
    if self.failure then return "failed" end
    local _, must_stop = sys.order()
    if must_stop and not self.stopped then
      self.stopped = true
      return "stopped"
    end
    if until_time and sys.monotonic() >= until_time then return "failed" end
    task.wait(orders, 0.05)
  end
  return "done"
end

function control:end_threads()
  self.ending = true
  for _, one in ipairs(self.list) do one:join() end
end

-- The test itself, between "ready" and the last message.
function control:measure()
  self.started_at = sys.wall()
  local user, system = sys.cpu()
  local starts = sys.monotonic() + HEAD_START
  local begins = starts + self.test.values.warmup
  self:tell { kind = "go", starts = starts, begins = begins, ends = begins + self.test.duration }
  local function all_told() return self.finals == self.threads end
  local how = self:wait(all_told)
  if how ~= "done" then
    self:tell { kind = "stop" }
    local failure = self.failure
    self.failure = nil
    self:wait(all_told, LAST_WORD_SECONDS)
    self.failure = failure
  end
  local user_then, system_then = sys.cpu()
  self.cpu = user_then + system_then - user - system
  local last = self.all.ended > 0 and self.all.ended or sys.monotonic()
  -- An open loop is judged by the time in which events should have started, a closed one by the time that they took.
  if self.test.open then last = math.min(last, begins + self.test.duration) end
  self.seconds = math.max(last - begins, 1e-3)
end

function control:report()
  local total = {
    rate = self.all.service:count() / self.seconds, errors = result.sum(self.all.errors),
    not_started = self.all.not_started,
    times = self.all.response or self.all.service,
  }
  local options = {}
  for name, value in pairs(self.test.values) do options[name] = value end
  options.target = nil -- may hold a password
  local servers = {}
  for i, server in ipairs(self.servers) do servers[i] = server.text end
  local final = result.finish(self.all, {
    seconds = self.seconds, cpu = self.cpu, started_at = self.started_at, workload = self.test.workload.name,
    options = options, targets = servers, loop = describe_loop(self.test), threads = self.threads,
    timeline = self.timeline,
    broken = limits.broken(self.test.limits, total),
  })
  sys.write(text.report(final))
  local written, cause = output.write(final, self.all, self.test.values)
  if not written then
    log.error(cause)
    return 1
  end
  return (#final.broken > 0 or self.failure) and 1 or 0
end

function control:run()
  local ok, cause = self:find_servers()
  if not ok then return fail(cause) end
  self:announce()
  ok, cause = self:start()
  if not ok then return fail(cause) end
  local how = self:wait(function() return self.ready == self.threads end)
  if how ~= "done" then
    self:tell { kind = "stop" }
    self:end_threads()
    if self.failure then return fail(self.failure) end
    return 0
  end
  self:measure()
  self:end_threads()
  if self.failure then fail(self.failure) end
  if self.failure and self.all.service:count() == 0 then return 1 end
  return self:report()
end

--- Runs what is asked of a workload.
---@param workload table
---@param path string the workload's file, for the other threads
---@param command "prepare"|"run"|"cleanup"
---@param given table<string, string> options of the command line
---@return integer exit code
function M.main(workload, path, command, given)
  local test, problem = setup.settle(workload, given)
  if not test then
    log.error("load: " .. problem)
    return 1
  end
  if command ~= "run" then return tables[command](test, path) end
  local self = setmetatable({
    test = test, path = path, given = given, threads = setup.threads(test.values, sys.cpus()), ready = 0, finals = 0,
    ticks = {},
    printed = 0, timeline = {}, all = result.new(test), keeps_timeline = test.duration < math.huge,
  }, control)
  return self:run()
end

return M
