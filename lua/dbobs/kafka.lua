--- Kafka: producers and their topics, requests to the cluster, consumers, and the embedded broker for trying things.
--- Every librdkafka property is given under its own name.
local consumer = require "dbobs.kafka_consumer"
local core = require "dbobs.core.kafka"
local exactly_once = require "dbobs.kafka_exactly_once"
local embedded = require "dbobs.kafka_embedded"
local log = require "dbobs.log"
local options = require "dbobs.options"
local properties = require "dbobs.kafka_properties"
local report = require "dbobs.kafka_report"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- Nothing counts as sent before its report, nothing is given up, memory is bounded.
local DEFAULTS = {
  ["client.id"] = "dbobs",
  ["acks"] = "all",
  ["enable.idempotence"] = "true",
  ["message.timeout.ms"] = "0",
  ["linger.ms"] = "50",
  ["queue.buffering.max.kbytes"] = "32768",
}
local OUTBOX_BYTES = 32 * 2 ^ 20
local REQUEST_SECONDS = 10
-- Topics that were handed out -> {producer, name}.
local origins = setmetatable({}, { __mode = "k" })
-- What the embedded broker makes of a topic when nobody says how many partitions it is to have.
local EMBEDDED_PARTITIONS = 1

---@class dbobs.kafka.producer sends to topics, and asks the cluster
local producer = {}
producer.__index = producer

--- A producer. Properties that librdkafka does not know or take are an error at the caller.
---@param given table<string, string|number|boolean> librdkafka's properties; "bootstrap.servers" may be "embedded"
---@return dbobs.kafka.producer
function M.producer(given)
  local texts = properties.complete(given, DEFAULTS, "dbobs.kafka")
  properties.refuse(texts, "transactional.id", "kafka:exactly_once has producers with transactions: leave it out")
  local object, cause, unknown = core.producer(texts, given["message.max.bytes"] ~= nil)
  if not object then properties.raise("dbobs.kafka", cause, unknown) end
  local self = setmetatable({ core = object, brokers = texts["bootstrap.servers"], properties = texts,
    ensuring = {}, exactly_once_sinks = {} }, producer)
  report.watch(object:report(), self.brokers)
  return self
end

local function open(self, what)
  if not self.core then error(("kafka:%s: the producer is closed"):format(what), 3) end
  return self.core
end

-- Waits for a request's answer. Returns its result, or nil, "<what>: <cause>" and the name of Kafka's error.
local function answer(what, request, cause)
  if not request then return nil, ("%s: %s"):format(what, cause) end
  while true do
    local result, more, name = request:result()
    if result == nil then return nil, ("%s: %s"):format(what, more), name end
    if result ~= false then return result, more end
    task.wait(request)
  end
end

local function check_name(name, what)
  if type(name) ~= "string" then
    error(("kafka:%s: a topic's name expected, got %s"):format(what, type(name)), 3)
  end
  if #name == 0 or #name > 249 or name:find "[^%w._-]" or name == "." or name == ".." then
    error(("kafka:%s: '%s' is no name for a topic: up to 249 letters, digits, '.', '_' and '-' make one")
      :format(what, name), 3)
  end
end

-- ---- topics ----------------------------------------------------------------

local TOPIC_OPTIONS = { when_full = { one = { "wait", "drop_oldest" } }, max_bytes = "number" }

local function sink_arguments(given, what)
  given = given or {}
  options.check(given, TOPIC_OPTIONS, what, 3)
  local max_bytes = given.max_bytes or OUTBOX_BYTES
  if max_bytes < 65536 then error(what .. ": option 'max_bytes' must be at least 65536", 3) end
  return given.when_full == "drop_oldest", max_bytes
end

--- A topic to write to; hand it to `dbobs.collect` as `to`, or call its methods. The topic need not exist yet.
---@param name string
---@param given {when_full: "wait"|"drop_oldest"|nil, max_bytes: number|nil}|nil what happens when Kafka takes records
---  more slowly than they come: the sender waits (the default), or the oldest are dropped past max_bytes, and told;
---  then the sender waits only when the oldest is of the same batch
---@return dbobs.kafka.topic
function producer:topic(name, given)
  check_name(name, "topic")
  local sink = open(self, "topic"):sink(name, sink_arguments(given, "kafka:topic"))
  origins[sink] = { producer = self, name = name }
  return sink
end

--- A topic to which records go in Kafka transactions, together with a position: a reader with isolation.level
--- read_committed sees both or neither. It has a producer of its own. See dbobs.kafka.exactly_once for its use; for
--- server logs hand it to dbobs.tail.server_log with delivery = "exactly_once".
---@param name string
---@param given {id: string, positions: string|nil, create: boolean|nil, every: string|number|nil,
---  max_bytes: number|nil} id: the transactional.id, always the same for the same source, and of one process at a time;
---  positions: the topic in which positions are kept ("dbobs-positions"), made with cleanup.policy=compact unless
---  create is false; a transaction is committed when it is that old (100 ms; with a backlog ten times that) or holds so
---  many bytes (16 MiB for all topics of this kafka together, at least 1 MiB each)
---@return dbobs.kafka.exactly_once
function producer:exactly_once(name, given)
  check_name(name, "exactly_once")
  open(self, "exactly_once")
  local made = exactly_once.new(self, name, given or {})
  check_name(made.positions, "exactly_once")
  return made
end

---@class dbobs.kafka.topic: dbobs.sink a topic to write to
local topic = core.topic_methods

local function misused(what, expected, value)
  error(("topic:send: the %s must be %s, got %s"):format(what, expected, type(value)), 4)
end

local function check_record(key, value, headers, batch)
  if key ~= nil and type(key) ~= "string" and type(key) ~= "number" then misused("key", "a string or nil", key) end
  if type(value) ~= "string" and type(value) ~= "number" then misused("value", "a string", value) end
  if headers ~= nil and type(headers) ~= "table" then misused("headers", "a table of name = text", headers) end
  for name, text in pairs(headers or {}) do
    if type(name) ~= "string" or type(text) ~= "string" then misused("headers", "texts by their names", text) end
  end
  if batch ~= nil and type(batch) ~= "userdata" then misused("batch", "one of dbobs.batch()", batch) end
end

--- Sends one record; waits while there is no room for it. Delivered is what its batch says, see dbobs.batch.
---@param key string|nil
---@param value string
---@param headers table<string, string>|nil
---@param batch dbobs.batch|nil
---@return boolean|nil ok, string|nil error
function topic:send(key, value, headers, batch)
  if type(self) ~= "userdata" then error("topic.send: use topic:send(...), with a colon", 2) end
  check_record(key, value, headers, batch)
  while true do
    local ok, cause = self:put(key, value, headers, batch)
    if ok then return true end
    if ok == nil then return nil, "kafka.send: " .. cause end
    task.wait(self)
  end
end

--- The same topic with other options of kafka:topic.
---@param given {when_full: "wait"|"drop_oldest"|nil, max_bytes: number|nil}
---@return dbobs.kafka.topic
function topic:with(given)
  local sink = self:like(sink_arguments(given, "topic:with"))
  origins[sink] = origins[self]
  return sink
end

--- The same topic with records in transactions, see kafka:exactly_once.
---@param given table
---@return dbobs.kafka.exactly_once
function topic:exactly_once(given)
  local origin = origins[self]
  return origin.producer:exactly_once(origin.name, given)
end

--- Waits until everything that was sent is delivered or has failed.
---@param timeout string|number|nil duration; nil waits without end
---@return boolean|nil ok, string|nil error
function producer:flush(timeout)
  local seconds = timeout and sys.duration(timeout)
  local until_time = seconds and sys.monotonic() + seconds
  while self.core and self.core:pending() > 0 do
    local left = until_time and until_time - sys.monotonic()
    if left and left <= 0 then
      return nil, ("kafka.flush: %d records are not delivered after %g s"):format(self.core:pending(), seconds)
    end
    task.wait(self.core, left)
  end
  for sink in pairs(self.exactly_once_sinks) do
    if not sink:settle(until_time) then
      return nil, ("kafka.flush: the transaction '%s' is not committed after %g s"):format(sink.id, seconds)
    end
  end
  return true
end

--- Lets go of the brokers at once; what is not delivered fails. Flush first.
function producer:close()
  for sink in pairs(self.exactly_once_sinks) do sink:close() end
  if self.core then self.core:close() end
  self.core = nil
end

-- ---- requests --------------------------------------------------------------

--- The topics there are.
---@param timeout string|number|nil duration, 10 s by default
---@return {name: string, partitions: integer, replication: integer}[]|nil topics sorted, string|nil error
function producer:topics(timeout)
  local found, cause = answer("kafka.topics", open(self, "topics"):list(sys.duration(timeout or REQUEST_SECONDS)))
  if found then table.sort(found, function(a, b) return a.name < b.name end) end
  return found, cause
end

--- A topic's configuration.
---@param name string
---@param timeout string|number|nil duration, 10 s by default
---@return table<string, string>|nil configuration, string|nil error
function producer:describe(name, timeout)
  check_name(name, "describe")
  return answer("kafka.describe", open(self, "describe"):describe(name, sys.duration(timeout or REQUEST_SECONDS)))
end

local CREATE_OPTIONS = { partitions = "number", replication = "number", config = "table", timeout = "duration" }

local function check_creation(given, what)
  options.check(given, CREATE_OPTIONS, what, 3)
  for _, name in ipairs { "partitions", "replication" } do
    local value = given[name]
    if value and (value < 1 or value > 100000 or value % 1 ~= 0) then
      error(("%s: option '%s' must be a whole number from 1, got %g"):format(what, name, value), 3)
    end
  end
end

--- Creates a topic.
---@param name string
---@param given {partitions: integer|nil, replication: integer|nil, config: table<string, string|number>|nil,
---  timeout: string|number|nil}|nil what is left out is the broker's default; timeout is 10 s
---@return boolean|nil ok, string|nil error, string|nil name of Kafka's error, as "TOPIC_ALREADY_EXISTS"
function producer:create_topic(name, given)
  check_name(name, "create_topic")
  given = given or {}
  check_creation(given, "kafka:create_topic")
  local object = open(self, "create_topic")
  if embedded.is_address(self.brokers) then
    return embedded.create_topic(name, given.partitions or EMBEDDED_PARTITIONS)
  end
  local config = properties.texts(given.config or {}, "kafka:create_topic")
  local ok, more, code = answer("kafka.create_topic",
    object:create(name, given.partitions or -1, given.replication or -1, config,
      sys.duration(given.timeout or REQUEST_SECONDS)))
  if ok and more then
    log.info("the broker cannot create topics on request, so it made one with its own partitions and settings",
      { topic = name })
  end
  return ok, not ok and more or nil, code
end

local function exists(self, name)
  local topics, cause = self:topics()
  if not topics then return nil, cause end
  for _, one in ipairs(topics) do
    if one.name == name then return true end
  end
  return false
end

-- One attempt. Returns whether it is settled, for better or worse.
local function try_to_ensure(self, name, given)
  local there = exists(self, name)
  if there ~= false then return there end
  local ok, cause, code = self:create_topic(name, given)
  if ok then
    log.info("created the topic", { topic = name })
  elseif code == "_TIMED_OUT" or code == "_TRANSPORT" or code == "_DESTROY" then
    return false
  elseif code ~= "TOPIC_ALREADY_EXISTS" then
    log.error("the topic does not exist and cannot be created", { topic = name, error = cause })
  end
  return true
end

--- Sees to it that a topic exists: created when it does not, left as it is when it does. Returns at once; records for
--- the topic wait until it is settled. A topic that cannot be created is logged with what to do.
---@param name string
---@param given {partitions: integer|nil, replication: integer|nil, config: table<string, string|number>|nil}|nil
---@return boolean ok
function producer:ensure_topic(name, given)
  check_name(name, "ensure_topic")
  check_creation(given or {}, "kafka:ensure_topic")
  open(self, "ensure_topic"):hold(name, true)
  self.ensuring[name] = true
  task.background(function()
    while self.core and not try_to_ensure(self, name, given) do task.wait(nil, 1) end
    self.ensuring[name] = nil
    if self.core then self.core:hold(name, false) end
  end)
  return true
end

--- A consumer: a member of a group, or one that begins at an offset, a time, the beginning or the end.
M.consumer = consumer.new
M.parse_from = consumer.parse_from

--- The embedded broker of this process: librdkafka's mock broker, for trying and testing only. Started at first use.
---@return {address: string}
function M.embedded()
  return { address = embedded.address() }
end

return M
