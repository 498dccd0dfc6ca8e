-- pipelines/events.lua on servers of every version, on standbys, beside autovacuum, and for a role that sees little.
local collector = require "support.collector"
local logs = require "collectors.logs"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local process = require "support.process"
local schema = require "support.schema"
local servers = require "support.servers"
local sessions = require "collectors.sessions"
local task = require "dbobs.task"

local function of_type(records, kind)
  local found = {}
  for _, one in ipairs(records) do
    if one.payload.event_type == kind then found[#found + 1] = one end
  end
  return found
end

describe("activity events", function()
  for _, major in ipairs { 13, 14, 15, 16, 17, 18 } do
    it("are all there for version " .. major, function()
      local all = {}
      for _, event in ipairs(require "events") do all[event.name] = event.longer_than and "1ms" or true end
      local server = servers.postgres { major = major, name = "queries" }
      local records, current = collector.collect(logs, server:target(), { events = all })
      assert.same({}, current.told)
      assert.equal(1, #of_type(records, "connection_stats"))
      assert.equal(tonumber(server:psql "select count(*) from pg_database"), #of_type(records, "xid_age"))
    end)
  end

  it("tell the deadlocks of each database that had some", function()
    local server = servers.postgres { name = "deadlock", "--set", "deadlock_timeout=50ms" }
    assert.same({}, of_type(collector.collect(logs, server:target()), "deadlocks"))
    local a = assert(postgres.connect(server:parameters { dbname = "app" }))
    local b = assert(postgres.connect(server:parameters { dbname = "app" }))
    assert(a:query "begin" and b:query "begin")
    assert(a:query "update users set name = 'a' where id = 1")
    assert(b:query "update users set name = 'b' where id = 2")
    local other = task.spawn(function() return a:query "update users set name = 'a' where id = 2" end)
    local mine = b:query "update users set name = 'b' where id = 1"
    local _, theirs = task.join(other)
    assert.is_true((mine == nil) ~= (theirs == nil))
    a:close()
    b:close()
    process.until_true(function()
      return server:psql "select deadlocks > 0 from pg_stat_database where datname = 'app'" == "t"
    end, "the deadlock to be counted")
    local deadlocks = of_type(collector.collect(logs, server:target()), "deadlocks")
    assert.equal(1, #deadlocks)
    assert.equal("app", deadlocks[1].database)
    assert.equal("error", deadlocks[1].tags.log_level)
    assert.equal(tonumber(server:psql "select deadlocks from pg_stat_database where datname = 'app'"),
      deadlocks[1].payload.count)
    local off = collector.collect(logs, server:target(), { events = { deadlocks = false } })
    assert.same({}, of_type(off, "deadlocks"))
    servers.drop(server)
  end)

  it("tell an autovacuum that blocks", function()
    local server = servers.postgres { name = "vacuum", "--set", "autovacuum_naptime=1",
      "--set", "deadlock_timeout=1h" }
    server:psql([[create table dirty with (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_cost_delay = 100,
      autovacuum_vacuum_cost_limit = 1) as select g from generate_series(1, 100000) g]], "app")
    server:psql("delete from dirty", "app")
    local vacuum
    process.until_true(function()
      vacuum = tonumber(server:psql [[select pid from pg_stat_activity
        where backend_type = 'autovacuum worker' and query like 'autovacuum: VACUUM%public.dirty']])
      return vacuum
    end, "autovacuum")
    local db = assert(postgres.connect(server:parameters { dbname = "app", options = "-c lock_timeout=60s" }))
    local wait = task.spawn(function() return db:query "alter table dirty add column more int" end)
    process.until_true(function()
      return server:psql "select count(*) from pg_stat_activity where wait_event_type = 'Lock'" == "1"
    end, "a session to wait")
    local payload = of_type(collector.collect(logs, server:target(), { events = { blocked = true } }),
      "blocked")[1].payload
    assert.same({ vacuum }, payload.blocking_pids)
    assert.same({ vacuum, "autovacuum worker", "app" },
      { payload.blockers[1].pid, payload.blockers[1].backend_type, payload.blockers[1].database })
    local samples = collector.collect(sessions, server:target())
    local seen
    for _, one in ipairs(samples) do
      if one.payload.pid == vacuum then seen = one.payload end
    end
    assert.same({ "active", "autovacuum worker" }, { seen.state, seen.backend_type })
    server:psql("select pg_cancel_backend(" .. vacuum .. ")")
    task.join(wait)
    db:close()
    servers.drop(server)
  end)

  it("tell how far each standby is behind, and are all there on it", function()
    local server = servers.postgres { name = "activity primary" }
    assert.same({}, of_type(collector.collect(logs, server:target()), "replication_lag"))
    local standby = servers.postgres { name = "activity standby", primary = server }
    process.until_true(function()
      return server:psql "select count(*) from pg_stat_replication where state = 'streaming'" == "1"
    end, "the standby")
    server:psql("update products set stock = stock + 1", "app")
    local lag = of_type(collector.collect(logs, server:target()), "replication_lag")
    assert.equal(1, #lag)
    local payload = lag[1].payload
    assert.same({ "standby", "streaming", "127.0.0.1" }, { payload.application_name, payload.state,
      payload.client_addr })
    for _, name in ipairs { "write_lag_bytes", "flush_lag_bytes",
      "replay_lag_bytes" } do assert.is_number(payload[name]) end

    -- On the standby itself nothing fails although it has no current position.
    standby:psql "select pg_create_physical_replication_slot('cascade', true)"
    local all = {}
    for _, event in ipairs(require "events") do all[event.name] = event.longer_than and "0s" or true end
    local records, current = collector.collect(logs, standby:target(), { events = all })
    assert.same({}, current.told)
    assert.equal(1, #of_type(records, "connection_stats"))
    assert.equal(tonumber(standby:psql "select count(*) from pg_database"), #of_type(records, "xid_age"))
    local slots = of_type(records, "replication_slot")
    assert.equal(1, #slots)
    assert.is_true(slots[1].payload.retained_bytes >= 0)
    servers.drop(standby)
    servers.drop(server)
  end)

  it("tell a role without pg_monitor once what to grant, and send what it sees", function()
    local server = servers.postgres { name = "activity", major = 18 }
    server:psql "create role nosy login password 'x'"
    local db = assert(postgres.connect(server:parameters { dbname = "app" }))
    assert(db:query "begin")
    local current = collector.run(logs, server:target { user = "nosy", password = "x" },
      { events = { long_transaction = "0s", idle_in_transaction = "0s", blocked = true, replication_slot = true } })
    assert(logs.collect(current))
    assert.same({ "sessions of other users are hidden: run: GRANT pg_monitor TO nosy" }, current.told)
    local records = collector.records(current.out)
    assert.equal(1, #of_type(records, "connection_stats"))
    assert.same({}, of_type(records, "idle_in_transaction"))
    server:psql "grant pg_monitor to nosy"
    current.told, current.time = {}, current.time + 30e6
    assert(logs.collect(current))
    assert.same({}, current.told)
    assert.equal(1, #of_type(collector.records(current.out), "idle_in_transaction"))
    db:close()
    pool.close(current.target)
    server:psql "drop role nosy"
  end)
end)

describe("all these records", function()
  it("are as their JSON Schema says", function()
    schema.verify(collector.shapes, {
      "connection_stats", "deadlocks", "replication_lag", "xid_age", "replication_slot"
    })
  end)
end)
