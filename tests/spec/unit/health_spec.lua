local cjson = require "cjson"
local counters = require "dbobs.counters"
local health = require "dbobs.health"
local lfs = require "lfs"
local log = require "dbobs.log"
local process = require "support.process"
local servers = require "support.servers"
local supervisor = require "dbobs.supervisor"
local sys = require "dbobs.core.sys"
local target = require "dbobs.target"

local SECOND = 1e6

describe("health", function()
  local function job(name, part, every)
    return {
      collector = { name = name, [part or "collect"] = function() end },
      target = assert(target.new { name = "db1", host = "h1", port = 5433 }),
      options = { every = every or 30, to = {} },
    }
  end

  local function only(described) return described.targets[1].collectors[1] end

  it("is ok while a collector has succeeded within three periods, and failing from then on", function()
    local one = job("metrics", nil, 30)
    local status = supervisor.status(one, "collect")
    status.started = sys.wall() - 1000 * SECOND
    status.last_success = sys.wall() - 80 * SECOND
    local described = health.describe { one }
    assert.equal("ok", described.status)
    assert.equal("ok", only(described).state)
    assert.equal(80, math.floor(only(described).age_seconds))
    assert.equal(30, only(described).every_seconds)
    status.last_success, status.error = sys.wall() - 95 * SECOND, "no route"
    described = health.describe { one }
    assert.equal("failing", described.status)
    assert.equal("failing", only(described).state)
    assert.matches("^collector metrics of target db1: no success for 95 s: no route$", described.reasons[1])
  end)

  it("gives one that has just begun time, at least a minute", function()
    local one = job("metrics", nil, 1)
    supervisor.status(one, "collect").started = sys.wall() - 50 * SECOND
    assert.equal("starting", only(health.describe { one }).state)
    assert.equal("ok", health.describe({ one }).status)
    supervisor.status(one, "collect").started = sys.wall() - 61 * SECOND
    assert.equal("failing", health.describe({ one }).status)
  end)

  it("is failing while a follower is, and when it has stopped for good", function()
    local one = job("logs", "follow")
    local status = supervisor.status(one, "follow")
    assert.equal("ok", health.describe({ one }).status)
    status.error, status.error_time = "gone", sys.wall()
    assert.matches("collector logs of target db1: failed: gone", health.describe({ one }).reasons[1])
    status.last_success = sys.wall() + 1
    assert.equal("ok", health.describe({ one }).status)
    status.stopped = true
    assert.matches("stopped for good", health.describe({ one }).reasons[1])
    -- One that had nothing to follow is no part of it.
    status.stopped, status.over = nil, true
    assert.same({}, health.describe({ one }).targets[1].collectors)
  end)

  it("tells how far logs are behind, what is at risk, and what lasts", function()
    counters.set("logs", "db1", "bytes_behind", 1000)
    counters.set("logs", "db1", "bytes_at_risk", 70)
    log.condition("logs/at risk/db1", true, "warn", "nothing is taken", { target = "db1" })
    log.condition("kafka/99/failing", true, "error", "Kafka does not take records", { error = "no topic" })
    log.condition("collector/x", true, "warn", "a part failed", {})
    local described = health.describe { job("logs", "follow") }
    log.condition("logs/at risk/db1", false, "warn", "")
    log.condition("kafka/99/failing", false, "error", "")
    log.condition("collector/x", false, "warn", "")
    counters.forget "db1"
    assert.equal(1000, described.bytes_behind)
    assert.equal(70, only(described).bytes_at_risk)
    table.sort(described.reasons)
    assert.same({ "Kafka does not take records: no topic", "nothing is taken" }, described.reasons)
    local lasting = {}
    for _, known in ipairs(described.conditions) do lasting[known.message] = known.level end
    assert.equal("warn", lasting["a part failed"])
    assert.equal("error", lasting["Kafka does not take records"])
  end)

  it("is JSON of arrays and objects also when there is nothing", function()
    local text = health.encode(health.describe {})
    assert.matches('"targets":%[%]', text)
    assert.matches('"reasons":%[%]', text)
  end)
end)

describe("health over HTTP", function()
  -- Runs a pipeline whose collector fails when a file is there.
  local function start(environment, more)
    local dir = servers.directory()
    local file = process.write(dir .. "/pipeline.lua", ([[
      local dbobs = require "dbobs"
      local lfs = require "lfs"
      local kafka = dbobs.kafka { ["bootstrap.servers"] = dbobs.env("BROKERS", "embedded") }
      dbobs.health { address = dbobs.env "HEALTH_ADDRESS" }
      dbobs.collect({ name = "own", collect = function(run) run.sink:send("k", "v", nil, run.batch) return true end },
        { name = "here", host = "127.0.0.1" }, { every = "50ms", to = kafka:topic "own" })
      %s]]):format(more or ""))
    return process.start({ "run", file }, environment)
  end

  local function address_of(one)
    process.until_true(function() return one:stderr():find "health is served" end, "the health to be served")
    return (one:stderr():match "address=http://([%d.:]+)/")
  end

  local function ask(address, ...)
    local one = process.start { "health", "--address", address, ... }
    return one:wait(), one
  end

  local function stop(one)
    one:signal "TERM"
    return one:wait()
  end

  it("is told to a person, to a script, and as JSON", function()
    local one = start { HEALTH_ADDRESS = "127.0.0.1:0" }
    local address = address_of(one)
    process.until_true(function() return select(2, ask(address)):stdout():find "here +own +ok" end, "a success")
    local code, asked = ask(address, "--json")
    assert.equal(0, code)
    local answer = cjson.decode(asked:stdout())
    assert.equal("ok", answer.status)
    assert.equal("here", answer.targets[1].target)
    assert.matches("^%d+-%d+-%d+T", answer.targets[1].collectors[1].next_run)
    assert.equal("number", type(answer.kafka[1].records_on_their_way))
    assert.is_true(answer.kafka[1].reachable)
    assert.equal("own", answer.queues[1].topic)
    assert.equal(0, answer.queues[1].failed)
    assert.equal("number", type(answer.queues[1].queued_bytes))
    assert.equal(0, stop(one), one:stderr())
  end)

  it("is 503, and exit code 1, with the reason while no broker can be reached", function()
    local one = start { HEALTH_ADDRESS = "127.0.0.1:0", BROKERS = "127.0.0.1:1" }
    local address = address_of(one)
    local code, asked
    process.until_true(function()
      code, asked = ask(address)
      return code == 1
    end, "the broker to be missed")
    assert.matches("^failing\n  no Kafka broker can be reached", asked:stdout())
    code, asked = ask(address, "--json")
    assert.equal(1, code)
    assert.is_false(cjson.decode(asked:stdout()).kafka[1].reachable)
    one:signal "KILL"
    one:wait()
  end)

  it("is failing while a follower is, and well when that is", function()
    local on = servers.directory() .. "/on"
    local one = start({ HEALTH_ADDRESS = "127.0.0.1:0" }, ([[
      dbobs.collect({ name = "stream", follow = function()
        if not lfs.attributes %q then return nil, "nobody is there" end
        dbobs.sleep "1h"
      end }, { name = "there", host = "127.0.0.1" }, { to = kafka:topic "own" })]]):format(on))
    local address = address_of(one)
    local asked
    local function becomes(expected)
      process.until_true(function()
        local code
        code, asked = ask(address)
        return code == expected
      end, "exit code " .. expected)
    end
    becomes(1)
    assert.matches("^failing\n  collector stream of target there: failed: nobody is there\n", asked:stdout())
    process.write(on, "")
    becomes(0)
    assert.equal(0, stop(one), one:stderr())
  end)

  it("says that nothing answers", function()
    local code, asked = ask "127.0.0.1:1"
    assert.equal(1, code)
    assert.matches("no dbobs answers there", asked:stderr())
    code, asked = ask "nonsense"
    assert.equal(2, code)
    assert.matches("'nonsense' is no address", asked:stderr())
  end)

  it("does not start a pipeline beside another one on the same port, and names that", function()
    local one = start { HEALTH_ADDRESS = "127.0.0.1:0" }
    local second = start { HEALTH_ADDRESS = address_of(one) }
    assert.equal(1, second:wait())
    assert.matches("dbobs.health: http.serve: cannot listen on 127.0.0.1:%d+: .*in use %(.*process " .. one.pid
      .. " has it%)", second:stderr())
    assert.equal(0, stop(one))
  end)

  it("goes on when the pipeline is loaded again", function()
    local one = start { HEALTH_ADDRESS = "127.0.0.1:0" }
    local before = address_of(one)
    one:signal "HUP"
    process.until_true(function() return select(2, one:stderr():gsub("health is served", "")) == 2 end, "the reload")
    local address
    for found in one:stderr():gmatch "address=http://([%d.:]+)/" do address = found end
    assert.not_equal(before, address)
    assert.equal(0, (ask(address)))
    assert.equal(1, (ask(before)))
    assert.equal(0, stop(one))
  end)

  it("tells systemd that it is ready, lives and stops; nothing when it is loaded again, or its loop hangs", function()
    local directory = servers.directory()
    local socket = directory .. "/notify"
    local listener = process.start({ "-c", [[
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    text = s.recv(4096).decode()
    print(text, flush=True)
    if text == "STOPPING=1": break
]], socket }, {}, { command = "python3" })
    process.until_true(function() return lfs.attributes(socket) end, "the listener")
    local one = start({ NOTIFY_SOCKET = socket, WATCHDOG_USEC = "100000", HEALTH_ADDRESS = "off" },
      ([[dbobs.spawn(function()
        while not lfs.attributes %q do dbobs.sleep "10ms" end
        local file = io.open(%q, "w")
        file:close()
        while not lfs.attributes %q do end
      end)]]):format(directory .. "/hang", directory .. "/hangs", directory .. "/on"))
    local function lives() return select(2, listener:stdout():gsub("WATCHDOG=1", "")) end
    process.until_true(function() return lives() > 5 end, "signs of life")
    assert.matches("^READY=1\n", listener:stdout())
    one:signal "HUP"
    process.until_true(function() return select(2, one:stderr():gsub("running", "")) == 2 end, "the reload")
    process.until_true(function() return select(2, listener:stdout():gsub("READY=1", "")) == 2 end, "it to be ready")
    assert.is_nil(listener:stdout():find "STOPPING")
    process.write(directory .. "/hang", "")
    process.until_true(function() return lfs.attributes(directory .. "/hangs") end, "the loop to hang")
    local before = lives()
    require("dbobs.timer").sleep "1s"
    assert.equal(before, lives())
    process.write(directory .. "/on", "")
    process.until_true(function() return lives() > before end, "signs of life again")
    assert.equal(0, stop(one), one:stderr())
    assert.equal(0, listener:wait())
    assert.matches("STOPPING=1\n$", listener:stdout())
  end)
end)

describe("the systemd unit", function()
  it("is right for systemd, and leaves little to the service", function()
    local directory = servers.directory()
    local unit = process.read "pipelines/dbobs@.service":gsub("/usr/local/bin/dbobs", process.dbobs)
    process.write(directory .. "/dbobs@.service", unit)
    local text, ok = servers.shell(("systemd-analyze verify %s/dbobs@pg.service 2>&1"):format(directory))
    assert.is_true(ok, text)
    assert.equal("", text)
    text = servers.shell(("systemd-analyze security --offline=true --threshold=25 %s/dbobs@pg.service 2>&1 | tail -1")
      :format(directory))
    assert.matches("exposure level for dbobs@pg.service: [01]%.%d OK", text)
  end)
end)
