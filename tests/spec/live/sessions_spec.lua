-- pipelines/collectors/sessions.lua: samples of the active sessions, compared with what the server itself says.
local cjson = require "cjson"
local collector = require "support.collector"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local process = require "support.process"
local schema = require "support.schema"
local servers = require "support.servers"
local sessions = require "collectors.sessions"
local task = require "dbobs.task"

local function by_pid(records)
  local found = {}
  for _, one in ipairs(records) do
    assert.equal("session_sample", one.payload.event_type)
    assert.is_nil(found[one.payload.pid], "twice: " .. one.payload.pid)
    found[one.payload.pid] = one
  end
  return found
end

for _, major in ipairs { 13, 18 } do
  describe("samples of the sessions of version " .. major, function()
    local server, open

    local function connect(name)
      local db = assert(postgres.connect(server:parameters { dbname = "app", application_name = name,
        options = "-c lock_timeout=60s -c statement_timeout=120s" }))
      open[#open + 1] = db
      return db, assert(db:query "select pg_backend_pid() as pid")[1].pid
    end

    local function seen(condition, what)
      process.until_true(function()
        return server:psql("select count(*) from pg_stat_activity where " .. condition) ~= "0"
      end, what)
    end

    -- What the server says of a session. Ages differ by the time between: they are not among it.
    local function row_of(pid)
      return cjson.decode(server:psql(([[
        select json_strip_nulls(json_build_object('pid', pid, 'user', usename, 'application_name', application_name,
          'client_addr', host(client_addr), 'backend_type', backend_type, 'leader_pid', leader_pid, 'state', state,
          'wait_event_type', wait_event_type, 'wait_event', wait_event%s)) from pg_stat_activity where pid = %d]])
        :format(major >= 14 and ", 'query_id', query_id::text" or "", pid)))
    end

    local function compare(one, pid)
      assert.same({ "app", server.host .. ":app" }, { one.database, one.key })
      local payload, ages = {}, {}
      for name, value in pairs(one.payload) do
        if name:find "_ms$" then ages[#ages + 1] = name else payload[name] = value end
      end
      payload.event_type, payload.blocking_pids = nil, nil
      assert.same(row_of(pid), payload)
      table.sort(ages)
      return ages
    end

    setup(function()
      server = servers.postgres { name = "sessions", major = major, "--set", "autovacuum=off",
        "--set", "max_prepared_transactions=10" }
    end)

    before_each(function() open = {} end)

    after_each(function()
      server:psql "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'app'"
      for _, db in ipairs(open) do db:close() end
    end)

    it("are of those that are not idle, and not our own", function()
      local _, idle_pid = connect "idle"
      local lazy, lazy_pid = connect "lazy"
      local busy, busy_pid = connect "busy"
      assert(lazy:query "begin")
      local work = task.spawn(function() return busy:query "select pg_sleep(600)" end)
      seen("wait_event = 'PgSleep'", "a session that works")
      local records = collector.collect(sessions, server:target())
      local found = by_pid(records)
      assert.equal(2, #records)
      assert.is_nil(found[idle_pid])
      local ages = { "query_ms", "state_ms", "transaction_ms" }
      assert.same(ages, compare(found[busy_pid], busy_pid))
      assert.same(ages, compare(found[lazy_pid], lazy_pid))
      local payload = found[busy_pid].payload
      assert.is_nil(payload.blocking_pids)
      assert.is_true(payload.query_ms <= payload.transaction_ms)
      assert.equal(major >= 14 and "string" or "nil", type(payload.query_id))
      assert.equal("info", found[busy_pid].tags.log_level)
      server:psql("select pg_cancel_backend(" .. busy_pid .. ")")
      task.join(work)
    end)

    it("say who blocks those that wait for a lock", function()
      local first, first_pid = connect "first"
      local second, second_pid = connect "second"
      assert(first:query "begin")
      assert(first:query "lock table users")
      local waiting = task.spawn(function() return second:query "select count(*) from users" end)
      seen("wait_event_type = 'Lock'", "a session that waits")
      local found = by_pid(collector.collect(sessions, server:target()))
      compare(found[second_pid], second_pid)
      assert.same({ first_pid }, found[second_pid].payload.blocking_pids)
      assert.is_nil(found[first_pid].payload.blocking_pids)
      assert(first:query "rollback")
      task.join(waiting)
    end)

    it("are of parallel workers, too", function()
      local leader, leader_pid = connect "leader"
      assert(leader:query(("set %s = on"):format(major >= 16 and "debug_parallel_query" or "force_parallel_mode")))
      local work = task.spawn(function()
        return leader:query "select count(pg_sleep(600)) from pg_class where oid = 1259"
      end)
      seen("leader_pid is not null and wait_event = 'PgSleep'", "a parallel worker")
      local found = by_pid(collector.collect(sessions, server:target()))
      local worker_pid = tonumber(server:psql "select pid from pg_stat_activity where leader_pid is not null")
      compare(found[worker_pid], worker_pid)
      compare(found[leader_pid], leader_pid)
      assert.same({ "parallel worker", leader_pid },
        { found[worker_pid].payload.backend_type, found[worker_pid].payload.leader_pid })
      server:psql("select pg_cancel_backend(" .. leader_pid .. ")")
      task.join(work)
    end)

    it("come one after the other, the role's missing grant told once", function()
      server:psql "create role nosy login password 'x'"
      local lazy, lazy_pid = connect "lazy"
      assert(lazy:query "begin")
      local current = collector.run(sessions, server:target { user = "nosy", password = "x" })
      for _ = 1, 3 do assert.same({}, collector.again(current)) end
      assert.same({ "sessions of other users are hidden: run: GRANT pg_monitor TO nosy" }, current.told)
      server:psql "grant pg_monitor to nosy"
      pool.close(current.target)
      current = collector.run(sessions, server:target { user = "nosy", password = "x" })
      for _ = 1, 3 do
        local records = collector.again(current)
        assert.same({}, current.told)
        assert.equal(1, #records)
        assert.equal(lazy_pid, records[1].payload.pid)
      end
      pool.close(current.target)
      server:psql "drop role nosy"
    end)
  end)
end

describe("samples of sessions", function()
  it("come from a standby as well", function()
    local server = servers.postgres { name = "sessions", major = 18, "--set", "autovacuum=off",
      "--set", "max_prepared_transactions=10" }
    local standby = servers.postgres { name = "sessions standby", primary = server }
    local db = assert(postgres.connect(standby:parameters { dbname = "app" }))
    assert(db:query "begin")
    local records = collector.collect(sessions, standby:target())
    assert.equal(1, #records)
    assert.equal("idle in transaction", records[1].payload.state)
    db:close()
    servers.drop(standby)
  end)

  it("have no topic until topics.lua names one", function()
    local topics = dofile "pipelines/topics.lua"
    local made = {}
    local kafka = { ensure_topic = function(_, name, how) made[name] = tonumber(how.config["retention.ms"]) end }
    topics.create(kafka)
    local days = 24 * 60 * 60 * 1000
    assert.same({ ["otel-metrics"] = 7 * days, ["raw-logs"] = 30 * days, ["raw-queries"] = 90 * days }, made)
    topics.sessions = "raw-sessions"
    topics.create(kafka)
    assert.equal(7 * days, made["raw-sessions"])
  end)
end)

describe("all these records", function()
  it("are as their JSON Schema says", function()
    schema.verify(collector.shapes, { "session_sample" })
  end)
end)
