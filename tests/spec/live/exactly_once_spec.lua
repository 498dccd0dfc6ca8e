-- Records and positions in one transaction of a real Kafka: lua/dbobs/kafka_exactly_once.lua, kafka_positions.lua,
-- tail_exactly_once.lua and src/kafka_transaction.c. The oracle counts numbered lines as read_committed sees them.
-- What becomes of the lines when dbobs is killed is shown by tests/chaos.
local collector = require "support.collector"
local dbobs_sink = require "dbobs.sink"
local kafka = require "dbobs.kafka"
local logs = require "collectors.logs"
local numbered = require "support.numbered"
local process = require "support.process"
local servers = require "support.servers"
local support = require "support.kafka"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

-- Transactions that take too long are looked for more often than the ten seconds of the default.
local function start_broker(name)
  return servers.kafka { name = name or "transactions",
    "--set", "transaction.abort.timed.out.transaction.cleanup.interval.ms=200" }
end

describe("a topic with transactions", function()
  local broker, producer, topic

  setup(function()
    broker = start_broker()
    producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap }
  end)
  teardown(function() producer:close() end)
  before_each(function()
    topic = support.name "transactions"
    assert(producer:create_topic(topic, { partitions = 1 }))
  end)

  local function committed()
    return support.values(support.read(broker.bootstrap, topic, { ["isolation.level"] = "read_committed" }))
  end

  it("holds records and position of what was committed, and nothing of the rest", function()
    local out = producer:exactly_once(topic, { id = topic })
    assert.equal("", out:open(topic))
    local first, second = dbobs_sink.batch(), dbobs_sink.batch()
    assert(out:send("k", "one", first))
    assert.same({ 1, 1, 0 }, { dbobs_sink.status(first) })
    assert.is_true(out:commit "after one")
    assert.same({ 1, 0, 0 }, { dbobs_sink.status(first) })
    assert(out:send("k", "two", second))
    assert.is_false((out:abort "changed my mind"))
    local _, _, failed, cause = dbobs_sink.status(second)
    assert.equal(1, failed)
    assert.matches("aborted: ", cause, 1, true)
    assert(out:send("k", "three"))
    assert.is_true(out:commit "after three")
    assert(out:send("k", "four"))
    -- Another may ask meanwhile, and disturbs nobody.
    local other = producer:exactly_once(topic, { id = topic })
    assert.equal("after three", other:peek(topic))
    assert.equal("", other:peek "nobody's")
    other:close()
    assert(out:commit "after four")
    out:close()
    assert.equal("after four", out:open(topic))
    out:close()
    assert.same({ "four", "one", "three" }, committed())
  end)

  it("is taken over by the next instance with its id, and the older stops for good", function()
    local one = producer:exactly_once(topic, { id = topic })
    assert(one:open(topic))
    assert(one:send("k", "one"))
    assert(one:commit "1")
    assert(one:send("k", "never"))
    -- As if it were in another process.
    local script = process.write(servers.directory() .. "/other.lua", ([[
      local kafka = require("dbobs").kafka { ["bootstrap.servers"] = %q }
      local out = kafka:exactly_once(%q, { id = %q })
      assert(out:open(%q) == "1")
      assert(out:send("k", "two"))
      assert(out:commit "2")]]):format(broker.bootstrap, topic, topic, topic))
    local code, _, said = process.run { "run", script }
    assert.equal(0, code, said)
    local ok, cause, final = one:commit "wrong"
    assert.same({ nil, true }, { ok, final })
    assert.matches("another producer (", cause, 1, true)
    assert.matches("stops for good", cause, 1, true)
    ok, cause, final = producer:exactly_once(topic, { id = topic }):open(topic)
    assert.same({ nil, true }, { ok, final })
    assert.matches("stops for good", cause, 1, true)
    assert.same({ "one", "two" }, committed())
  end)

  it("goes on when the broker gave the transaction up because it took too long", function()
    local quick = kafka.producer { ["bootstrap.servers"] = broker.bootstrap, ["transaction.timeout.ms"] = 4000 }
    local out = quick:exactly_once(topic, { id = topic })
    assert(out:open(topic))
    assert(out:commit "claim")
    local batch = dbobs_sink.batch()
    assert(out:send("k", "late", batch))
    timer.sleep "5s"
    assert.is_false((out:commit "too late"))
    assert.same({ 1, 0, 1 }, { unpack({ dbobs_sink.status(batch) }, 1, 3) })
    assert(out:send("k", "again"))
    assert.is_true(out:commit "in time")
    out:close()
    assert.equal("in time", out:open(topic))
    quick:close()
    assert.same({ "again" }, committed())
  end)

  it("goes on when that happens to its first transaction, after one of an instance before it", function()
    local quick = kafka.producer { ["bootstrap.servers"] = broker.bootstrap, ["transaction.timeout.ms"] = 4000 }
    local before = quick:exactly_once(topic, { id = topic })
    assert(before:open(topic))
    assert(before:commit "before")
    before:close()
    local out = quick:exactly_once(topic, { id = topic })
    assert.equal("before", out:open(topic))
    assert(out:send("k", "late"))
    timer.sleep "5s"
    assert.is_false((out:commit "too late"))
    assert(out:send("k", "again"))
    assert.is_true(out:commit "in time")
    out:close()
    quick:close()
    assert.same({ "again" }, committed())
  end)

  it("finds its position although others commit theirs all the time", function()
    local mine, others = producer:exactly_once(topic, { id = topic }), {}
    assert(mine:open(topic))
    assert(mine:commit "mine")
    mine:close()
    local function note(other) assert(other.core:note("dbobs-positions", 0, other.key, "open", {})) end
    for i = 1, 2 do
      others[i] = producer:exactly_once(topic, { id = topic .. i })
      assert(others[i]:open(topic .. i))
    end
    note(others[1])
    local found
    local reader = task.spawn(function() found = mine:peek(topic) end)
    for i = 1, 30 do -- one of the two is always open
      note(others[i % 2 + 1])
      timer.sleep "100ms"
      assert.is_true(others[(i + 1) % 2 + 1]:commit "other")
      if found then break end
    end
    assert.equal("mine", found)
    task.join(reader)
    for i = 1, 2 do others[i]:close() end
  end)

  it("waits for its position behind another's open transaction", function()
    local other = producer:exactly_once(topic, { id = topic .. "-o" })
    local mine = producer:exactly_once(topic, { id = topic })
    assert(other:open(topic .. "-o"))
    assert(mine:open(topic))
    assert(other.core:note("dbobs-positions", 0, topic .. "-o", "open", {}))
    timer.sleep "500ms" -- until it is in the topic
    assert(mine:send("k", "mine"))
    assert(mine:commit "mine")
    mine:close()
    local found
    local reader = task.spawn(function() found = mine:open(topic) end)
    timer.sleep "700ms" -- it would have it by then
    assert.is_nil(found)
    assert.is_true(other:commit "other")
    task.join(reader)
    assert.equal("mine", found)
    mine:close()
    other:close()
  end)

  it("keeps positions in a compacted topic", function()
    local name = support.name "positions"
    local out = producer:exactly_once(topic, { id = topic, positions = name })
    assert.equal("", out:open "a key")
    assert(out:commit "1")
    out:close()
    assert.equal("compact", producer:describe(name)["cleanup.policy"])
    out = producer:exactly_once(topic, { id = topic, positions = name .. "-not", create = false })
    local ok, cause = out:open "a key"
    assert.is_nil(ok)
    assert.matches("does not exist; create it with one partition and cleanup.policy=compact", cause, 1, true)
  end)

  it("is told what it needs", function()
    assert.has_error(function() producer:exactly_once(topic, {}) end)
    assert.has_error(function() producer:exactly_once(topic, { id = "a", idd = "b" }) end)
  end)
end)

describe("a log that is sent exactly once", function()
  local broker, producer, topic, log, running

  before_each(function()
    broker = start_broker()
    producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap }
    topic, log, running = support.name "once", numbered.new(), {}
    assert(producer:create_topic(topic, { partitions = 1 }))
  end)
  after_each(function()
    producer:close()
    for _, one in ipairs(running) do one:signal "KILL" end
  end)

  local function follow(more)
    local given = { bootstrap = broker.bootstrap, topic = topic, id = topic }
    for name, value in pairs(more or {}) do given[name] = value end
    running[#running + 1] = log:follow(given)
    return running[#running]
  end

  local function finish(one)
    log:wait_complete(broker.bootstrap, topic)
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
    log:wait_complete(broker.bootstrap, topic)
  end

  it("is there once when the broker is killed and comes back", function()
    local one = follow()
    log:write(5000)
    one:says "following"
    timer.sleep(math.random() * 0.2)
    broker:kill()
    log:write(3000)
    log:rotate()
    broker:start()
    log:write(1000)
    finish(one)
  end)

  it("is there once when the broker is away for longer than a transaction may take", function()
    local one = follow { properties = '["transaction.timeout.ms"] = 1000' }
    log:write(1000)
    log:wait_complete(broker.bootstrap, topic)
    log:write(5000)
    broker:pause()
    log:write(5000)
    timer.sleep "2s"
    broker:resume()
    finish(one)
  end)

  it("is there once when a transaction cannot be committed", function()
    local one = follow()
    log:write(1000)
    log:wait_complete(broker.bootstrap, topic)
    broker:script("tools", "kafka.admin.ConfigCommand", "--bootstrap-server", broker.bootstrap, "--alter",
      "--entity-type", "topics", "--entity-name", topic, "--add-config", "max.message.bytes=20000")
    log:write(5000)
    one:says "too large"
    finish(one)
  end)

  it("is there once when a second dbobs follows it: the older stops for good", function()
    local one = follow()
    log:write(2000)
    one:says "following"
    log:wait_complete(broker.bootstrap, topic)
    local two = follow()
    two:says "following"
    log:write(5000)
    assert.equal(1, one:wait(), one:stderr())
    assert.matches("another producer %([^)]+%) has taken over the transactional.id", one:stderr())
    assert.matches("stops for good", one:stderr(), 1, true)
    log:write(1000)
    finish(two)
  end)

  it("is what the collector does with delivery = exactly_once, beginning behind its checkpoint file", function()
    local target = { host = "127.0.0.1", port = 1, name = topic, log_file = log.path, log_timezone = "UTC" }
    local function follow_while(fn)
      local current = collector.run(logs, target, { delivery = "exactly_once" })
      function current:checkpoint() return log.directory .. "/position.json" end -- luacheck: ignore 212
      current.sink = producer:topic(topic)
      local follower = task.spawn(logs.follow, current)
      fn()
      task.cancel(follower)
      task.join(follower)
      assert(producer:flush "60s")
    end
    log:write(1000)
    local before = collector.run(logs, target)
    function before:checkpoint() return log.directory .. "/position.json" end -- luacheck: ignore 212
    local follower = task.spawn(logs.follow, before)
    local sent = 0
    support.until_true("the first lines", function()
      sent = sent + #collector.records(before.out)
      return sent >= 1000
    end)
    task.cancel(follower)
    task.join(follower)
    log.written = 0 -- the topic has none of those
    log:write(500)
    follow_while(function() log:wait_complete(broker.bootstrap, topic) end)
    follow_while(function()
      log:write(500)
      log:wait_complete(broker.bootstrap, topic)
    end)
  end)

  it("is committed as far as it was sent when dbobs is told to end", function()
    local one = follow { every = "1h" }
    log:write(500)
    one:says "sent  lines=500"
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
    log:wait_complete(broker.bootstrap, topic)
  end)
end)
