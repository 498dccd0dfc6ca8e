-- pipelines/events.lua and collectors/logs.lua: each activity event made to happen on real servers, and compared with
-- what the server itself says.
local cjson = require "cjson"
local collector = require "support.collector"
local logs = require "collectors.logs"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local process = require "support.process"
local schema = require "support.schema"
local servers = require "support.servers"
local task = require "dbobs.task"

local function of_type(records, kind)
  local found = {}
  for _, one in ipairs(records) do
    if one.payload.event_type == kind then found[#found + 1] = one end
  end
  return found
end

-- The records of one kind, by the process that they are about.
local function by_pid(records, kind)
  local found = {}
  for _, one in ipairs(of_type(records, kind)) do
    local pid = one.payload.pid or one.payload.gid
    assert.is_nil(found[pid], "twice: " .. pid)
    found[pid] = one
  end
  return found
end

-- Collects these events alone; `more` is of the target.
local function only(server, chosen, more)
  local events = { connection_stats = false, deadlocks = false, replication_lag = false, statements_reset = false }
  for name, choice in pairs(chosen) do events[name] = choice end
  local records, current = collector.collect(logs, server:target(more), { events = events })
  assert.same({}, current.told)
  return records
end

local function tell_events(major)
  local server, open

  -- A session of its own name; its statements run while others wait.
  local function connect(name, database)
    local db = assert(postgres.connect(server:parameters { dbname = database or "app", application_name = name,
      options = "-c lock_timeout=60s" }))
    open[#open + 1] = db
    local pid = assert(db:query "select pg_backend_pid() as pid")[1].pid
    return db, pid
  end

  -- A statement that will wait for a lock; returns when it does.
  local function wait_in(db, pid, sql)
    local waiting = task.spawn(function() return db:query(sql) end)
    process.until_true(function()
      return server:psql(("select count(*) from pg_locks where pid = %d and not granted"):format(pid)) == "1"
    end, "a session to wait for a lock")
    return waiting
  end

  -- Milliseconds as the server counts them, now.
  local function age(expression, condition, view)
    return tonumber(server:psql(("select extract(epoch from clock_timestamp() - %s) * 1000 from %s where %s"):format(
      expression, view or "pg_stat_activity", condition)))
  end

  setup(function()
    server = servers.postgres { name = "activity", major = major, "--set", "max_prepared_transactions=10",
      "--set", "wal_level=logical", "--set", "autovacuum=off" }
  end)

  before_each(function() open = {} end)

  after_each(function()
    server:psql "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'app'"
    for _, db in ipairs(open) do db:close() end
    for gid in server:psql("select gid from pg_prepared_xacts", "app"):gmatch "[^\n]+" do
      server:psql(("rollback prepared '%s'"):format(gid), "app")
    end
  end)

  it("count connections", function()
    connect "idle"
    local busy = connect "busy"
    assert(busy:query "begin")
    local records, current = collector.collect(logs, server:target())
    assert.same({}, current.told)
    local stats = of_type(records, "connection_stats")
    assert.equal(1, #stats)
    local payload = stats[1].payload
    assert.equal(300, payload.max_connections)
    assert.is_true(payload.total >= 3 and payload.active >= 1 and payload.idle >= 1
      and payload.idle_in_transaction >= 1)
    assert.is_true(payload.total >= payload.active + payload.idle + payload.idle_in_transaction)
    assert.equal(0, payload.waiting)
    assert.equal("info", stats[1].tags.log_level)
    assert.equal(server.host .. ":postgres", stats[1].key)
  end)

  it("tell transactions that are open for long, prepared ones, too", function()
    local db, pid = connect "reporting"
    assert(db:query "begin isolation level repeatable read")
    assert(db:query "select count(*) from users /* alter role x password 'secret' */")
    local other = connect "preparing"
    assert(other:query "begin")
    assert(other:query "update products set stock = stock where id = 1")
    assert(other:query "prepare transaction 'left behind'")
    local before = age("xact_start", "pid = " .. pid)
    local found = by_pid(only(server, { long_transaction = "0s" }), "long_transaction")
    local after = age("xact_start", "pid = " .. pid)
    local one = found[pid]
    assert.same({ "app", server.host .. ":app", "info" }, { one.database, one.key, one.tags.log_level })
    local payload = one.payload
    assert.is_true(before <= payload.transaction_ms and payload.transaction_ms <= after)
    assert.same({ "postgres", "reporting", "127.0.0.1", "client backend", "idle in transaction" },
      { payload.user, payload.application_name, payload.client_addr, payload.backend_type, payload.state })
    assert.same({ "Client", "ClientRead" }, { payload.wait_event_type, payload.wait_event })
    assert.equal("select count(*) from users /* alter role x password '***' */", payload.query)
    assert.equal(tonumber(server:psql("select age(backend_xmin) from pg_stat_activity where pid = " .. pid)),
      payload.xmin_age)
    assert.is_true(payload.query_ms <= payload.transaction_ms and payload.state_ms <= payload.query_ms)

    local prepared = found["left behind"]
    assert.same({ "app", "postgres" }, { prepared.database, prepared.payload.user })
    assert.is_nil(prepared.payload.pid)
    assert.is_nil(prepared.payload.state)
    assert.is_true(prepared.payload.transaction_ms <= age("prepared", "gid = 'left behind'", "pg_prepared_xacts"))
    -- We are in a transaction ourselves: there is no third one.
    local count = 0
    for _ in pairs(found) do count = count + 1 end
    assert.equal(2, count)
    assert.same({}, only(server, { long_transaction = true }))
  end)

  it("tell sessions that do nothing in a transaction", function()
    local db, pid = connect "lazy"
    local failed, failed_pid = connect "failed"
    connect "idle"
    assert(db:query "begin" and failed:query "begin")
    assert.is_nil(failed:query "select 1/0")
    local before = age("state_change", "pid = " .. pid)
    local records = only(server, { idle_in_transaction = "0s" })
    local after = age("state_change", "pid = " .. pid)
    assert.equal(2, #records)
    local found = by_pid(records, "idle_in_transaction")
    local payload = found[pid].payload
    assert.same({ "postgres", "lazy", "idle in transaction", "begin" },
      { payload.user, payload.application_name, payload.state, payload.query })
    assert.is_true(before <= payload.state_ms and payload.state_ms <= after)
    assert.is_true(payload.state_ms <= payload.transaction_ms)
    payload = found[failed_pid].payload
    assert.same({ "failed", "idle in transaction (aborted)", "select 1/0" },
      { payload.application_name, payload.state, payload.query })
    assert.same({}, only(server, { idle_in_transaction = "1h" }))
  end)

  it("tell who waits for whose lock, down a chain", function()
    local first, first_pid = connect "first"
    local second, second_pid = connect "second"
    local third, third_pid = connect "third"
    local bystander = connect "bystander"
    assert(first:query "begin" and second:query "begin" and bystander:query "begin")
    assert(first:query "update users set name = 'a' where id = 1")
    assert(second:query "lock table products in access exclusive mode")
    local waits = { wait_in(second, second_pid, "update users set name = 'b' where id = 1"),
      wait_in(third, third_pid, "select * from products") }
    local waited = major >= 14 and age("waitstart", "not granted and pid = " .. second_pid, "pg_locks")

    local records = only(server, { blocked = true }, { dbname = "app" })
    local found = by_pid(records, "blocked")
    assert.equal(2, #records)
    local one = found[second_pid].payload
    assert.same({ "second", "transactionid", "ShareLock", "public.users", "active", "Lock", "transactionid" },
      { one.application_name, one.locktype, one.mode, one.relation, one.state, one.wait_event_type, one.wait_event })
    assert.equal("update users set name = 'b' where id = 1", one.query)
    assert.same({ first_pid }, one.blocking_pids)
    assert.equal(1, #one.blockers)
    local blocker = one.blockers[1]
    assert.same({ first_pid, "postgres", "app", "first", "idle in transaction", "client backend" },
      { blocker.pid, blocker.user, blocker.database, blocker.application_name, blocker.state, blocker.backend_type })
    assert.is_true(blocker.transaction_ms >= one.query_ms)
    if waited then
      assert.is_true(one.wait_ms >= waited)
      assert.is_true(one.wait_ms <= age("waitstart", "not granted and pid = " .. second_pid, "pg_locks"))
    end

    one = found[third_pid].payload
    assert.same({ "relation", "AccessShareLock", "public.products" }, { one.locktype, one.mode, one.relation })
    assert.equal(tonumber(server:psql("select 'products'::regclass::oid", "app")), one.relation_oid)
    assert.same({ second_pid }, one.blocking_pids)
    -- The one before it waits itself, and has its own record.
    assert.is_nil(one.blockers)
    -- Of the relations of another database only the number is known.
    local elsewhere = by_pid(only(server, { blocked = true }), "blocked")[third_pid].payload
    assert.is_nil(elsewhere.relation)
    assert.equal(one.relation_oid, elsewhere.relation_oid)
    assert.same({}, only(server, { blocked = "1h" }))
    assert(first:query "rollback")
    task.join(waits[1])
    assert(second:query "rollback")
    task.join(waits[2])
  end)

  it("tell a prepared transaction that blocks, and the lock that is no relation's", function()
    local db = connect "preparing"
    assert(db:query "begin")
    assert(db:query "update users set name = 'a' where id = 2")
    assert(db:query "lock table products in share mode")
    assert(db:query "prepare transaction 'p1'")
    local row, row_pid = connect "row"
    local whole, whole_pid = connect "whole"
    local holder, holder_pid = connect("holder", "postgres")
    local advisory, advisory_pid = connect("advisory", "postgres")
    assert(holder:query "select pg_advisory_lock(42)")
    local waits = { wait_in(row, row_pid, "delete from users where id = 2"),
      wait_in(whole, whole_pid, "update products set stock = 0"),
      wait_in(advisory, advisory_pid, "select pg_advisory_lock(42)") }
    local found = by_pid(only(server, { blocked = "0s" }), "blocked")
    for _, pid in ipairs { row_pid, whole_pid } do
      local payload = found[pid].payload
      assert.same({ 0 }, payload.blocking_pids)
      assert.equal(1, #payload.blockers)
      local blocker = payload.blockers[1]
      assert.same({ 0, "p1", "postgres", "app" }, { blocker.pid, blocker.gid, blocker.user, blocker.database })
      assert.is_number(blocker.transaction_ms)
    end
    assert.equal("transactionid", found[row_pid].payload.locktype)
    assert.equal("relation", found[whole_pid].payload.locktype)
    local payload = found[advisory_pid].payload
    assert.same({ "advisory", "ExclusiveLock" }, { payload.locktype, payload.mode })
    assert.is_nil(payload.relation_oid)
    assert.same({ holder_pid }, payload.blocking_pids)
    assert.equal("idle", payload.blockers[1].state)
    server:psql("rollback prepared 'p1'", "app")
    assert(holder:query "select pg_advisory_unlock_all()")
    for _, waiting in ipairs(waits) do task.join(waiting) end
  end)

  it("tell parallel workers that wait, and the leader of those that block", function()
    server:psql([[create or replace function hold(seconds int) returns int language sql parallel safe volatile as
      'select pg_advisory_xact_lock(7), pg_sleep(seconds); select 1']], "app")
    local parallel = ("set %s = on"):format(major >= 16 and "debug_parallel_query" or "force_parallel_mode")
    local in_worker = "select count(hold(%d)) from pg_class where oid = 1259"
    local function worker_of(pid, waits_for)
      local worker
      process.until_true(function()
        worker = tonumber(server:psql(("select pid from pg_stat_activity where leader_pid = %d and wait_event = '%s'")
          :format(pid, waits_for)))
        return worker
      end, "a parallel worker")
      return worker
    end
    local holder, holder_pid = connect "holder"
    local waiter, waiter_pid = connect "waiter"
    assert(holder:query(parallel) and waiter:query(parallel))
    local work = task.spawn(function() return holder:query(in_worker:format(600)) end)
    worker_of(holder_pid, "PgSleep")
    local wait = task.spawn(function() return waiter:query(in_worker:format(0)) end)
    local worker_pid = worker_of(waiter_pid, "advisory")
    local records = only(server, { blocked = true })
    assert.equal(1, #records)
    local payload = records[1].payload
    assert.same({ worker_pid, waiter_pid, "parallel worker", "advisory" },
      { payload.pid, payload.leader_pid, payload.backend_type, payload.locktype })
    -- The server names the leader, once for each of its processes that hold or wait.
    for _, pid in ipairs(payload.blocking_pids) do assert.equal(holder_pid, pid) end
    assert.equal(1, #payload.blockers)
    assert.same({ holder_pid, "client backend", "holder" },
      { payload.blockers[1].pid, payload.blockers[1].backend_type, payload.blockers[1].application_name })
    server:psql("select pg_cancel_backend(" .. holder_pid .. ")")
    task.join(work)
    task.join(wait)
  end)

  it("tell how old each database's transaction numbers are", function()
    local function ages()
      return cjson.decode(server:psql [[select json_object_agg(datname, json_build_array(age(datfrozenxid),
        mxid_age(datminmxid))) from pg_database]])
    end
    local before = ages()
    local records = only(server, { xid_age = true })
    local after = ages()
    assert.equal(tonumber(server:psql "select count(*) from pg_database"), #records)
    for _, one in ipairs(records) do
      local payload = one.payload
      assert.is_true(before[one.database][1] <= payload.xid_age and payload.xid_age <= after[one.database][1])
      assert.equal(after[one.database][2], payload.mxid_age)
      assert.same({ 200000000, 400000000 },
        { payload.autovacuum_freeze_max_age, payload.autovacuum_multixact_freeze_max_age })
    end
  end)

  it("tell what each replication slot holds back", function()
    server:psql [[select pg_create_physical_replication_slot('standby_1', true)]]
    server:psql([[select pg_create_logical_replication_slot('changes', 'pgoutput')]], "app")
    server:psql("create table if not exists filling as select g from generate_series(1, 1000) g", "app")
    local slots = {}
    for _, one in ipairs(only(server, { replication_slot = true })) do slots[one.payload.slot_name] = one end
    local physical, logical = slots.standby_1, slots.changes
    assert.same({ "postgres", "physical", false, "reserved" },
      { physical.database, physical.payload.slot_type, physical.payload.active, physical.payload.wal_status })
    assert.is_nil(physical.payload.plugin)
    assert.same({ "app", "logical", "pgoutput" }, { logical.database, logical.payload.slot_type,
      logical.payload.plugin })
    for name, one in pairs(slots) do
      local held = tonumber(server:psql(("select pg_current_wal_lsn() - restart_lsn from pg_replication_slots "
        .. "where slot_name = '%s'"):format(name)))
      assert.is_true(one.payload.retained_bytes > 0 and one.payload.retained_bytes <= held)
      if major >= 17 then assert.matches("^%d+%-%d+%-%d+T[%d:.]+Z$", one.payload.inactive_since) end
    end
    assert.is_true(logical.payload.unconfirmed_bytes > 0)
    assert.is_true(logical.payload.catalog_xmin_age >= 0)
    for name in pairs(slots) do server:psql(("select pg_drop_replication_slot('%s')"):format(name)) end
    assert.same({}, only(server, { replication_slot = true }))
  end)

  it("tell that the statements' statistics were thrown away", function()
    local current = collector.run(logs, server:target(), { events = {} })
    local function resets()
      current.time = current.time + 30e6
      assert(logs.collect(current))
      assert.same({}, current.told)
      return of_type(collector.keep(collector.records(current.out)), "statements_reset")
    end
    server:psql "select pg_stat_statements_reset()"
    assert.same({}, resets())
    assert.same({}, resets())
    server:psql "select pg_stat_statements_reset()"
    local seen = resets()
    if major < 14 then
      assert.same({}, seen)
    else
      assert.equal(1, #seen)
      assert.equal(server:psql [[select to_char(stats_reset at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        from pg_stat_statements_info]], seen[1].payload.stats_reset)
      assert.equal(0, seen[1].payload.dealloc)
      -- The extension elsewhere, or nowhere, is no error; and no event when it is back.
      server:psql "create schema if not exists \"of the %DBA\""
      server:psql "alter extension pg_stat_statements set schema \"of the %DBA\""
      assert.same({}, resets())
      assert.same({}, resets())
      server:psql "grant usage on schema \"of the %DBA\" to dbobs_monitor"
      assert.same({}, resets())
      server:psql "select \"of the %DBA\".pg_stat_statements_reset()"
      assert.equal(1, #resets())
      server:psql "drop extension pg_stat_statements"
      assert.same({}, resets())
      assert.same({}, resets())
      server:psql "create extension pg_stat_statements"
      assert.same({}, resets())
    end
    assert.same({}, current.told)
    pool.close(current.target)
  end)

  it("cost a query each, in one round trip, and none when they are off", function()
    local choice = {}
    for _, event in ipairs(require "events") do choice[event.name] = false end
    local current = collector.run(logs, server:target(), { events = choice })
    local trips, snapshot = 0, current.snapshot
    function current:snapshot(...)
      trips = trips + 1
      return snapshot(self, ...)
    end
    local function queries()
      current.time = current.time + 30e6
      trips = 0
      server:psql "select pg_stat_statements_reset()"
      assert(logs.collect(current))
      current.out:take()
      return tonumber(server:psql [[select coalesce(sum(calls), 0) from pg_stat_statements
        where query ~ '/\* dbobs \*/.* as event_type']])
    end
    assert.equal(0, queries())
    assert.equal(0, queries())
    assert.equal(1, trips)
    local expected = 0
    for _, event in ipairs(require "events") do
      choice[event.name] = true
      if major >= (event.since or 0) then expected = expected + 1 end
      -- The view of statements_reset is looked for first.
      if event.view then queries() end
      assert.equal(expected, queries())
      assert.equal(1, trips)
    end
    assert.is_true(expected >= 8)
    assert.same({}, current.told)
    pool.close(current.target)
  end)
end

for _, major in ipairs { 13, 18 } do
  describe("activity events of version " .. major, function() tell_events(major) end)
end

describe("all these records", function()
  it("are as their JSON Schema says", function()
    schema.verify(collector.shapes, {
      "connection_stats", "long_transaction", "idle_in_transaction", "blocked", "replication_slot",
      "statements_reset"
    })
  end)
end)
