local cjson = require "cjson"
local process = require "support.process"
local servers = require "support.servers"

describe("what a load test can be told, live", function()
  local pg, dir

  setup(function()
    pg = servers.postgres { name = "load_features", "--bare", "--set", "max_connections=60" }
    dir = servers.directory()
    for _, name in ipairs { "one", "two" } do pg:psql("create database " .. name) end
  end)

  -- A workload of one event that notes what it does in a table; `more` are further fields.
  local function file(more, body)
    return process.write(dir .. "/w.lua", ([[
      local dbobs = require "dbobs"
      local function database(name, weight)
        return { host = %q, port = %q, user = %q, password = %q, dbname = name, weight = weight }
      end
      return dbobs.load.workload {
        name = "test", %s
        events = { { name = "note", run = function(db, random, options) %s end } },
      }]]):format(pg.host, pg.port, pg.user, pg.password,
      "targets = { database 'postgres' }," .. (more or ""), body or "db:execute 'select 1'"))
  end

  local function run(path, ...)
    local code, stdout, stderr = process.run({ "run", path, "json=" .. dir .. "/f.json", ... })
    assert.equal(0, code, stdout .. stderr)
    return cjson.decode(process.read(dir .. "/f.json")), stdout
  end

  local NOTE = "db:execute 'insert into notes (pid) values (pg_backend_pid())'"
  local NOTES = "drop table if exists notes; create table notes (at timestamptz default clock_timestamp(), pid int)"

  it("spreads its connections over several servers by their weights", function()
    for _, name in ipairs { "one", "two" } do pg:psql(NOTES, name) end
    local path = file("targets = { database('one', 3), database('two', 1) },", NOTE)
    local all = run(path, "connections=8", "duration=500ms", "think=5ms")
    assert.equal(2, #all.targets)
    assert.equal("6", pg:psql("select count(distinct pid) from notes", "one"))
    assert.equal("2", pg:psql("select count(distinct pid) from notes", "two"))
  end)

  it("makes a new connection after so many events, and calls connect for each", function()
    pg:psql(NOTES)
    local path = file("connect = function(db) db:execute 'set application_name = mine' end,",
      NOTE .. " assert(db:rows('show application_name')[1].application_name == 'mine')")
    local all = run(path, "connections=1", "reconnect=5", "duration=1s", "rate=40")
    assert.equal(40, all.total.events + all.total.not_started)
    assert.is_true(all.total.reconnects >= 6)
    assert.equal("t", pg:psql "select max(c) <= 5 from (select count(*) as c from notes group by pid) as n")
  end)

  it("ramps its connections up and down", function()
    pg:psql(NOTES)
    local all = run(file(nil, NOTE), "connections=4", "stages=2s:4c,1s:4c", "think=10ms")
    assert.near(3, all.seconds, 0.1)
    -- The fourth joins behind one and a half of the two seconds.
    assert.equal("4", pg:psql "select count(distinct pid) from notes")
    local first = pg:psql [[select count(distinct pid) from notes
      where at < (select min(at) from notes) + interval '300 ms']]
    assert.is_true(tonumber(first) <= 2, first)
  end)

  it("comes at random times, at a rate that is a function of time", function()
    local all, stdout = run(file("rate = function(t) return t < 1 and 20 or 80 end,"), "arrivals=poisson",
      "duration=2s",
      "interval=1s", "connections=3")
    assert.matches("a rate that changes in time, at random times", stdout)
    assert.is_true(all.timeline[1].rate < all.timeline[2].rate)
    assert.is_true(all.total.events > 50 and all.total.events < 160)
  end)

  it("leaves the warm-up out of the figures", function()
    local all = run(file(), "rate=50", "duration=1s", "warmup=1s", "connections=2")
    assert.equal(50, all.total.events)
    assert.near(1, all.seconds, 0.05)
  end)

  it("works over a Unix socket", function()
    local all, stdout = run(file(), "connections=2", "duration=300ms",
      ("target=host=%s port=%s user=postgres dbname=postgres"):format(pg.socket, pg.port))
    assert.is_true(all.total.events > 0)
    assert.matches("transferred: not known over a Unix socket", stdout)
  end)

  it("gives the same load for the same seed", function()
    local body = [[db:execute('insert into seeded (connection, value) values ($1, $2)', db.number,
      random:uniform(1, 1e9))]]
    local first
    for _ = 1, 2 do
      pg:psql "drop table if exists seeded; create table seeded (n serial, connection int, value int)"
      run(file(nil, body), "connections=2", "rate=20", "duration=1s", "seed=42")
      local values = pg:psql [[select string_agg(value::text, ' ' order by n)
        from (select *, row_number() over (partition by connection order by n) as r from seeded) as s
        where connection = 2 and r <= 5]]
      assert.equal(first or values, values)
      first = values
    end
  end)

  it("exits at once on a second interrupt", function()
    local one = process.start { "run", file(nil, "db:execute 'select pg_sleep(60)'"), "connections=1", "duration=0s" }
    one:says("closed loop", "out")
    process.until_true(function()
      return pg:psql "select count(*) from pg_stat_activity where query like 'select pg_sleep%'" == "1"
    end, "the statement to run")
    one:signal "INT"
    require("dbobs.timer").sleep "100ms"
    one:signal "INT"
    assert.equal(130, one:wait())
  end)

  it("replays a log from its topic", function()
    local broker = process.start { "broker", "--address-file", dir .. "/address" }
    local address = process.until_true(function()
      return (process.read(dir .. "/address") or ""):match "^%S+"
    end, "the broker's address")
    pg:psql "create table replayed (v int)"
    local producer = require("dbobs.kafka").producer { ["bootstrap.servers"] = address }
    for i = 1, 3 do
      local record = {
        timestamp = "2026-01-01 00:00:00.000 UTC", session_id = "s" .. i,
        message = "statement: insert into replayed values (1)",
      }
      assert(producer:topic("raw-logs"):send("k", cjson.encode { payload = { event_type = "log", record = record } }))
    end
    producer:flush "30s"
    producer:close()
    local all = run("pipelines/load/replay.lua", "brokers=" .. address,
      ("target=host=%s port=%s user=postgres password=%s dbname=postgres"):format(pg.host, pg.port, pg.password))
    assert.equal(3, all.total.events)
    assert.equal("3", pg:psql "select count(*) from replayed")
    broker:signal "TERM"
    broker:wait()
  end)
end)
