-- Kafka on the embedded broker: nothing but this process is needed.
local kafka = require "dbobs.kafka"
local embedded = require "dbobs.kafka_embedded"
local new_broker = require "dbobs.core.kafka_broker"
local sink = require "dbobs.sink"
local support = require "support.kafka"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

-- Kafka's numbers of requests and errors.
local PRODUCE, INIT_PRODUCER_ID = 0, 22
local TOPIC_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED, MSG_SIZE_TOO_LARGE, PRODUCER_FENCED = 29, 31, 10, 90

local function message_of(fn)
  local ok, cause = pcall(fn)
  assert.is_false(ok)
  return tostring(cause)
end

describe("properties", function()
  local function refused(properties)
    return message_of(function() kafka.producer(properties) end)
  end

  it("that librdkafka does not know are an error with the nearest name, at the caller's line", function()
    local text = refused { ["bootstrap.servers"] = "x:1", ["linger.msec"] = 5 }
    assert.matches("kafka_spec%.lua:%d+: dbobs%.kafka: unknown librdkafka property 'linger%.msec'; "
      .. "did you mean 'linger%.ms'?", text)
    text = message_of(function()
      kafka.consumer { ["bootstrap.servers"] = "x:1", topics = { "t" }, ["fetch.wait.max"] = 5 }
    end)
    assert.matches("kafka_spec%.lua:%d+: kafka%.consumer: unknown librdkafka property 'fetch%.wait%.max'", text)
  end)

  it("with a value that librdkafka does not take are an error that names them", function()
    assert.matches("acks", refused { ["bootstrap.servers"] = "x:1", acks = "many" })
    assert.matches("property 'linger%.ms': ", refused { ["bootstrap.servers"] = "x:1", ["linger.ms"] = "soon" })
    assert.matches("'acks' must be a string, a number or a boolean, got table",
      refused { ["bootstrap.servers"] = "x:1", acks = {} })
    assert.matches("'bootstrap.servers' is missing", refused {})
    assert.matches("a table of properties expected", refused "localhost:9092")
    assert.matches('%["enable.idempotence"%] = false', refused { ["bootstrap.servers"] = "x:1", acks = 1 })
  end)

  it("that this build has not are told by name", function()
    local base = { ["bootstrap.servers"] = "x:1", ["security.protocol"] = "sasl_ssl" }
    local function with(name, value)
      local copy = { [name] = value }
      for key, one in pairs(base) do copy[key] = copy[key] or one end
      return refused(copy)
    end
    assert.matches("Kerberos", with("sasl.mechanisms", "GSSAPI"))
    assert.matches("Kerberos", with("sasl.kerberos.principal", "x"))
    assert.matches("Kerberos", with("security.protocol", "SASL_SSL"))
    assert.matches("OIDC", refused { ["bootstrap.servers"] = "x:1", ["security.protocol"] = "sasl_ssl",
      ["sasl.mechanisms"] = "OAUTHBEARER", ["sasl.oauthbearer.method"] = "oidc" })
    assert.matches("OAUTHBEARER", with("sasl.mechanisms", "OAUTHBEARER"))
    assert.matches("plugins", refused { ["bootstrap.servers"] = "x:1", ["plugin.library.paths"] = "x" })
  end)

  it("are not needed to tell a record that is none, at the caller's line", function()
    local producer = kafka.producer { ["bootstrap.servers"] = "127.0.0.1:1" }
    local topic = producer:topic "t"
    local function misused(...)
      local arguments = { n = select("#", ...), ... }
      local text = message_of(function() topic:send(unpack(arguments, 1, arguments.n)) end)
      assert.matches("kafka_spec%.lua:%d+: topic:send: ", text)
      return text
    end
    assert.matches("the value must be a string, got table", misused("k", {}))
    assert.matches("the value must be a string, got nil", misused("k"))
    assert.matches("the key must be a string or nil, got table", misused({}, "v"))
    assert.matches("the headers must be", misused("k", "v", "h"))
    assert.matches("the headers must be", misused("k", "v", { a = 1 }))
    assert.matches("the batch must be", misused("k", "v", nil, {}))
    assert.matches("kafka_spec%.lua:%d+: topic.send: use topic:send%(...%)",
      message_of(function() topic.send("k", "v") end))
    producer:close()
  end)

  it("never show a secret in an error", function()
    for _, name in ipairs { "sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password" } do
      local ok, cause = pcall(kafka.producer, { ["bootstrap.servers"] = "x:1", [name] = "hunter2\0",
        ["no.such"] = "hunter2", ["security.protocol"] = "ssl" })
      assert.is_false(ok)
      assert.is_nil(tostring(cause):find("hunter2", 1, true))
    end
  end)

  it("all take the place of their defaults under their other names, too", function()
    local producer = kafka.producer { ["metadata.broker.list"] = "127.0.0.1:1", ["request.required.acks"] = -1,
      ["delivery.timeout.ms"] = 60000 }
    producer:close()
  end)
end)

describe("where to begin", function()
  it("is read from what people write", function()
    assert.same({ "beginning", 0 }, { kafka.parse_from() })
    assert.same({ "end", 0 }, { kafka.parse_from "end" })
    assert.same({ "offset", 42 }, { kafka.parse_from "42" })
    assert.same({ "offset", -5 }, { kafka.parse_from(-5) })
    assert.same({ "time", 1769860800000 }, { kafka.parse_from "2026-01-31T12:00:00Z" })
    assert.same({ "time", 1769860800250 }, { kafka.parse_from "2026-01-31T14:00:00.25+02:00" })
    assert.same({ "time", 1769817600000 }, { kafka.parse_from "2026-01-31" })
    local kind, time = kafka.parse_from "10m"
    assert.equal("time", kind)
    assert.is_true(time <= timer.wall() / 1000 - 600000)
  end)

  it("is an error otherwise", function()
    for _, wrong in ipairs { "begin", "2026-1-1", "1.5", "2026-01-31T12", {}, true } do
      local kind, text = kafka.parse_from(wrong)
      assert.is_nil(kind)
      assert.is_string(text)
    end
  end)
end)

describe("the embedded broker", function()
  teardown(embedded.close)

  it("is started by bootstrap.servers = embedded, and takes and gives records", function()
    local producer = kafka.producer { ["bootstrap.servers"] = "embedded" }
    assert.equal(producer.brokers, kafka.embedded().address)
    local name, batch = support.name(), sink.batch()
    assert.is_true(producer:create_topic(name))
    local topic = producer:topic(name)
    assert.is_true(topic:send("key", "value", { trace = "abc", empty = "" }, batch))
    assert.is_true(topic:send(nil, "no key", nil, batch))
    assert.is_true(topic:send("\0\1", "\0", nil, batch))
    assert.is_true(sink.wait(batch))
    local messages = support.read("embedded", name)
    assert.equal(3, #messages)
    local first = messages[1]
    assert.same({ name, 0, 0, "key", "value" }, { first.topic, first.partition, first.offset, first.key, first.value })
    assert.same({ trace = "abc", empty = "" }, first.headers)
    assert.is_true(math.abs(first.timestamp - timer.wall()) < 600e6)
    assert.is_nil(messages[2].key)
    assert.same({ "\0\1", "\0" }, { messages[3].key, messages[3].value })
    local status = topic:status()
    assert.same({ 3, 0, 0 }, { status.delivered, status.failed, status.queued })
    producer:close()
  end)

  it("has transactions, and says that it does not hide what was not committed", function()
    local producer, name = kafka.producer { ["bootstrap.servers"] = "embedded" }, support.name()
    assert(producer:create_topic(name))
    support.with_log(function(logged)
      local out = producer:exactly_once(name, { id = name })
      assert.equal("", out:open "here")
      logged "does not hide the records of transactions"
      assert(out:send("k", "one"))
      assert.is_true(out:commit "behind one")
      out:close()
      assert.equal("behind one", out:open "here")
      out:close()
    end)
    assert.same({ "one" }, support.values(support.read("embedded", name)))
    producer:close()
  end)

  it("creates topics when asked, tells which exist, and says that it keeps no configuration", function()
    local producer = kafka.producer { ["bootstrap.servers"] = "embedded" }
    local name = support.name()
    assert.is_true(producer:create_topic(name, { partitions = 3 }))
    local ok, cause, code = producer:create_topic(name)
    assert.same({ nil, "TOPIC_ALREADY_EXISTS" }, { ok, code })
    assert.matches("exists", cause)
    local found
    for _, topic in ipairs(assert(producer:topics())) do
      if topic.name == name then found = topic end
    end
    assert.same({ name = name, partitions = 3, replication = 1 }, found)
    local config, why = producer:describe(name)
    assert.is_nil(config)
    assert.matches("embedded broker cannot", why)
    assert.is_true(producer:ensure_topic(name))
    local another = support.name()
    producer:ensure_topic(another, { config = { ["retention.ms"] = 1000 } })
    assert.is_true(producer:topic(another):send("k", "v"))
    assert.is_true(producer:flush "60s")
    producer:close()
  end)

  it("is read from a time although it knows no offsets for one", function()
    local producer = kafka.producer { ["bootstrap.servers"] = "embedded" }
    local name = support.name()
    assert(producer:create_topic(name, { partitions = 2 }))
    for i = 1, 10 do assert(producer:topic(name):send(tostring(i), tostring(i))) end
    assert.is_true(producer:flush "60s")
    assert.equal(10, #support.read("embedded", name, { from = "1h" }))
    assert.equal(0, #support.read("embedded", name, { from = "2100-01-01" }))
    producer:close()
  end)
end)

describe("a producer", function()
  local broker, producer, name

  before_each(function()
    broker = new_broker()
    name = support.name()
    broker:topic(name, 1)
    producer = kafka.producer { ["bootstrap.servers"] = broker:address(), ["linger.ms"] = 1 }
  end)

  after_each(function()
    producer:close()
    broker:close()
  end)

  -- Another broker, whose first answer to a producer that begins is an error: that of before_each may have been asked.
  local function begin_with(code)
    producer:close()
    broker:close()
    broker = new_broker()
    broker:topic(name, 1)
    broker:fail(INIT_PRODUCER_ID, code)
    producer = kafka.producer { ["bootstrap.servers"] = broker:address(), ["linger.ms"] = 1 }
  end

  it("waits for a broker that is away, tells it, and tells when it is back", function()
    support.with_log(function(logged)
      broker:reachable(false)
      local batch = sink.batch()
      local sender = task.spawn(function() assert(producer:topic(name):send("k", "v", nil, batch)) end)
      assert.matches("refused", logged "warn no Kafka broker can be reached")
      broker:reachable(true)
      logged "info over: no Kafka broker can be reached"
      assert.is_true(task.join(sender))
      assert.is_true(sink.wait(batch))
    end)
  end)

  it("reports a refused record to its batch with what to do, and tells it as a condition", function()
    support.with_log(function(logged)
      local topic, batch = producer:topic(name), sink.batch()
      broker:fail(PRODUCE, TOPIC_AUTHORIZATION_FAILED)
      assert(topic:send("k", "v", nil, batch))
      local ok, cause = sink.wait(batch)
      assert.is_nil(ok)
      assert.matches("give the Kafka user the ACL Write on topic '" .. name:gsub("%-", "%%-") .. "'", cause)
      logged "error Kafka does not take records"
      broker:fail(PRODUCE, MSG_SIZE_TOO_LARGE)
      local second = sink.batch()
      local large = ("x"):rep(900000)
      support.until_true("the topic to be taken again", function() return topic:send("k", large, nil, second) end)
      ok, cause = sink.wait(second)
      assert.is_nil(ok)
      assert.matches("a record of 900001 bytes is more than topic", cause)
      local third = sink.batch()
      support.until_true("the topic to be taken again", function() return topic:send("k", "v", nil, third) end)
      assert.is_true(sink.wait(third))
      logged "info over: Kafka does not take records"
      assert.equal(2, topic:status().failed)
    end)
  end)

  it("makes the sender wait while its queue is full, and loses nothing", function()
    producer:close()
    producer = kafka.producer { ["bootstrap.servers"] = broker:address(), ["queue.buffering.max.messages"] = 10,
      ["linger.ms"] = 1 }
    local topic, batch = producer:topic(name), sink.batch()
    assert(topic:send("k", "0000", nil, batch))
    assert.is_true(sink.wait(batch))
    broker:reachable(false)
    local sent = 0
    local sender = task.spawn(function()
      for i = 1, 500 do
        assert(topic:send("k", ("%04d"):format(i), nil, batch))
        sent = i
      end
    end)
    support.until_true("a full queue", function() return sent >= 10 end)
    for _ = 1, 20 do task.wait(nil, 0) end
    assert.equal(10, sent)
    broker:reachable(true)
    assert.is_true(task.join(sender))
    assert.is_true(sink.wait(batch))
    local values = support.values(support.read(broker:address(), name))
    assert.equal(501, #values)
    for i, value in ipairs(values) do assert.equal(("%04d"):format(i - 1), value) end
  end)

  it("drops the oldest where it is told to, counts them, and makes no sender wait for another's", function()
    support.with_log(function(logged)
      producer:close()
      producer = kafka.producer { ["bootstrap.servers"] = broker:address(), ["queue.buffering.max.messages"] = 10 }
      local topic = producer:topic(name, { when_full = "drop_oldest", max_bytes = 65536 })
      assert(topic:send("k", "first"))
      assert.is_true(producer:flush "60s")
      broker:reachable(false)
      local old, new = sink.batch(), sink.batch()
      for i = 1, 200 do
        assert.is_true(topic:put("k", ("%04d"):format(i) .. ("x"):rep(1000), nil, i == 50 and old or nil))
      end
      for i = 201, 220 do assert.is_true(topic:put("k", ("%04d"):format(i) .. ("x"):rep(1000), nil, new)) end
      logged "warn the oldest records are dropped"
      local status = topic:status()
      assert.is_true(status.queued_bytes <= 65536)
      assert.is_true(status.dropped > 100)
      broker:reachable(true)
      assert.is_true(sink.wait(new))
      local ok, cause = sink.wait(old)
      assert.is_nil(ok)
      assert.matches("dropped", cause)
      logged "info over: the oldest records are dropped"
      assert.equal(221 - status.dropped, #support.read(broker:address(), name))
    end)
  end)

  it("drops nothing for a record of the same batch: its sender waits", function()
    producer:close()
    producer = kafka.producer { ["bootstrap.servers"] = broker:address(), ["queue.buffering.max.messages"] = 10 }
    local topic = producer:topic(name, { when_full = "drop_oldest", max_bytes = 65536 })
    assert(topic:send("k", "first"))
    assert.is_true(producer:flush "60s")
    broker:reachable(false)
    local large, sent = sink.batch(), 0
    local sender = task.spawn(function()
      for i = 1, 200 do
        assert(topic:send("k", ("%04d"):format(i) .. ("x"):rep(1000), nil, large))
        sent = i
      end
    end)
    task.wait(nil, 0.2)
    assert.is_true(sent > 20 and sent < 200)
    assert.equal("running", task.status(sender))
    assert.equal(0, topic:status().dropped)
    broker:reachable(true)
    assert.is_true(task.join(sender))
    assert.is_true(sink.wait(large))
    assert.equal(201, #support.read(broker:address(), name))
  end)

  it("has another one in its place after a fatal error, and goes on", function()
    support.with_log(function(logged)
      begin_with(CLUSTER_AUTHORIZATION_FAILED)
      local batch = sink.batch()
      -- Its first request is answered with the error; a new producer may begin.
      assert(producer:topic(name, { when_full = "drop_oldest" }):send("k", "v", nil, batch))
      logged "error kafka: not allowed to begin: .*IdempotentWrite"
      local _, _, failed = sink.status(batch)
      local again = sink.batch()
      assert(producer:topic(name):send("k", "again", nil, again))
      assert.is_true(sink.wait(again))
      assert.is_true(failed <= 1)
    end)
  end)

  it("stops for good when it is fenced, or two of them would fence each other for ever", function()
    support.with_log(function(logged)
      begin_with(PRODUCER_FENCED)
      local waiting, dropping = producer:topic(name), producer:topic(name, { when_full = "drop_oldest" })
      dropping:send("k", "v")
      logged "error kafka: .*it is fenced and stops for good"
      for _, topic in ipairs { waiting, dropping } do
        local ok, cause = topic:send("k", "v")
        assert.is_nil(ok)
        assert.matches("fenced by newer instance", cause)
      end
      local topics, cause = producer:topics()
      assert.is_nil(topics)
      assert.matches("the producer failed", cause)
    end)
  end)

  it("reports what is not delivered when it is closed, and refuses what comes later", function()
    broker:reachable(false)
    local waiting, dropping = producer:topic(name), producer:topic(name, { when_full = "drop_oldest" })
    producer.core:hold(name, true)
    local batch = sink.batch()
    for _ = 1, 10 do dropping:send("k", "v", nil, batch) end
    local result
    local sender = task.spawn(function() result = { waiting:send("k", "v") } end)
    task.wait(nil, 0)
    assert.is_nil((producer:flush(0)))
    producer:close()
    assert.is_true(task.join(sender))
    assert.is_nil(result[1])
    assert.matches("the producer is closed", result[2])
    local ok, cause = sink.wait(batch)
    assert.is_nil(ok)
    assert.matches("10 records were not delivered: closed", cause)
    assert.is_nil((waiting:send("k", "v")))
    assert.matches("the producer is closed", message_of(function() producer:topic "x" end))
    assert.matches("the producer is closed", message_of(function() producer:topics() end))
  end)

  it("refuses wrong names and options at the caller's line", function()
    for _, wrong in ipairs { "", "a b", "a/b", "..", ("x"):rep(250) } do
      assert.matches("kafka_spec%.lua:%d+: kafka:topic: .* is no name",
        message_of(function() producer:topic(wrong) end))
    end
    assert.matches("a topic's name expected, got nil", message_of(function() producer:topic() end))
    assert.matches("did you mean 'when_full'", message_of(function() producer:topic("x", { when_ful = "wait" }) end))
    assert.matches("one of wait, drop_oldest", message_of(function() producer:topic("x", { when_full = "drop" }) end))
    assert.matches("headers must be texts",
      message_of(function() producer:topic("x"):send("k", "v", { a = 1 }) end))
    assert.matches("'partitions' must be a whole number", message_of(function()
      producer:create_topic("x", { partitions = 0 })
    end))
  end)

  it("keeps no memory and no open file of 10,000 records", function()
    local topic = producer:topic(name)
    local function round()
      local batch = sink.batch()
      for i = 1, 1000 do assert(topic:send("key", "value " .. i, { n = "1" }, batch)) end
      assert.is_true(sink.wait(batch))
    end
    round()
    local function resident()
      local file = assert(io.open("/proc/self/statm"))
      local pages = tonumber(file:read "*a":match "^%d+ (%d+)")
      file:close()
      return pages * 4096
    end
    collectgarbage()
    local before = resident()
    for _ = 1, 10 do round() end
    collectgarbage()
    -- The embedded broker is in this process and keeps up to 5 MiB.
    assert.is_true(resident() - before < 16 * 2 ^ 20)
  end)
end)

describe("a consumer", function()
  local broker, producer, name

  before_each(function()
    broker = new_broker()
    name = support.name()
    broker:topic(name, 1)
    producer = kafka.producer { ["bootstrap.servers"] = broker:address(), ["linger.ms"] = 1 }
    for i = 1, 5 do assert(producer:topic(name):send(nil, tostring(i))) end
    assert(producer:flush())
  end)

  after_each(function()
    producer:close()
    broker:close()
  end)

  it("begins at an offset, before the end, or at the end", function()
    local address = broker:address()
    assert.same({ "3", "4", "5" }, support.values(support.read(address, name, { from = 2 })))
    assert.same({ "4", "5" }, support.values(support.read(address, name, { from = -2 })))
    assert.same({}, support.values(support.read(address, name, { from = "end" })))
    local assigned = { topics = {}, assign = { topic = name, partition = 0, from = 4 } }
    assert.same({ "5" }, support.values(support.read(address, name, assigned)))
  end)

  it("tells a topic or a partition that is not there", function()
    local consumer = kafka.consumer { ["bootstrap.servers"] = broker:address(), topics = { "nowhere" } }
    local message, cause = consumer:poll()
    assert.is_nil(message)
    assert.matches("topic 'nowhere' does not exist", cause)
    consumer:close()
    consumer = kafka.consumer { ["bootstrap.servers"] = broker:address(), assign = { topic = name, partition = 7 } }
    message, cause = consumer:poll()
    assert.is_nil(message)
    assert.matches("no partition 7, only 0 to 0", cause)
    consumer:close()
  end)

  it("waits no longer than it is told, and can be closed while it waits", function()
    local consumer = kafka.consumer { ["bootstrap.servers"] = broker:address(), topics = { name }, from = "end" }
    local message, cause = consumer:poll(0.05)
    assert.is_nil(message)
    assert.is_nil(cause)
    local result
    local reader = task.spawn(function() result = { consumer:poll() } end)
    task.wait(nil, 0)
    consumer:close()
    assert.is_true(task.join(reader))
    assert.matches("the consumer is closed", result[2])
  end)

  it("goes on where its group was", function()
    local function take(count)
      local consumer = kafka.consumer { ["bootstrap.servers"] = broker:address(), topics = { name }, group = "readers",
        ["enable.auto.commit"] = false }
      local values = {}
      for i = 1, count do values[i] = assert(consumer:poll()).value end
      assert.is_true(consumer:commit())
      consumer:close()
      return values
    end
    assert.same({ "1", "2", "3" }, take(3))
  end)

  it("refuses what makes no sense", function()
    local base = { ["bootstrap.servers"] = "x:1" }
    local function refused(more)
      for key, value in pairs(base) do more[key] = value end
      return message_of(function() kafka.consumer(more) end)
    end
    assert.matches("which topics", refused {})
    assert.matches("a member of a group", refused { topics = { "a" }, group = "g", from = 5 })
    assert.matches("from: ", refused { topics = { "a" }, from = "yesterday" })
    assert.matches("option 'topics' must be a table", refused { topics = "a" })
  end)

  it("tells misspelt options at the caller's line, with the nearest name", function()
    local function refused(more)
      more["bootstrap.servers"] = "x:1"
      local text = message_of(function() kafka.consumer(more) end)
      assert.matches("kafka_spec%.lua:%d+: kafka%.consumer: ", text)
      return text
    end
    assert.matches("unknown option 'topic'; did you mean 'topics'?", refused { topic = { "a" } }, 1, true)
    assert.matches("did you mean 'group'?", refused { topics = { "a" }, grup = "g" }, 1, true)
    local meant = "assign: unknown option 'partitoin'; did you mean 'partition'?"
    assert.matches(meant, refused { assign = { topic = "a", partitoin = 0 } }, 1, true)
    assert.matches(meant, refused { assign = { { topic = "a", partitoin = 0 } } }, 1, true)
    assert.matches("did you mean 'topic'?", refused { assign = { topics = "a" } }, 1, true)
    assert.matches("assign: a table expected, got string", refused { assign = { "a" } })
  end)
end)
