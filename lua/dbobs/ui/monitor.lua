--- What the topic monitor knows of a cluster: looked up again every few seconds while somebody watches, more rarely
--- otherwise. While the brokers are away what was known stays, with the cause and since when.
local kafka = require "dbobs.kafka"
local survey = require "dbobs.kafka_survey"
local sizes = require "dbobs.ui.sizes"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

local WATCHED_SECONDS, IDLE_SECONDS, WATCHING_SECONDS = 3, 30, 60
local CONFIG_SECONDS, REQUEST_SECONDS = 120, 5
-- A topic's rate is that of the last minute.
local RATE_SECONDS = 60

---@class dbobs.ui.monitor
local monitor = {}
monitor.__index = monitor

--- A monitor of a cluster; `run` keeps it up to date.
---@param properties table<string, string> librdkafka's
---@return dbobs.ui.monitor
function M.new(properties)
  return setmetatable({
    properties = properties, client = kafka.producer(properties), sizes = sizes.new(properties),
    histories = {}, configs = {}, watched = 0, bounds = {},
  }, monitor)
end

-- ---- topics ----------------------------------------------------------------

-- Partitions that have a leader, by topic; without one nobody answers.
local function places_of(topics)
  local places = {}
  for _, topic in ipairs(topics) do
    local list = {}
    for _, partition in ipairs(topic.partitions) do
      if partition.leader >= 0 then list[#list + 1] = partition.id end
    end
    if #list > 0 then places[topic.name] = list end
  end
  return places
end

--- Where the partitions of topics begin and end.
---@param topics table[] of the cluster
---@return table<string, table<integer, {low: integer, high: integer}>>|nil bounds, string|nil error
function monitor:read_bounds(topics)
  local places = places_of(topics)
  local low, cause = survey.offsets(self.client, places, "beginning", REQUEST_SECONDS)
  if not low then return nil, cause end
  local high, problem = survey.offsets(self.client, places, "end", REQUEST_SECONDS)
  if not high then return nil, problem end
  local bounds = {}
  for name, ends in pairs(high) do
    bounds[name] = {}
    for partition, offset in pairs(ends) do
      bounds[name][partition] = { low = low[name] and low[name][partition] or offset, high = offset }
    end
  end
  return bounds
end

local function sum_ends(bounds)
  local sum = 0
  for _, bound in pairs(bounds) do sum = sum + bound.high end
  return sum
end

-- Records a second of late; nil as long as there is nothing to compare with, or the topic was made anew.
local function rate_of(history, bounds)
  local now, sum = sys.monotonic(), sum_ends(bounds)
  if #history > 0 and sum < history[#history].sum then
    for i = #history, 1, -1 do history[i] = nil end
  end
  history[#history + 1] = { at = now, sum = sum }
  while #history > 2 and now - history[2].at >= RATE_SECONDS do table.remove(history, 1) end
  local first = history[1]
  if #history < 2 or now - first.at < 1 then return nil end
  return (sum - first.sum) / (now - first.at)
end

local function describe_topic(self, topic)
  local bounds = self.bounds[topic.name] or {}
  local one = { name = topic.name, error = topic.error, internal = topic.name:sub(1, 2) == "__",
    partitions = #topic.partitions, replication = 0, behind = 0, leaderless = 0, records = 0 }
  for _, partition in ipairs(topic.partitions) do
    one.replication = math.max(one.replication, partition.replicas)
    if partition.in_sync < partition.replicas then one.behind = one.behind + 1 end
    if partition.leader < 0 then one.leaderless = one.leaderless + 1 end
  end
  for _, bound in pairs(bounds) do one.records = one.records + bound.high - bound.low end
  self.histories[topic.name] = self.histories[topic.name] or {}
  one.rate = rate_of(self.histories[topic.name], bounds)
  return one
end

-- What changes slowly, looked up one topic at a time beside the rest.
local function add_slow(self, one)
  local average, sampled = self.sizes:average(one.name)
  one.record_bytes, one.sampled = average, sampled
  one.bytes = one.records == 0 and 0 or average and average * one.records
  one.byte_rate = average and one.rate and average * one.rate
  local config = self.configs[one.name]
  if not config then return end
  one.config_error = config.error
  one.retention_ms = tonumber(config.values["retention.ms"])
  one.retention_bytes = tonumber(config.values["retention.bytes"])
  one.cleanup = config.values["cleanup.policy"]
end

local function look_up_slow(self)
  for _, topic in ipairs(self.cluster.topics) do
    local config = self.configs[topic.name]
    if not config or sys.monotonic() - config.at > CONFIG_SECONDS then
      local values, cause = self.client:describe(topic.name, REQUEST_SECONDS)
      self.configs[topic.name] = { at = sys.monotonic(), values = values or {}, error = cause }
    end
    if self.problem then return end
    local internal = topic.name:sub(1, 2) == "__"
    if not internal and self.bounds[topic.name] then self.sizes:sample(topic.name, self.bounds[topic.name]) end
  end
end

-- ---- groups ----------------------------------------------------------------

-- How many partitions of a topic have no committed offset: how far behind those are is not known.
local function count_uncommitted(offsets, bounds)
  local count = 0
  for partition in pairs(bounds or {}) do
    if not offsets[partition] then count = count + 1 end
  end
  return count
end

-- How far a group is behind, by topic.
local function lag_of(committed, bounds)
  local topics, lag = {}, 0
  for name, offsets in pairs(committed) do
    local one = { name = name, lag = 0, uncommitted = count_uncommitted(offsets, bounds[name]), partitions = {} }
    for partition, offset in pairs(offsets) do
      local bound = bounds[name] and bounds[name][partition]
      local behind = bound and math.max(0, bound.high - math.max(offset, bound.low))
      one.partitions[#one.partitions + 1] = { id = partition, committed = offset, lag = behind }
      one.lag = one.lag + (behind or 0)
    end
    table.sort(one.partitions, function(a, b) return a.id < b.id end)
    topics[#topics + 1] = one
    lag = lag + one.lag
  end
  table.sort(topics, function(a, b) return a.name < b.name end)
  return topics, lag
end

local function read_groups(self, bounds)
  local groups, cause = survey.groups(self.client, REQUEST_SECONDS)
  if not groups then return nil, cause end
  local names = {}
  for i, group in ipairs(groups) do names[i] = group.name end
  local details = #names > 0 and survey.members(self.client, names, REQUEST_SECONDS) or {}
  for _, group in ipairs(groups) do
    local detail = details[group.name] or {}
    group.state, group.error, group.members = detail.state or group.state, detail.error, detail.members or {}
    local committed, problem = survey.committed(self.client, group.name, REQUEST_SECONDS)
    if committed then group.topics, group.lag = lag_of(committed, bounds)
    else group.error = group.error or problem end
  end
  return groups
end

-- ---- the whole -------------------------------------------------------------

local function forget_gone(self, topics)
  local there = {}
  for _, topic in ipairs(topics) do there[topic.name] = true end
  for _, known in ipairs { self.histories, self.configs, self.sizes.topics } do
    for name in pairs(known) do
      if not there[name] then known[name] = nil end
    end
  end
end

local function look(self)
  local cluster, cause = survey.cluster(self.client, REQUEST_SECONDS)
  if not cluster then return nil, cause end
  table.sort(cluster.topics, function(a, b) return a.name < b.name end)
  local bounds, problem = self:read_bounds(cluster.topics)
  if not bounds then return nil, problem end
  self.cluster, self.bounds = cluster, bounds
  forget_gone(self, cluster.topics)
  local topics = {}
  for i, topic in ipairs(cluster.topics) do topics[i] = describe_topic(self, topic) end
  self.topics, self.time = topics, sys.wall() / 1000
  self.groups, self.groups_problem = read_groups(self, bounds)
  return true
end

--- Looks everything up once. What fails is kept as the problem.
function monitor:refresh()
  local ok, cause = look(self)
  if ok then self.problem, self.problem_since = nil, nil
  else self.problem, self.problem_since = cause, self.problem_since or sys.wall() / 1000 end
  self.looked = true
  return ok
end

--- Keeps it up to date until it is cancelled.
function monitor:run()
  local slow
  while true do
    self:refresh()
    if not self.problem and (not slow or task.status(slow) ~= "running") then slow = task.spawn(look_up_slow, self) end
    local until_time = sys.monotonic() + IDLE_SECONDS
    repeat
      task.wait(nil, WATCHED_SECONDS)
    until sys.monotonic() > until_time or sys.monotonic() - self.watched < WATCHING_SECONDS
  end
end

local function count_leaders(cluster)
  local leads = {}
  for _, topic in ipairs(cluster.topics) do
    for _, partition in ipairs(topic.partitions) do leads[partition.leader] = (leads[partition.leader] or 0) + 1 end
  end
  return leads
end

--- Everything for the overview, as a table for JSON. Times are milliseconds since 1970, rates are per second.
function monitor:overview()
  self.watched = sys.monotonic()
  local all = { address = self.properties["bootstrap.servers"], now = sys.wall() / 1000, time = self.time,
    problem = self.problem, problem_since = self.problem_since, topics = self.topics or {},
    groups = self.groups or {}, groups_problem = self.groups_problem, brokers = {}, known = self.looked or false }
  if not self.cluster then return all end
  for _, topic in ipairs(all.topics) do add_slow(self, topic) end
  local leads = count_leaders(self.cluster)
  for i, broker in ipairs(self.cluster.brokers) do
    all.brokers[i] = { id = broker.id, host = broker.host, port = broker.port, leads = leads[broker.id] or 0 }
  end
  return all
end

--- A topic with its partitions as of now.
---@param name string
---@return {name: string, partitions: table[]}|nil topic
---@return table<integer, {low: integer, high: integer}>|string bounds or error
---@return boolean|nil unknown whether there is no such topic
function monitor:topic(name)
  self.watched = sys.monotonic()
  local cluster, cause = survey.cluster(self.client, REQUEST_SECONDS)
  if not cluster then return nil, cause end
  for _, topic in ipairs(cluster.topics) do
    if topic.name == name then
      local bounds, problem = self:read_bounds { topic }
      if not bounds then return nil, problem end
      return topic, bounds[name] or {}
    end
  end
  return nil, ("there is no topic '%s', or the Kafka user has no ACL Describe on it"):format(name), true
end

--- The groups that have offsets in a topic, as of the last look.
---@param name string topic
---@return {name: string, state: string, lag: integer}[]
function monitor:groups_of(name)
  local found = {}
  for _, group in ipairs(self.groups or {}) do
    for _, topic in ipairs(group.topics or {}) do
      if topic.name == name then found[#found + 1] = { name = group.name, state = group.state, lag = topic.lag } end
    end
  end
  return found
end

function monitor:close()
  self.client:close()
end

return M
