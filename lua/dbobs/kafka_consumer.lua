--- Reading topics: as a member of a group, or from an offset, a time, the beginning or the end.
local kafka_core = require "dbobs.core.kafka"
local new_consumer = require "dbobs.core.kafka_consumer"
local options = require "dbobs.options"
local properties = require "dbobs.kafka_properties"
local report = require "dbobs.kafka_report"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

local DEFAULTS = {
  ["client.id"] = "dbobs",
  ["queued.max.messages.kbytes"] = "16384",
}
-- A consumer without a group still needs a name for one, which is never used.
local ALONE = { ["group.id"] = "dbobs", ["enable.auto.commit"] = "false", ["enable.auto.offset.store"] = "false" }

-- What is ours among the properties.
local OWN = { group = "string", topics = "table", assign = "table", from = "any", eof = "boolean" }

local ASSIGN = { topic = "string", partition = "number", from = "any" }

---@class dbobs.kafka.consumer reads topics
local consumer = {}
consumer.__index = consumer

local function days_from_civil(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local year_of_era = year - era * 400
  local day_of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  local day_of_era = year_of_era * 365 + math.floor(year_of_era / 4) - math.floor(year_of_era / 100) + day_of_year
  return era * 146097 + day_of_era - 719468
end

-- "2026-01-31", "2026-01-31T12:00", with seconds, fraction and zone; UTC without one. Returns milliseconds since 1970.
local function parse_time(text)
  local year, month, day, rest = text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$"
  if not year then return nil end
  local hour, minute, second, zone = 0, 0, 0, ""
  if rest ~= "" then
    local tail
    hour, minute, tail = rest:match "^[T ](%d%d):(%d%d)(.*)$"
    if not hour then return nil end
    local seconds, after = tail:match "^:(%d%d%.?%d*)(.*)$"
    second, zone = seconds or 0, after or tail
  end
  local offset = 0
  if zone ~= "" and zone ~= "Z" then
    local sign, hours, minutes = zone:match "^([+-])(%d%d):?(%d?%d?)$"
    if not sign then return nil end
    offset = (tonumber(hours) * 3600 + (tonumber(minutes) or 0) * 60) * (sign == "-" and -1 or 1)
  end
  local days = days_from_civil(tonumber(year), tonumber(month), tonumber(day))
  return math.floor((days * 86400 + hour * 3600 + minute * 60 + second - offset) * 1000)
end

--- Where to begin, from what a person writes.
---@param from string|number|nil "beginning" (the default), "end", an offset (below 0: that many before the end), "10m"
---  (ago), or a time like "2026-01-31T12:00:00Z"
---@return string|nil kind, number|string value or what is wrong
function M.parse_from(from)
  if from == nil or from == "beginning" then return "beginning", 0 end
  if from == "end" then return "end", 0 end
  local number = tonumber(from)
  if number then
    if number % 1 ~= 0 then return nil, ("an offset is a whole number, got %s"):format(from) end
    return "offset", number
  end
  local ago = type(from) == "string" and sys.parse_duration(from)
  if ago then return "time", math.floor(sys.wall() / 1000 - ago * 1000) end
  local time = type(from) == "string" and parse_time(from)
  if time then return "time", time end
  return nil, ('"beginning", "end", an offset, a time like "2026-01-31T12:00:00Z" or "10m" (ago) expected, got %s')
    :format(type(from) == "string" and ("'%s'"):format(from) or type(from))
end

local function start_of(topic, partition, from)
  if type(topic) ~= "string" then properties.misuse("kafka.consumer: a topic's name expected, got " .. type(topic)) end
  local kind, value = M.parse_from(from)
  if not kind then properties.misuse("kafka.consumer: from: " .. value) end
  return { topic, partition or -1, kind, value }
end

local function starts_of(own)
  local starts = {}
  for _, topic in ipairs(own.topics or {}) do starts[#starts + 1] = start_of(topic, nil, own.from) end
  local assign = own.assign or {}
  for _, one in ipairs(assign[1] == nil and next(assign) ~= nil and { assign } or assign) do
    local problem = options.problem(one, ASSIGN, "kafka.consumer: assign")
    if problem then properties.misuse(problem) end
    starts[#starts + 1] = start_of(one.topic, one.partition, one.from or own.from)
  end
  if #starts == 0 then properties.misuse "kafka.consumer: which topics? Give topics = { ... } or assign = { ... }" end
  return starts
end

-- A misspelt option of ours, which would else pass for a property of librdkafka's.
local function check_misspelt(rest)
  local names, is_property = kafka_core.properties(), {}
  for _, name in ipairs(names) do is_property[name] = true end
  for name in pairs(OWN) do names[#names + 1] = name end
  for name in pairs(rest) do
    local meant = type(name) == "string" and not is_property[name] and options.nearest(name, names)
    if meant and OWN[meant] then
      properties.misuse(("kafka.consumer: unknown option '%s'; did you mean '%s'?"):format(name, meant))
    end
  end
end

-- Splits what is ours from librdkafka's properties.
local function split(given)
  local own, rest = {}, {}
  for name, value in pairs(given) do
    local kind = OWN[name]
    if kind and kind ~= "any" and type(value) ~= kind then
      properties.misuse(("kafka.consumer: option '%s' must be a %s, got %s"):format(name, kind, type(value)))
    end
    if kind then own[name] = value else rest[name] = value end
  end
  return own, rest
end

--- A consumer.
---@param given table librdkafka's properties, and of ours: topics = {"a", "b"} (all their partitions) or assign =
---  {topic=, partition=, from=} (or several of those); from = where to begin, see parse_from; group = the name of a
---  group to join (then from is "beginning" or "end", for partitions without a committed offset); eof = true to be told
---  the ends of partitions
---@return dbobs.kafka.consumer
function M.new(given)
  if type(given) ~= "table" then properties.misuse("kafka.consumer: a table expected, got " .. type(given)) end
  local own, rest = split(given)
  check_misspelt(rest)
  local starts = starts_of(own)
  local texts = properties.complete(rest, DEFAULTS, "kafka.consumer")
  for name, value in pairs(own.group and { ["group.id"] = own.group } or ALONE) do texts[name] = value end
  if own.group then
    if own.assign or starts[1][3] == "offset" or starts[1][3] == "time" then
      properties.misuse "kafka.consumer: a member of a group takes topics, from the \"beginning\" or the \"end\""
    end
    texts["auto.offset.reset"] = texts["auto.offset.reset"] or (starts[1][3] == "end" and "latest" or "earliest")
  end
  local core, cause, unknown = new_consumer(texts, starts, own.group ~= nil)
  if not core then properties.raise("kafka.consumer", cause, unknown) end
  report.watch(core:report(), texts["bootstrap.servers"])
  return setmetatable({ core = core, eof = own.eof, brokers = texts["bootstrap.servers"] }, consumer)
end

--- The next message without waiting.
---@return table|boolean|nil message false when there is none yet; nil and a cause on an error, and true when it is
---  final
function consumer:take()
  while true do
    if not self.core then return nil, "kafka.poll: the consumer is closed", true end
    local message, cause, final = self.core:poll()
    if message == nil then return nil, "kafka.poll: " .. cause, final == true end
    if not message or not message.eof or self.eof then return message end
  end
end

--- Waits for the next message.
---@param timeout string|number|nil duration; nil waits without end
---@return {topic: string, partition: integer, offset: integer, timestamp: number|nil, key: string|nil,
---  value: string|nil, headers: table<string, string>|nil, eof: boolean|nil}|nil message its timestamp in microseconds
---  since 1970; nil alone when none came in time
---@return string|nil error
function consumer:poll(timeout)
  local until_time = timeout and sys.monotonic() + sys.duration(timeout)
  while true do
    local message, cause, final = self:take()
    if message ~= false then return message, cause, final end
    local left = until_time and until_time - sys.monotonic()
    if left and left <= 0 then return nil end
    task.wait(self.core, left)
  end
end

--- How many partitions are assigned; 0 until it is known, and for a member of a group.
---@return integer
function consumer:partitions()
  return self.core and self.core:partitions() or 0
end

--- The end of a partition, records of open transactions among it, as of the last fetch.
---@param topic string
---@param partition integer
---@return integer|nil offset nil before the first fetch
function consumer:end_offset(topic, partition)
  return self.core and self.core:end_offset(topic, partition)
end

--- Commits the offsets of what was polled, in the background (for members of a group).
---@return boolean|nil ok, string|nil error
function consumer:commit()
  if not self.core then return nil, "kafka.commit: the consumer is closed" end
  local ok, cause = self.core:commit()
  return ok, cause and "kafka.commit: " .. cause
end

--- Leaves its group, if it is in one, and lets go of the brokers.
function consumer:close()
  if self.core then self.core:close() end
  self.core = nil
end

return M
