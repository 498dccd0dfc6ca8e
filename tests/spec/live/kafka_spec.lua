-- Kafka on a real broker: what the embedded one cannot show.
local kafka = require "dbobs.kafka"
local process = require "support.process"
local servers = require "support.servers"
local sink = require "dbobs.sink"
local support = require "support.kafka"
local task = require "dbobs.task"

local function escape(text)
  return (text:gsub("%p", "%%%0"))
end

describe("a real broker", function()
  local broker = servers.kafka()
  local producer

  local function open(more)
    local properties = { ["bootstrap.servers"] = broker.bootstrap, ["linger.ms"] = 5 }
    for name, value in pairs(more or {}) do properties[name] = value end
    producer = kafka.producer(properties)
    return producer
  end

  after_each(function() producer:close() end)

  it("creates, lists and describes topics with their configuration", function()
    open()
    local name = support.name()
    assert.is_true(producer:create_topic(name,
      { partitions = 3, replication = 1, config = { ["retention.ms"] = 604800000 } }))
    local ok, cause, code = producer:create_topic(name)
    assert.same({ nil, "TOPIC_ALREADY_EXISTS" }, { ok, code })
    assert.matches("exists", cause)
    local found
    for _, topic in ipairs(assert(producer:topics())) do
      if topic.name == name then found = topic end
    end
    assert.same({ name = name, partitions = 3, replication = 1 }, found)
    local config = assert(producer:describe(name))
    assert.equal("604800000", config["retention.ms"])
    assert.equal("1048588", config["max.message.bytes"])
    local missing, why = producer:describe "nowhere"
    assert.is_nil(missing)
    assert.matches("topic 'nowhere' does not exist; create it: dbobs topics create nowhere", why)
    ok, cause = producer:create_topic(support.name(), { config = { ["retention.msec"] = 1 } })
    assert.is_nil(ok)
    assert.matches("retention.msec", cause)
    ok, cause = producer:create_topic(support.name(), { replication = 3 })
    assert.is_nil(ok)
    assert.matches("[Rr]eplication factor", cause)
  end)

  it("sees to it that a topic exists before records go there", function()
    open()
    local name = support.name()
    producer:ensure_topic(name, { partitions = 2, config = { ["retention.ms"] = 1000000 } })
    local batch = sink.batch()
    assert(producer:topic(name):send("k", "v", nil, batch))
    assert.is_true(sink.wait(batch))
    assert.equal("1000000", assert(producer:describe(name))["retention.ms"])
    producer:ensure_topic(name, { config = { ["retention.ms"] = 5 } })
    assert(producer:topic(name):send("k", "v"))
    assert.is_true(producer:flush())
    assert.equal("1000000", assert(producer:describe(name))["retention.ms"])
  end)

  it("has each topic's own limit: a record too large is refused with the sizes, a batch never is", function()
    open { ["linger.ms"] = 200 }
    local small, large = support.name "small", support.name "large"
    assert(producer:create_topic(small, { config = { ["max.message.bytes"] = 10000 } }))
    assert(producer:create_topic(large, { config = { ["max.message.bytes"] = 5000000 } }))
    local batch = sink.batch()
    local little, big = producer:topic(small), producer:topic(large)
    -- Many more than fit one batch of this topic.
    for i = 1, 1000 do assert(little:send("k", ("%04d"):format(i) .. ("x"):rep(900), nil, batch)) end
    assert(big:send("k", ("x"):rep(4900000), nil, batch))
    assert.is_true(sink.wait(batch))
    assert.is_true(little:status().limit < 10000)
    assert.is_true(little:status().limit > 9000)
    assert.is_true(big:status().limit > 4900000)
    local ok, cause = little:send("k", ("x"):rep(20000), nil, batch)
    assert.is_nil(ok)
    assert.matches("a record of 20001 bytes is more than topic '" .. escape(small) .. "' takes %(%d+%)", cause)
    assert.equal(1000, #support.read(broker.bootstrap, small))
    -- What fits the limit to the last byte is taken.
    local fitting = sink.batch()
    assert(little:send(nil, ("x"):rep(little:status().limit), nil, fitting))
    assert.is_true(sink.wait(fitting))
  end)

  it("tells a limit that was lowered later, and keeps to it from then on", function()
    open()
    local name = support.name()
    assert(producer:create_topic(name))
    local topic = producer:topic(name)
    assert(topic:send("k", "v"))
    assert.is_true(producer:flush())
    broker:script("tools", "kafka.admin.ConfigCommand", "--entity-type", "topics", "--entity-name", name, "--alter",
      "--add-config", "max.message.bytes=2000")
    local batch = sink.batch()
    assert(topic:send("k", ("x"):rep(900000), nil, batch))
    local ok, cause = sink.wait(batch)
    assert.is_nil(ok)
    assert.matches("a record of 900001 bytes is more than topic '" .. escape(name) .. "' takes", cause)
    support.until_true("the new limit", function() return topic:status().limit < 2000 end)
  end)

  it("is read from a time, an offset and the end", function()
    open()
    local name = support.name()
    assert(producer:create_topic(name))
    for i = 1, 3 do assert(producer:topic(name):send(nil, tostring(i))) end
    assert(producer:flush())
    assert.same({ "1", "2", "3" }, support.values(support.read(broker.bootstrap, name, { from = "1h" })))
    assert.same({}, support.values(support.read(broker.bootstrap, name, { from = "2100-01-01" })))
    assert.same({ "3" }, support.values(support.read(broker.bootstrap, name, { from = -1 })))
    assert.same({ "2", "3" }, support.values(support.read(broker.bootstrap, name, { from = 1 })))
    local first = support.read(broker.bootstrap, name)[2]
    assert.is_true(#support.read(broker.bootstrap, name, { from = first.timestamp and
      os.date("!%Y-%m-%dT%H:%M:%SZ", first.timestamp / 1e6) }) >= 2)
  end)

  it("lets a group go on where it was", function()
    open()
    local name = support.name()
    assert(producer:create_topic(name))
    for i = 1, 6 do assert(producer:topic(name):send(nil, tostring(i))) end
    assert(producer:flush())
    local function take(count)
      local consumer = kafka.consumer { ["bootstrap.servers"] = broker.bootstrap, topics = { name },
        group = "g-" .. name }
      local values = {}
      for i = 1, count do values[i] = assert(consumer:poll()).value end
      consumer:commit()
      consumer:close()
      return values
    end
    assert.same({ "1", "2", "3" }, take(3))
    -- The commit and the end of the first member go on in the background.
    local left = {}
    support.until_true("the rest", function()
      left = take(1)
      return left[1] ~= "1"
    end)
    assert.equal("4", left[1])
  end)
end)

describe("a broker that comes and goes", function()
  local broker = servers.kafka { name = "unsteady" }

  it("may be away at the start", function()
    broker:kill()
    support.with_log(function(logged)
      local producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap }
      local name, batch = support.name(), sink.batch()
      local sender = task.spawn(function() assert(producer:topic(name):send("k", "v", nil, batch)) end)
      assert.matches("refused", logged "warn no Kafka broker can be reached")
      broker:start()
      logged "info over: no Kafka broker can be reached"
      assert.is_true(task.join(sender))
      assert.is_true(sink.wait(batch))
      producer:close()
    end)
  end)

  it("may be killed while records come: none is lost, none doubled, and their order stays", function()
    local producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap, ["linger.ms"] = 5 }
    local name, batch = support.name(), sink.batch()
    assert(producer:create_topic(name))
    local topic = producer:topic(name)
    local sender = task.spawn(function()
      for i = 1, 20000 do
        assert(topic:send("k", ("%05d"):format(i), nil, batch))
        if i % 100 == 0 then task.wait(nil, 0.001) end
      end
    end)
    support.until_true("some deliveries", function() return topic:status().delivered > 1000 end)
    broker:kill()
    broker:start()
    assert.is_true(task.join(sender))
    assert.is_true(sink.wait(batch))
    local messages = support.read(broker.bootstrap, name)
    assert.equal(20000, #messages)
    for i, message in ipairs(messages) do assert.equal(("%05d"):format(i), message.value) end
    producer:close()
  end)

  it("may hang: senders wait, snapshots let the oldest go, and all of it ends when it answers again", function()
    local producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap, ["queue.buffering.max.messages"] = 50,
      ["linger.ms"] = 5 }
    local first, second = support.name "waiting", support.name "dropping"
    assert(producer:create_topic(first))
    assert(producer:create_topic(second))
    local waiting = producer:topic(first)
    local dropping = producer:topic(second, { when_full = "drop_oldest", max_bytes = 100000 })
    local batch, lost = sink.batch(), sink.batch()
    assert(waiting:send("k", "000", nil, batch))
    assert(dropping:send("k", "first", nil, lost))
    assert.is_true(producer:flush())
    broker:pause()
    local sender = task.spawn(function()
      for i = 1, 300 do assert(waiting:send("k", ("%03d"):format(i), nil, batch)) end
    end)
    task.wait(nil, 0)
    for i = 1, 1000 do assert.is_true(dropping:send("k", ("x"):rep(1000), nil, i == 100 and lost or nil)) end
    assert.is_true(dropping:status().queued_bytes <= 100000)
    assert.is_true(dropping:status().dropped > 800)
    assert.equal("running", task.status(sender))
    broker:resume()
    assert.is_true(task.join(sender))
    assert.is_true(sink.wait(batch))
    local ok = sink.wait(lost)
    assert.is_nil(ok)
    assert.is_true(producer:flush())
    assert.equal(301, #support.read(broker.bootstrap, first))
    assert.equal(1001 - dropping:status().dropped, #support.read(broker.bootstrap, second))
    producer:close()
  end)

  it("does not hold up the end of a program", function()
    broker:kill()
    local script = process.write(servers.directory() .. "/s.lua", ([[
      local dbobs = require "dbobs"
      local kafka = dbobs.kafka { ["bootstrap.servers"] = "%s" }
      kafka:ensure_topic "x"
      kafka:topic("x", { when_full = "drop_oldest" }):send("k", "v")
      local ok, cause = kafka:flush "100ms"
      io.stdout:write(tostring(ok), " ", cause, "\n")
      kafka:close()]]):format(broker.bootstrap))
    local code, stdout, stderr = process.run { "run", script }
    assert.equal(0, code, stderr)
    assert.matches("nil kafka.flush: 1 records are not delivered", stdout)
    broker:start()
  end)
end)

describe("a cluster that does not allow everything", function()
  local broker = servers.kafka { name = "strict", "--set",
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "--set",
    "allow.everyone.if.no.acl.found=true", "--set", "auto.create.topics.enable=false", "--set",
    "super.users=User:admin" }
  local producer

  before_each(function()
    producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap, ["topic.metadata.propagation.max.ms"] = 500 }
  end)
  after_each(function() producer:close() end)

  it("fails records for a topic that is not there, with what to do, and takes them once it is", function()
    local name, batch = support.name(), sink.batch()
    local topic = producer:topic(name)
    assert(topic:send("k", "v", nil, batch))
    local ok, cause = sink.wait(batch)
    assert.is_nil(ok)
    assert.matches("topic '" .. escape(name) .. "' does not exist; create it: dbobs topics create", cause)
    assert(producer:create_topic(name))
    local again = sink.batch()
    support.until_true("the topic to be taken", function() return topic:send("k", "v", nil, again) end)
    assert.is_true(sink.wait(again))
  end)

  it("tells a topic that may not be created with the ACL that is missing", function()
    broker:script "deny-create"
    support.with_log(function(logged)
      local name = support.name()
      local ok, cause, code = producer:create_topic(name)
      assert.is_nil(ok)
      assert.equal("TOPIC_AUTHORIZATION_FAILED", code)
      assert.matches("give the Kafka user the ACL Create on topic '" .. escape(name) .. "'", cause)
      producer:ensure_topic(name)
      logged("error the topic does not exist and cannot be created.*ACL Create on topic '" .. escape(name))
      local exit, _, stderr = process.run { "topics", "create", name, "--brokers", broker.bootstrap }
      assert.equal(1, exit)
      assert.matches("ACL Create on topic", stderr)
    end)
    broker:script "allow-create"
  end)

  it("finds a limit that it may not ask for by what is refused", function()
    support.with_log(function(logged)
      local name = support.name()
      assert(producer:create_topic(name, { config = { ["max.message.bytes"] = 300000 } }))
      broker:script("tools", "AclCommand", "--add", "--force", "--allow-principal", "User:*", "--operation", "All",
        "--topic", name)
      broker:script("tools", "AclCommand", "--add", "--force", "--deny-principal", "User:*", "--operation",
        "DescribeConfigs", "--topic", name)
      local topic = producer:topic(name)
      support.until_true("a batch that is taken", function()
        local batch = sink.batch()
        for _ = 1, 1000 do assert(topic:send("k", ("x"):rep(900), nil, batch)) end
        return (sink.wait(batch))
      end)
      logged "the Kafka user needs the ACL DescribeConfigs"
      logged "refused a batch as too large"
      assert.is_true(topic:status().limit < 300000)
    end)
  end)

  it("tells a topic that may not be written to or read, with the ACL that is missing", function()
    local name = support.name()
    assert(producer:create_topic(name))
    broker:script("tools", "AclCommand", "--add", "--force", "--deny-principal", "User:*", "--operation", "Write",
      "--operation", "Read", "--topic", name)
    local topic, batch = producer:topic(name), sink.batch()
    local refusal
    support.until_true("a refusal", function()
      local ok, cause = topic:send("k", "v", nil, batch)
      if ok then ok, cause = sink.wait(batch) end
      refusal = not ok and cause
      return refusal
    end)
    assert.matches("give the Kafka user the ACL Write on topic '" .. escape(name), refusal)
    local consumer = kafka.consumer { ["bootstrap.servers"] = broker.bootstrap, topics = { name } }
    local message, cause = consumer:poll()
    assert.is_nil(message)
    assert.matches("give the Kafka user the ACL Read and Describe on topic '" .. escape(name), cause)
    consumer:close()
  end)
end)

describe("the commands about Kafka", function()
  local broker = servers.kafka()

  local function run(words, ...)
    words[#words + 1] = "--brokers"
    words[#words + 1] = broker.bootstrap
    return process.run(words, ...)
  end

  it("create, list and describe topics", function()
    local name = support.name()
    local code, stdout = run { "topics", "create", name, "--partitions", "2", "--retention", "7d" }
    assert.equal(0, code)
    assert.equal(("created  %s\n"):format(name), stdout)
    code, stdout = run { "topics", "create", name }
    assert.equal(0, code)
    assert.equal(("exists   %s\n"):format(name), stdout)
    code, stdout = run { "topics" }
    assert.equal(0, code)
    assert.matches(escape(name) .. " +2 +1\n", stdout)
    code, stdout = run { "topics", "describe", name, "--json" }
    assert.equal(0, code)
    assert.equal("604800000", require "cjson".decode(stdout).config["retention.ms"])
    local wrong, _, stderr = run { "topics", "lsit" }
    assert.equal(2, wrong)
    assert.matches("did you mean 'list'", stderr)
  end)

  it("print the records of several topics, as text and as JSON, and count them", function()
    local first, second = support.name "first", support.name "second"
    local producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap }
    assert(producer:create_topic(first))
    assert(producer:create_topic(second))
    for i = 1, 3 do assert(producer:topic(first):send("h:db", ('{"n":%d}'):format(i))) end
    assert(producer:topic(second):send("h:db", "plain \255"))
    assert(producer:flush())
    producer:close()
    local code, stdout, stderr = run { "consume", first, second, "--json", "--summary" }
    assert.equal(0, code, stderr)
    local found = {}
    for line in stdout:gmatch "[^\n]+" do
      local record = require "cjson".decode(line)
      found[#found + 1] = ("%s %s %s"):format(record.topic, record.key, record.value.n or record.value)
      local types = { type(record.partition), type(record.offset), type(record.timestamp) }
      assert.same({ "number", "number", "string" }, types)
    end
    table.sort(found)
    assert.same({ first .. " h:db 1", first .. " h:db 2", first .. " h:db 3", second .. " h:db plain \239\191\189" },
      found)
    assert.matches(escape(first) .. " +3\n", stderr)
    assert.matches("4 records, 0 errors", stderr)
    code, stdout = run { "consume", first, "--from", "-1" }
    assert.equal(0, code)
    assert.matches(escape(first) .. " +h:db .*3", stdout)
    code, stdout = run { "consume", first, "--count", "2" }
    assert.equal(0, code)
    assert.equal(2, select(2, stdout:gsub("\n", "")))
  end)

  it("follow topics, also those that do not exist yet, until they are stopped", function()
    local name = support.name "later"
    local one = process.start { "consume", name, "--follow", "--summary", "--brokers", broker.bootstrap }
    local producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap }
    assert(producer:create_topic(name))
    assert(producer:topic(name):send("k", "the first"))
    assert(producer:flush())
    one:says("the first", "out")
    assert(producer:topic(name):send("k", "the second"))
    one:says("the second", "out")
    producer:close()
    one:signal "INT"
    assert.equal(0, one:wait())
    assert.matches("2 records, 0 errors", one:stdout())
  end)

  it("end with 1 and what to do when a topic or a broker is not there, with 2 when they are misused", function()
    local code, _, stderr = run { "consume", "nowhere" }
    assert.equal(1, code)
    assert.matches("topic 'nowhere' does not exist", stderr)
    code, _, stderr = process.run { "topics", "--brokers", "127.0.0.1:1" }
    assert.equal(1, code)
    assert.matches("no broker can be reached: 127.0.0.1:1/bootstrap: .*refused", stderr)
    for _, words in ipairs { { "list" }, { "describe", "t" }, { "create", "t" } } do
      words = { "topics", unpack(words) }
      for _, word in ipairs { "--timeout", "500ms", "--brokers", "127.0.0.1:1" } do words[#words + 1] = word end
      code, _, stderr = process.run(words)
      assert.equal(1, code)
      assert.matches("no broker can be reached", stderr)
    end
    code, _, stderr = run { "topics", "--timeout", "soon" }
    assert.equal(2, code)
    assert.matches("option %-%-timeout", stderr)
    code, _, stderr = run { "consume", "x", "--from", "yesterday" }
    assert.equal(2, code)
    assert.matches("option %-%-from", stderr)
    local config = process.write(servers.directory() .. "/client.properties",
      "# secret\nsasl.password=hunter2\nlinger.msec=5\n")
    code, _, stderr = run { "consume", "x", "--config", config }
    assert.equal(1, code)
    assert.matches("did you mean 'linger.ms'", stderr)
    assert.is_nil(stderr:find("hunter2", 1, true))
  end)

  it("end quietly when nobody reads their output any more", function()
    local name = support.name "long"
    local producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap }
    assert(producer:create_topic(name))
    for _ = 1, 2000 do assert(producer:topic(name):send("k", ("x"):rep(500))) end
    assert(producer:flush())
    producer:close()
    local output, ok = servers.shell(("%s consume %s --brokers %s 2>&1 | head -1 | wc -l"):format(
      servers.quote(process.dbobs), name, broker.bootstrap))
    assert.is_true(ok)
    assert.equal("1", (output:gsub("%s", "")))
  end)

  it("run the embedded broker for other processes until they are told to stop", function()
    local file = servers.directory() .. "/address"
    local one = process.start { "broker", "--address-file", file, "--topics", "a,b" }
    local address = process.until_true(function() return process.read(file) end, "the address"):match "%S+"
    assert.matches("^127%.0%.0%.1:%d+$", address)
    one:says(escape(address), "out")
    local producer = kafka.producer { ["bootstrap.servers"] = address }
    local topics = assert(producer:topics())
    assert.same({ { name = "a", partitions = 1, replication = 1 }, { name = "b", partitions = 1, replication = 1 } },
      topics)
    local ok, _, code = producer:create_topic "a"
    assert.same({ nil, "TOPIC_ALREADY_EXISTS" }, { ok, code })
    assert.is_true(producer:create_topic "c")
    producer:close()
    one:signal "TERM"
    assert.equal(0, one:wait())
    assert.is_nil(process.read(file))
  end)
end)
