--- The result of a load test: the threads' figures put together, as one table that is also what json= writes.
local histogram = require "dbobs.core.histogram"
local sys = require "dbobs.core.sys"
local timer = require "dbobs.timer"

local M = {}

local PERCENTILES = {
  { "p50_ms", 50 }, { "p75_ms", 75 }, { "p90_ms", 90 }, { "p95_ms", 95 }, { "p99_ms", 99 }, { "p999_ms", 99.9 },
  { "p9999_ms", 99.99 },
}

--- Count, mean and percentiles of a histogram, in milliseconds.
---@param times userdata
---@param seconds number how long it was measured
function M.times(times, seconds)
  local result = {
    count = times:count(), rate = times:count() / seconds, mean_ms = times:mean() * 1e3,
    stddev_ms = times:stddev() * 1e3,
    min_ms = times:min() * 1e3, max_ms = times:max() * 1e3,
  }
  for _, one in ipairs(PERCENTILES) do result[one[1]] = times:percentile(one[2]) * 1e3 end
  return result
end

local function add_counts(to, from)
  for name, count in pairs(from) do to[name] = (to[name] or 0) + count end
end

local function sum(counts)
  local total = 0
  for _, count in pairs(counts) do total = total + count end
  return total
end
M.sum = sum

--- An empty collection of figures, for the threads' to be added.
---@param test table see dbobs.load.setup
function M.new(test)
  local self = {
    events = {}, statements = {}, errors = {}, messages = {}, not_started = 0, unfinished = 0, reconnects = 0,
    received = 0,
    sent = 0, service = histogram.new(), response = test.open and histogram.new() or nil, ended = 0,
  }
  for i, event in ipairs(test.events) do
    self.events[i] = {
      name = event.name, service = histogram.new(), response = test.open and histogram.new() or nil, errors = {},
      retries = 0,
    }
  end
  return self
end

local function add_event(all, event, part)
  event.service:add(part.service)
  all.service:add(part.service)
  if part.response then
    event.response:add(part.response)
    all.response:add(part.response)
  end
  event.retries = event.retries + part.retries
  add_counts(event.errors, part.errors)
  add_counts(all.errors, part.errors)
  for state, message in pairs(part.messages) do all.messages[state] = all.messages[state] or message end
end

--- Adds a thread's last message.
function M.add(all, part)
  for i, event in ipairs(part.events) do add_event(all, all.events[i], event) end
  for text, one in pairs(part.statements) do
    local statement = all.statements[text]
    if not statement then
      statement = { times = histogram.new(), errors = 0, piped = 0 }
      all.statements[text] = statement
    end
    statement.times:add(one.times)
    statement.errors, statement.piped = statement.errors + one.errors, statement.piped + one.piped
  end
  for _, name in ipairs { "not_started", "unfinished", "reconnects", "received", "sent" } do
    all[name] = all[name] + part[name]
  end
  all.ended = math.max(all.ended, part.ended)
end

local function both(one, seconds)
  local times = { service = M.times(one.service, seconds) }
  times.service_histogram = one.service:encode()
  if one.response then
    times.response = M.times(one.response, seconds)
    times.response_histogram = one.response:encode()
  end
  return times
end

local function statements_of(all, seconds)
  local list = {}
  for text, one in pairs(all.statements) do
    local entry = M.times(one.times, seconds)
    entry.statement, entry.errors, entry.pipelined = text, one.errors, one.piped
    list[#list + 1] = entry
  end
  table.sort(list, function(a, b)
    if a.count ~= b.count then return a.count > b.count end
    return a.statement < b.statement
  end)
  return list
end

--- The finished table.
---@param all table what the threads told
---@param about table {seconds, cpu, started_at, and what the report says of the test}
function M.finish(all, about)
  local seconds = about.seconds
  local total = both(all, seconds)
  local count = all.service:count()
  total.events, total.rate, total.errors, total.messages = count, count / seconds, all.errors, all.messages
  total.failed, total.retries = sum(all.errors), 0
  for _, name in ipairs { "not_started", "unfinished", "reconnects" } do total[name] = all[name] end
  total.received_bytes, total.sent_bytes = all.received, all.sent
  total.cpu_us_per_event = count > 0 and about.cpu / (count + total.failed) * 1e6 or 0
  local events = {}
  for i, event in ipairs(all.events) do
    local one = both(event, seconds)
    one.name, one.errors, one.failed, one.retries = event.name, event.errors, sum(event.errors), event.retries
    one.events, one.rate = event.service:count(), event.service:count() / seconds
    total.retries = total.retries + event.retries
    events[i] = one
  end
  local version = sys.version()
  return {
    workload = about.workload, started = timer.iso8601(about.started_at), seconds = seconds, options = about.options,
    targets = about.targets, loop = about.loop, threads = about.threads, dbobs = version, total = total,
    events = events,
    statements = statements_of(all, seconds), timeline = about.timeline, broken = about.broken,
  }
end

return M
