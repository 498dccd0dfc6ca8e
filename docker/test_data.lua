-- Samples of the topics into files, for tests of what reads them: the newest records as they are, one file for each
-- record of otel-metrics (protobuf, and the same as OTLP/JSON), a line for each of the other topics. Every sample is
-- read back; one that is not what the contract says is an error.
--   dbobs run docker/test_data.lua dir=build/test-data count=20
local dbobs = require "dbobs"
local topics = require "topics"

local given = dbobs.arguments { dir = "build/test-data", count = 20 }
local brokers = dbobs.env("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")

-- What every record of raw-logs and raw-queries has, by proto/contract.md.
local FIELDS = { "data_type", "environment", "host", "database", "timestamp", "payload" }

local function write(name, text)
  local path = given.dir .. "/" .. name
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

-- The newest records of a topic, oldest first.
local function newest(topic)
  local consumer = assert(dbobs.kafka.consumer { ["bootstrap.servers"] = brokers, topics = { topic },
    from = -given.count, eof = true })
  local values, left = {}, nil
  repeat
    local message = assert(consumer:poll())
    left = left or consumer:partitions()
    if message.eof then left = left - 1 else values[#values + 1] = message.value end
  until left == 0
  consumer:close()
  if #values == 0 then error(("topic %s has no records yet: wait for a collection"):format(topic), 0) end
  return values
end

local function check_record(topic, value)
  local record = dbobs.json.decode(value)
  for _, field in ipairs(FIELDS) do
    if record[field] == nil then error(("a record of %s has no %s: %s"):format(topic, field, value:sub(1, 200)), 0) end
  end
end

local function take_metrics(topic)
  local values = newest(topic)
  for i, value in ipairs(values) do
    local text = assert(dbobs.otlp.decode(value))
    local decoded = dbobs.json.decode(text)
    assert(decoded.resourceMetrics and #decoded.resourceMetrics > 0, topic .. ": a record has no resourceMetrics")
    write(("%s-%03d.pb"):format(topic, i), value)
    write(("%s-%03d.json"):format(topic, i), text .. "\n")
  end
  return #values
end

local function take_json(topic)
  local values = newest(topic)
  for _, value in ipairs(values) do check_record(topic, value) end
  write(topic .. ".jsonl", table.concat(values, "\n") .. "\n")
  return #values
end

for stream, take in pairs { metrics = take_metrics, logs = take_json, queries = take_json } do
  io.write(("%-12s %d records, valid\n"):format(topics[stream], take(topics[stream])))
end
io.write("in " .. given.dir .. "\n")
