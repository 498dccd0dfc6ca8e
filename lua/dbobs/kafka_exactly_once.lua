--- A topic to which records go in Kafka transactions together with a position, by a producer of its own:
---   local out = kafka:exactly_once("raw-logs", { id = "dbobs-orders-logs" })
---   local position = out:open "orders.logs"    -- the one committed last; an older instance is fenced
---   out:send(key, value)                       -- or as a sink: out.core
---   out:commit "the new position"              -- with all records since the last one, or none of them
--- When a transaction is not committed its batches fail, and who has them begins again at the position before.
local log = require "dbobs.log"
local new_transaction = require "dbobs.core.kafka_transaction"
local options = require "dbobs.options"
local positions = require "dbobs.kafka_positions"
local properties = require "dbobs.kafka_properties"
local report = require "dbobs.kafka_report"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

local OPTIONS = { id = "string", positions = "string", create = "boolean", every = "duration", max_bytes = "number" }
-- What transactions of one kafka may take together, and each at least.
local SHARED_BYTES, LEAST_BYTES = 16 * 2 ^ 20, 2 ^ 20
-- With a backlog records come late anyway: then a transaction may be so much older.
local BACKLOG = 10
-- What Kafka takes where nobody says otherwise.
local DEFAULT_LIMIT = 1048588
local DEFAULT_TIMEOUT_MS = 60000
-- A compacted topic is read whole at each start, the part that is not compacted yet among it: that is kept small.
local POSITIONS_CONFIG = { ["cleanup.policy"] = "compact", ["segment.bytes"] = 8 * 2 ^ 20 }

-- Transactional ids of this process, by brokers and id: those that are in use, and those that another one took over,
-- with the reason. The latter are never used again: two that begin again after being fenced fence each other for ever.
local in_use, lost = {}, {}

---@class dbobs.kafka.exactly_once: dbobs.sink a topic to which records go in transactions, with a position
---@field core userdata|nil the sink, while it is open
local exactly_once = {}
exactly_once.__index = exactly_once

-- Tells one life of a process from all others, and people which it was.
local function instance_name()
  local stat, random = io.open "/proc/self/stat", io.open("/dev/urandom", "rb")
  local pid = stat and stat:read "*n" or 0
  local tail = random and random:read(6) or tostring(sys.wall())
  if stat then stat:close() end
  if random then random:close() end
  return ("%s, process %d, %s"):format(sys.hostname(), pid, (tail:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end)))
end

local function complete(parent, id)
  local texts = {}
  for name, value in pairs(parent.properties) do texts[name] = value end
  local timeout = tonumber(texts["transaction.timeout.ms"]) or DEFAULT_TIMEOUT_MS
  -- Without end, as elsewhere, it cannot be: a record lives no longer than its transaction.
  local message_timeout = tonumber(texts["message.timeout.ms"])
  if message_timeout == 0 or (message_timeout or 0) > timeout then texts["message.timeout.ms"] = nil end
  texts["transactional.id"] = id
  texts["queue.buffering.max.messages"] = "0" -- bounded in bytes
  return texts, timeout / 1000
end

--- For kafka:exactly_once, which says what is given.
---@param parent dbobs.kafka.producer whose properties it shares
---@param topic string
---@param given table
---@return dbobs.kafka.exactly_once
function M.new(parent, topic, given)
  local problem = options.problem(given, OPTIONS, "kafka:exactly_once")
  if not problem and (given.id or "") == "" then
    problem = "kafka:exactly_once: option 'id' is missing: the transactional.id, the same at each start"
  end
  if not problem and parent.properties["enable.idempotence"] == "false" then
    problem = "kafka:exactly_once: there are no transactions with [\"enable.idempotence\"] = false"
  end
  if problem then properties.misuse(problem) end
  local texts, timeout = complete(parent, given.id)
  local queue = tonumber(texts["queue.buffering.max.kbytes"]) * 1024
  return setmetatable({
    parent = parent, topic = topic, id = given.id, positions = given.positions or "dbobs-positions",
    create = given.create ~= false, every = sys.duration(given.every or 0.1),
    max_bytes = given.max_bytes, queue = queue,
    properties = texts, timeout = timeout, name = parent.brokers .. "/" .. given.id,
    instance = instance_name(), number = 0,
  }, exactly_once)
end

-- ---- topics ----------------------------------------------------------------

local function is_unanswered(code)
  return code == "_TIMED_OUT" or code == "_TRANSPORT" or code == "_DESTROY"
end

-- A topic's configuration; an empty one where it may not be asked for, nil when there is no such topic.
local function describe(self, name)
  while true do
    while self.parent.ensuring[name] do task.wait(nil, 0.05) end
    local config, cause, code = self.parent:describe(name)
    if config then return config end
    if code == "UNKNOWN_TOPIC_OR_PART" then return nil end
    if code and not is_unanswered(code) then return {} end
    if not self.parent.core then error(cause, 0) end
    task.wait(nil, 1)
  end
end

local function limit_of(self)
  local config = describe(self, self.topic) or {}
  local limit = tonumber(config["max.message.bytes"]) or DEFAULT_LIMIT
  local given = tonumber(self.parent.properties["message.max.bytes"])
  return math.max(math.min(limit, given or limit, self.queue / 2), 1024)
end

local function create_positions(self)
  while true do
    local ok, cause, code = self.parent:create_topic(self.positions, { partitions = 1, config = POSITIONS_CONFIG })
    if ok then
      log.info("created the topic for positions", { topic = self.positions })
      return true
    end
    if code == "TOPIC_ALREADY_EXISTS" then return true end
    -- It may be there all the same: reading it tells.
    if code == "TOPIC_AUTHORIZATION_FAILED" or code == "CLUSTER_AUTHORIZATION_FAILED" then return true end
    if not is_unanswered(code) then return nil, cause end
    task.wait(nil, 1)
  end
end

-- Sees to it that positions can be kept.
local function prepare_positions(self)
  local config = describe(self, self.positions)
  if self.create and not (config and config["cleanup.policy"]) then return create_positions(self) end
  if not config then
    return nil, ("topic '%s' does not exist; create it with one partition and cleanup.policy=compact"):format(
      self.positions)
  end
  if (config["cleanup.policy"] or "compact") ~= "compact" then
    log.warn("positions are kept in a topic that forgets: set its cleanup.policy to compact", {
      topic = self.positions, cleanup_policy = config["cleanup.policy"] })
  end
  return true
end

-- ---- beginning -------------------------------------------------------------

-- Work that blocks, in the background. Returns "done", or what it came to and why.
local function work(self, what)
  local ok, cause = self.core:work(what)
  if not ok then return "failed", cause end
  while true do
    local outcome
    outcome, cause = self.core:result()
    if outcome then return outcome, cause end
    task.wait(self.core)
  end
end

-- This instance may not write any more, and no other of this process with its id.
local function stop(self, who)
  lost[self.name] = ("another producer%s has taken over the transactional.id '%s': this one stops for good, or the two "
    .. "would fence each other for ever. Only one dbobs may follow a target: end one of them, or give the target "
    .. "another name there, then start it again"):format(who and (" (%s)"):format(who) or "", self.id)
  self:close()
  return nil, "kafka.exactly_once: " .. lost[self.name], true
end

local function fail(self, cause)
  self:close()
  return nil, ("kafka.exactly_once: transactional.id '%s': %s"):format(self.id, cause)
end

-- A producer that has fenced those before it.
local function begin(self)
  local limit = limit_of(self)
  local texts = self.properties
  texts["message.max.bytes"] = ("%d"):format(limit)
  texts["batch.size"] = ("%d"):format(math.min(limit, tonumber(self.parent.properties["batch.size"]) or 1000000))
  local core, cause, unknown = new_transaction(texts, self.topic, limit)
  if not core then return nil, unknown and "unknown property " .. cause or cause end
  self.core = core
  report.watch(core:report(), self.parent.brokers)
  local outcome
  outcome, cause = work(self, "init")
  if outcome ~= "done" then return nil, cause, outcome end
  return true
end

-- What was committed last: the message and the instance that did it.
local function last_committed(self)
  local found, cause = positions.read(self.parent.properties, self.positions, self.key)
  if found == nil then return nil, cause end
  local headers = found and found.headers or {}
  return found, headers.instance, tonumber(headers.transaction)
end

--- What was committed last under a key, without taking part: whoever has it open stays undisturbed.
---@param position string
---@return string|nil position "" when there is none
---@return string|nil error
function exactly_once:peek(position)
  self.key = position
  if not describe(self, self.positions) then return "" end
  local found, cause = last_committed(self)
  if found == nil then return nil, cause end
  return found and found.value or ""
end

local function open(self)
  local ok, cause = prepare_positions(self)
  if not ok then return fail(self, cause) end
  local outcome
  ok, cause, outcome = begin(self)
  if not ok then
    if outcome == "fenced" then return stop(self) end
    return fail(self, cause)
  end
  if self.core:is_embedded() then
    log.warn("the embedded broker does not hide the records of transactions that were not committed: a reader may see "
      .. "records twice there, with a real Kafka it does not", { topic = self.topic })
  end
  local found, who, number = last_committed(self)
  if found == nil then return fail(self, who) end
  self.before = { who = who, number = number }
  return found and found.value or ""
end

--- Begins: waits for the brokers, fences an older instance with the same id, and reads the position that was committed
--- last under the key.
---@param key string
---@return string|nil position "" when there is none
---@return string|nil error
---@return boolean|nil final it is no use to try again
function exactly_once:open(key)
  if lost[self.name] then return nil, "kafka.exactly_once: " .. lost[self.name], true end
  -- One before it in this process may still be at its last commit.
  while in_use[self.name] do task.wait(nil, 0.05) end
  in_use[self.name] = self
  self.parent.exactly_once_sinks[self] = true
  self.key = key
  local result = { pcall(open, self) }
  if result[1] then return unpack(result, 2, 4) end
  self:close()
  return error(result[2], 0)
end

-- ---- records ---------------------------------------------------------------

--- Sends one record with the open transaction; waits while there is no room.
---@param key string|nil
---@param value string
---@param batch dbobs.batch|nil reported when the transaction has ended
---@return boolean|nil ok, string|nil error
function exactly_once:send(key, value, batch)
  if not self.core then return nil, "kafka.exactly_once: it is not open" end
  local put = require("dbobs.core.sink").put
  while true do
    local ok, cause = put(self.core, key, value, batch)
    if ok ~= false then return ok, cause end
    if self:trouble() then return nil, "kafka.exactly_once: " .. self:trouble() end
    task.wait(self.core, 0.05)
  end
end

--- How the open transaction stands.
---@return number records, number bytes, number seconds since its first record
function exactly_once:status()
  if not self.core then return 0, 0, 0 end
  local records, bytes, age = self.core:status()
  return records, bytes, age
end

--- Why the open transaction cannot be committed any more; nil when it can.
---@return string|nil cause
function exactly_once:trouble()
  local _, _, _, cause = self.core:status()
  return cause
end

-- How large a transaction may become, so that all of them stay in the bound.
local function size_of_one(self)
  if self.max_bytes then return math.min(self.max_bytes, self.queue / 2) end
  local count = 0
  for _ in pairs(self.parent.exactly_once_sinks) do count = count + 1 end
  return math.max(math.min(SHARED_BYTES, self.queue / 2) / math.max(count, 1), LEAST_BYTES)
end

--- Whether it is time to commit: the transaction is old or large enough.
---@param more boolean|nil there is a backlog
---@return boolean
function exactly_once:is_due(more)
  local records, bytes, age, trouble = self.core:status()
  if trouble then return true end
  return records > 0 and (age >= self.every * (more and BACKLOG or 1) or bytes >= size_of_one(self))
end

-- ---- commit ----------------------------------------------------------------

-- Whether another one has committed since this one began: until its own first commit the last is what it found.
local function is_later(self, who, number)
  return who ~= self.instance and (who ~= self.before.who or number ~= self.before.number)
end

-- Who has taken over, which it tells with its first commit; nil when that does not come within some seconds.
local function successor(self)
  local name
  task.deadline(5, function()
    repeat
      local found, who, number = last_committed(self)
      if found and is_later(self, who, number) then name = who end
      if not name then task.wait(nil, 0.2) end
    until name
  end)
  return name
end

-- librdkafka gave the producer up and does not tell whether the transaction was committed. Another one is made, unless
-- somebody else has begun meanwhile; what was committed last tells the rest.
local function recover(self, outcome, cause)
  local old = self.core
  local _, _, age = old:status()
  old:stop()
  -- The broker gives up a transaction that takes too long, and says the same as to one that was fenced.
  if outcome == "fenced" and age < self.timeout * 0.95 then return stop(self, successor(self)) end
  log.warn("the producer of a transaction failed; another one is started", { topic = self.topic, error = cause })
  local found, who, number = last_committed(self)
  if not found then return fail(self, who or cause) end
  if is_later(self, who, number) then return stop(self, who) end
  local ok, problem = begin(self)
  if not ok then return fail(self, problem) end
  found, who, number = last_committed(self)
  if not found then return fail(self, who or "the position is gone") end
  if is_later(self, who, number) then
    return fail(self, "another producer has committed meanwhile: " .. tostring(who))
  end
  local committed = who == self.instance and number == self.number
  old:settle(not committed and cause or nil)
  old:close()
  if committed then return true end
  return false, cause
end

local function roll_back(self, cause)
  local _, _, _, _, outgrown = self.core:status()
  local outcome, problem = work(self, "abort")
  if outcome == "done" then cause = problem or cause end
  if outcome == "done" and outgrown then return fail(self, cause) end -- a new producer asks for the limit
  if outcome == "done" then return false, cause end
  if outcome == "closed" then return nil, "kafka.exactly_once: " .. problem end
  return recover(self, outcome, problem)
end

--- Commits the records since the last commit together with a position, whole or not at all.
---@param position string
---@return boolean|nil committed false: the transaction was rolled back and its batches failed; what is sent from now on
---  belongs to a new one. nil: it is closed, begin anew with open
---@return string|nil error
---@return boolean|nil final with nil: it is no use to try again
function exactly_once:commit(position)
  if not self.core then return nil, "kafka.exactly_once: it is not open" end
  self.number = self.number + 1
  local noted, cause = not self:trouble(), nil
  if noted then
    noted, cause = self.core:note(self.positions, positions.PARTITION, self.key, position,
      { instance = self.instance, transaction = ("%d"):format(self.number) })
  end
  if not noted then return roll_back(self, cause or self:trouble() or "no room for the position") end
  local outcome
  outcome, cause = work(self, "commit")
  if outcome == "done" then return true end
  if outcome == "abort" then return roll_back(self, self:trouble() or cause) end
  if outcome == "closed" then return nil, "kafka.exactly_once: " .. cause end
  return recover(self, outcome, cause)
end

--- Rolls the open transaction back: its batches fail.
---@param cause string|nil why, for the batches
---@return boolean|nil ok false, as commit; nil and the error when it is closed
---@return string|nil error, boolean|nil final
function exactly_once:abort(cause)
  return roll_back(self, cause or self:trouble() or "it was given up")
end

--- Waits until it was closed, or nothing is uncommitted.
---@param until_time number|nil of sys.monotonic
---@return boolean settled
function exactly_once:settle(until_time)
  while self.core and (self.busy or self:status() > 0) do
    local left = until_time and until_time - sys.monotonic()
    if left and left <= 0 then return false end
    task.wait(nil, math.min(left or 0.05, 0.05))
  end
  return true
end

--- Lets go of the brokers. What was not committed is not, and its batches fail.
function exactly_once:close()
  if self.core then self.core:close() end
  self.core = nil
  if in_use[self.name] == self then in_use[self.name] = nil end
  self.parent.exactly_once_sinks[self] = nil
end

return M
