--- Positions that are kept in Kafka: the value last committed under a key, in the first partition of a compacted topic.
--- Those who ask at the same time share one reading of it.
local consumer = require "dbobs.kafka_consumer"
local task = require "dbobs.task"

local M = {}

--- The partition in which they are.
M.PARTITION = 0

-- Which of a producer's properties a consumer takes as well: what is about reaching the brokers.
local SHARED = { "^bootstrap%.", "^client%.", "^security%.", "^sasl%.", "^ssl%.", "^enable%.s", "^socket%.",
  "^broker%.address", "^broker%.version", "^api%.version", "^metadata%.broker", "^reconnect%.", "^resolve", "^debug$" }
-- Once its first end was reached, a reading without news for so long is begun anew.
local PATIENCE = 5

-- By brokers and topic: {next = those whose reading has not begun, running = boolean}.
local readers = {}

local function consumer_properties(properties)
  local shared = {}
  for name, value in pairs(properties) do
    for _, pattern in ipairs(SHARED) do
      if name:find(pattern) then shared[name] = value end
    end
  end
  return shared
end

-- The end is that of all records when reading began: behind one of ours there may be one of another's open transaction,
-- which hides what comes after it until it has ended. What comes later is not waited for: it may come without end.
local function read_to_end(given, topic, found)
  local reader = consumer.new(given)
  local patience, finish
  while true do
    local message, cause, final = reader:poll(patience)
    if not message and (final or not cause) then
      reader:close()
      return nil, cause
    end
    if message and message.eof then
      patience = PATIENCE
      finish = finish or reader:end_offset(topic, M.PARTITION)
      if message.offset >= (finish or math.huge) then break end
    elseif message and message.key then
      found[message.key] = message
    end
  end
  reader:close()
  return true
end

local function read_all(properties, topic, keys)
  local given = consumer_properties(properties)
  given.assign = { topic = topic, partition = M.PARTITION }
  given.eof = true
  given["isolation.level"] = "read_committed"
  given["fetch.wait.max.ms"] = "20" -- the end is to be told at once
  while true do
    local wanted = setmetatable({}, { __newindex = function(found, key, message)
      if keys[key] then rawset(found, key, message) end
    end })
    local ok, cause = read_to_end(given, topic, wanted)
    if ok then return wanted end
    if cause then return nil, cause end
  end
end

-- One reading for all who ask before it begins; others wait for the next.
local function serve(reader, properties, topic)
  reader.running = true
  while reader.next do
    local round = reader.next
    reader.next = nil
    local ok, found, cause = pcall(read_all, properties, topic, round.keys)
    round.found = ok and found
    round.cause = not ok and tostring(found) or cause
    round.done = true
  end
  reader.running = false
end

--- The message last committed under a key, as of now.
---@param properties table<string, string> of the producer
---@param topic string
---@param key string
---@return table|false|nil message see dbobs.kafka_consumer; false when there is none
---@return string|nil error
function M.read(properties, topic, key)
  local name = properties["bootstrap.servers"] .. "/" .. topic
  local reader = readers[name] or {}
  readers[name] = reader
  reader.next = reader.next or { keys = {} }
  local round = reader.next
  round.keys[key] = true
  if not reader.running then reader.task = task.background(serve, reader, properties, topic) end
  while not round.done do task.wait(nil, 0.02) end
  if not round.found then return nil, round.cause end
  return rawget(round.found, key) or false
end

return M
