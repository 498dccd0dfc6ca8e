local collector = require "collectors.metrics"
local json = require "cjson"
local memory = require "dbobs.core.memory"
local metrics = require "dbobs.metrics"
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local support = require "support.metrics"
local sys = require "dbobs.core.sys"
local timer = require "dbobs.timer"

local value, select_points = support.value, support.select

-- The receiver's metrics that are on by default: unit, kind, type.
local EXPECTED = {
  ["postgresql.backends"] = { "1", "sum", "int" },
  ["postgresql.bgwriter.buffers.allocated"] = { "{buffers}", "counter", "int" },
  ["postgresql.bgwriter.buffers.writes"] = { "{buffers}", "counter", "int" },
  ["postgresql.bgwriter.checkpoint.count"] = { "{checkpoints}", "counter", "int" },
  ["postgresql.bgwriter.duration"] = { "ms", "counter", "double" },
  ["postgresql.bgwriter.maxwritten"] = { "1", "counter", "int" },
  ["postgresql.blocks_read"] = { "1", "counter", "int" },
  ["postgresql.commits"] = { "1", "counter", "int" },
  ["postgresql.connection.max"] = { "{connections}", "gauge", "int" },
  ["postgresql.database.count"] = { "{databases}", "sum", "int" },
  ["postgresql.db_size"] = { "By", "sum", "int" },
  ["postgresql.index.scans"] = { "{scans}", "counter", "int" },
  ["postgresql.index.size"] = { "By", "gauge", "int" },
  ["postgresql.operations"] = { "1", "counter", "int" },
  ["postgresql.replication.data_delay"] = { "By", "gauge", "int" },
  ["postgresql.rollbacks"] = { "1", "counter", "int" },
  ["postgresql.rows"] = { "1", "sum", "int" },
  ["postgresql.table.count"] = { "{table}", "sum", "int" },
  ["postgresql.table.size"] = { "By", "sum", "int" },
  ["postgresql.table.vacuum.count"] = { "{vacuum}", "counter", "int" },
  ["postgresql.wal.age"] = { "s", "gauge", "int" },
  ["postgresql.wal.lag"] = { "s", "gauge", "int" },
}

-- What is about the server, not about one of its databases.
local OF_SERVER = {
  ["bgwriter.buffers"] = true, ["bgwriter.checkpoint"] = true, ["bgwriter.duration"] = true,
  ["bgwriter.maxwritten"] = true, ["connection.max"] = true, ["database.count"] = true, ["wal.age"] = true,
}

local SCOPE = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/postgresqlreceiver"

-- Tries until `holds` returns a true value, at most ten seconds long.
local function eventually(holds)
  local until_time = sys.monotonic() + 10
  while true do
    local result = holds()
    if result or sys.monotonic() > until_time then return result end
    timer.sleep(0.1)
  end
end

local function direct(server, sql, database)
  return json.decode(server:psql("select row_to_json(direct) from (" .. sql .. ") direct", database))
end

local function kind_of(metric)
  if metric.gauge then return "gauge" end
  return metric.sum.isMonotonic and "counter" or "sum"
end

local function scraper_of(server, given, to)
  return support.scraper(collector, server:target(given), to)
end

-- Collects once with a connection of its own.
local function collect(server, given, to)
  local scraper = scraper_of(server, given, to)
  local points, records, run = scraper.collect()
  scraper.close()
  return assert(points, records), records, run
end

-- Waits until the server has counted what the sessions before did.
local function settled(server, database)
  local before
  return eventually(function()
    local now = server:psql([[select sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del), sum(seq_scan) + sum(idx_scan)
      from pg_stat_user_tables]], database)
    local same = now == before
    before = now
    return same
  end)
end

local function of_table(server, points, name)
  local row = direct(server, ([[
    select t.*, coalesce(heap_blks_read, 0) as heap_read, coalesce(heap_blks_hit, 0) as heap_hit,
      coalesce(idx_blks_read, 0) as idx_read, coalesce(idx_blks_hit, 0) as idx_hit,
      coalesce(toast_blks_read, 0) as toast_read, coalesce(toast_blks_hit, 0) as toast_hit,
      coalesce(tidx_blks_read, 0) as tidx_read, coalesce(tidx_blks_hit, 0) as tidx_hit,
      pg_relation_size(relid) as size
    from pg_stat_user_tables t join pg_statio_user_tables io using (relid)
    where t.relname = '%s']]):format(name), "app")
  local resource = { ["postgresql.database.name"] = "app", ["postgresql.table.name"] = "public." .. name }
  local function is(expected, metric, attributes)
    assert.equal(("%d"):format(expected), value(points, metric, resource, attributes), metric .. " " .. attributes)
  end
  is(row.n_live_tup, "postgresql.rows", "state=live")
  is(row.n_dead_tup, "postgresql.rows", "state=dead")
  is(row.n_tup_ins, "postgresql.operations", "operation=ins")
  is(row.n_tup_upd, "postgresql.operations", "operation=upd")
  is(row.n_tup_del, "postgresql.operations", "operation=del")
  is(row.n_tup_hot_upd, "postgresql.operations", "operation=hot_upd")
  is(row.size, "postgresql.table.size", "")
  is(row.vacuum_count, "postgresql.table.vacuum.count", "")
  for _, kind in ipairs { "heap", "idx", "toast", "tidx" } do
    is(row[kind .. "_read"], "postgresql.blocks_read", ("source=%s_read"):format(kind))
    is(row[kind .. "_hit"], "postgresql.blocks_read", ("source=%s_hit"):format(kind))
  end
  return row
end

for _, major in ipairs { 15, 18 } do
  describe("the metrics of PostgreSQL " .. major, function()
    local server, points, records, run

    setup(function()
      server = servers.postgres { major = major, name = "metrics", "--set", "archive_mode=on",
        "--set", "archive_command=true" }
      server:psql([[update users set name = name || '!' where id <= 100]], "app")
      server:psql("insert into users (email, name) values ('x', 'y'); delete from users where email = 'x'", "app")
      server:psql([[create table if not exists big (t text); alter table big alter t set storage external;
        insert into big select repeat('x', 10000) from generate_series(1, 10)]], "app")
      server:psql("vacuum users", "app")
      server:psql("select count(t) from big where t like '%y'", "app")
      server:psql "select pg_switch_wal()"
      assert.is_truthy(eventually(function()
        return server:psql "select last_archived_time is not null from pg_stat_archiver" == "t"
      end))
      assert.is_truthy(settled(server, "app"))
      local session = assert(postgres.connect(server:parameters { dbname = "app" }))
      points, records, run = collect(server)
      session:close()
    end)

    it("are sent as one record for each database and one for the server", function()
      local keys = {}
      for i, record in ipairs(records) do keys[i] = record.key end
      table.sort(keys)
      assert.same({ "127.0.0.1:app", "127.0.0.1:postgres", "127.0.0.1:postgres" }, keys)
      for _, point in ipairs(points) do
        assert.equal(point.key, "127.0.0.1:" .. (point.resource["postgresql.database.name"] or "postgres"))
      end
      assert.equal(0, run.failed_parts)
    end)

    it("have the receiver's names, units, kinds and types", function()
      local seen = {}
      for _, point in ipairs(points) do
        local metric = point.metric
        local expected = assert(EXPECTED[metric.name], metric.name)
        assert.same(expected, { metric.unit, kind_of(metric), point.point.asInt and "int" or "double" })
        if metric.sum then assert.equal(2, metric.sum.aggregationTemporality) end
        assert.is_string(metric.description)
        assert.equal(SCOPE, point.scope.name)
        seen[metric.name] = true
      end
      for name in pairs(EXPECTED) do
        local of_standby = name == "postgresql.replication.data_delay" or name == "postgresql.wal.lag"
        assert.equal(not of_standby or nil, seen[name], name)
      end
    end)

    it("have the contract's resources", function()
      local host = sys.hostname()
      for _, point in ipairs(points) do
        local expected = {
          ["service.instance.id"] = host .. ":" .. server.port, ["service.name"] = "postgresql",
          ["deployment.environment"] = "development", ["host.name"] = host, ["db.system"] = "postgresql",
          ["server.address"] = "127.0.0.1", ["server.port"] = server.port,
        }
        if not OF_SERVER[point.metric.name:match "^postgresql%.(%w+%.?%w*)"] then
          local database = point.key:match ":(.*)"
          expected["db.name"], expected["postgresql.database.name"] = database, database
          expected["postgresql.table.name"] = point.resource["postgresql.table.name"]
          expected["postgresql.index.name"] = point.resource["postgresql.index.name"]
        end
        assert.same(expected, point.resource)
      end
    end)

    it("name the server by its configured host, or by this machine's name when it is local", function()
      local now = collect(server, { host = server.socket, name = "over-socket", databases = { "app" } })
      local resource = now[1].resource
      assert.equal("over-socket:postgres", now[1].key)
      assert.equal("over-socket", resource["server.address"])
      assert.equal(sys.hostname(), resource["host.name"])
      assert.equal(sys.hostname() .. ":" .. server.port, resource["service.instance.id"])
      now = collect(server, { host = "db.example.org", hostaddr = "127.0.0.1", environment = "staging",
        databases = { "app" } })
      resource = now[1].resource
      assert.equal("db.example.org:postgres", now[1].key)
      assert.equal("db.example.org", resource["host.name"])
      assert.equal("db.example.org:" .. server.port, resource["service.instance.id"])
      assert.equal("staging", resource["deployment.environment"])
    end)

    it("agree with the statistics of each table", function()
      local users = of_table(server, points, "users")
      assert.is_true(users.n_tup_upd == 100 and users.vacuum_count == 1 and users.idx_hit > 0)
      of_table(server, points, "orders")
      of_table(server, points, "products")
      local big = of_table(server, points, "big")
      assert.is_true(big.toast_hit > 0 and big.tidx_hit > 0)
      assert.equal("4", value(points, "postgresql.table.count", { ["db.name"] = "app" }))
      assert.equal("0", value(points, "postgresql.table.count", { ["db.name"] = "postgres" }))
    end)

    it("agree with the statistics of each index", function()
      local names = server:psql("select string_agg(indexrelname, ' ') from pg_stat_user_indexes", "app")
      local count = 0
      for name in names:gmatch "%S+" do
        local row = direct(server, ([[select relname, idx_scan, pg_relation_size(indexrelid) as size
          from pg_stat_user_indexes where indexrelname = '%s']]):format(name), "app")
        local resource = { ["postgresql.index.name"] = name, ["postgresql.table.name"] = row.relname }
        assert.equal(("%d"):format(row.idx_scan), value(points, "postgresql.index.scans", resource))
        assert.equal(("%d"):format(row.size), value(points, "postgresql.index.size", resource))
        count = count + 1
      end
      assert.equal(count, #select_points(points, "postgresql.index.size"))
      assert.is_true(count >= 5)
    end)

    it("agree with the statistics of each database", function()
      for _, database in ipairs { "app", "postgres" } do
        local before = direct(server, ("select * from pg_stat_database where datname = '%s'"):format(database))
        local now = collect(server)
        local resource = { ["db.name"] = database, ["postgresql.database.name"] = database }
        local after = eventually(function()
          local sql = "select *, pg_database_size(datid) as size from pg_stat_database where datname = '%s'"
          local row = direct(server, sql:format(database))
          return row.xact_commit >= tonumber(value(now, "postgresql.commits", resource)) and row
        end)
        assert.is_true(before.xact_commit <= tonumber(value(now, "postgresql.commits", resource)))
        assert.equal(("%d"):format(after.xact_rollback), value(now, "postgresql.rollbacks", resource))
        assert.equal(("%d"):format(after.size), value(now, "postgresql.db_size", resource))
      end
      assert.equal("2", value(points, "postgresql.database.count"))
    end)

    it("count the sessions of others, not ours", function()
      local app = { ["db.name"] = "app" }
      assert.same({}, select_points(collect(server), "postgresql.backends", app))
      local sessions = {}
      for i = 1, 3 do sessions[i] = assert(postgres.connect(server:parameters { dbname = "app" })) end
      assert(sessions[1]:query "select 1")
      local scraper = scraper_of(server)
      for _ = 1, 2 do
        assert.equal("3", value(assert(scraper.collect()), "postgresql.backends", app))
      end
      scraper.close()
      for _, session in ipairs(sessions) do session:close() end
    end)

    it("agree with the statistics of the server", function()
      server:psql "checkpoint"
      local row
      local now = eventually(function()
        local checkpointer = major >= 17 and ", pg_stat_checkpointer" or ""
        local sql = "select * from pg_stat_bgwriter" .. checkpointer
        row = direct(server, sql)
        local found = collect(server)
        return json.encode(direct(server, sql)) == json.encode(row) and found
      end)
      local columns = major >= 17
        and { "num_timed", "num_requested", "write_time", "sync_time", "buffers_written" }
        or { "checkpoints_timed", "checkpoints_req", "checkpoint_write_time", "checkpoint_sync_time",
          "buffers_checkpoint" }
      local function is(expected, metric, attributes)
        assert.equal(expected, tonumber(value(now, metric, nil, attributes)), metric)
      end
      is(row[columns[1]], "postgresql.bgwriter.checkpoint.count", "type=scheduled")
      is(row[columns[2]], "postgresql.bgwriter.checkpoint.count", "type=requested")
      is(row[columns[3]], "postgresql.bgwriter.duration", "type=write")
      is(row[columns[4]], "postgresql.bgwriter.duration", "type=sync")
      is(row[columns[5]], "postgresql.bgwriter.buffers.writes", "source=checkpoints")
      is(row.buffers_clean, "postgresql.bgwriter.buffers.writes", "source=bgwriter")
      is(row.buffers_alloc, "postgresql.bgwriter.buffers.allocated")
      is(row.maxwritten_clean, "postgresql.bgwriter.maxwritten")
      is(tonumber((server:psql "show max_connections")), "postgresql.connection.max")
      assert.is_true(row[columns[2]] > 0)
      if major >= 17 then
        assert.equal(2, #select_points(now, "postgresql.bgwriter.buffers.writes"))
      else
        is(row.buffers_backend, "postgresql.bgwriter.buffers.writes", "source=backend")
        is(row.buffers_backend_fsync, "postgresql.bgwriter.buffers.writes", "source=backend_fsync")
      end
    end)

    it("tell how long ago a WAL file was archived", function()
      local sql = [[select trunc(extract(epoch from current_timestamp - last_archived_time)) as age
        from pg_stat_archiver]]
      local before = direct(server, sql).age
      local age = tonumber(value(collect(server), "postgresql.wal.age"))
      assert.is_true(before <= age and age <= direct(server, sql).age)
    end)

    it("start anew for exactly the counters that fell", function()
      local scraper = scraper_of(server)
      local first, second = assert(scraper.collect()), assert(scraper.collect())
      server:psql("select pg_stat_reset_single_table_counters('users'::regclass)", "app")
      assert.is_truthy(eventually(function()
        return server:psql("select n_tup_ins from pg_stat_user_tables where relname = 'users'", "app") == "0"
      end))
      local third = assert(scraper.collect())
      scraper.close()
      local begun, last_seen, moved = first[1].point.timeUnixNano, second[1].point.timeUnixNano, 0
      assert.not_equal(begun, last_seen)
      local users = { ["postgresql.table.name"] = "public.users" }
      for _, point in ipairs(third) do
        local expected = point.metric.sum and begun
        local of_users = point.resource["postgresql.table.name"] == "public.users"
        if of_users and kind_of(point.metric) == "counter" then
          local before = value(second, point.metric.name, users, point.attributes)
          if tonumber(point.value) < tonumber(before) then
            expected, moved = last_seen, moved + 1
          end
        end
        -- Sessions of psql that are about to end come and go.
        if point.metric.name ~= "postgresql.backends" then
          assert.equal(expected or nil, point.point.startTimeUnixNano, point.metric.name)
        end
      end
      assert.is_true(moved >= 4)
    end)

    it("tell apart the indexes of tables that differ in their schema only", function()
      server:psql([[create schema other; create table other.users (i int primary key)]], "app")
      local scraper = scraper_of(server, { databases = { "app" } })
      local first, second = assert(scraper.collect()), assert(scraper.collect())
      scraper.close()
      server:psql("drop schema other cascade", "app")
      local scans = select_points(second, "postgresql.index.scans", { ["postgresql.index.name"] = "users_pkey" })
      assert.equal(2, #scans)
      assert.not_equal(scans[1].value, scans[2].value)
      for _, point in ipairs(scans) do
        assert.equal(first[1].point.timeUnixNano, point.point.startTimeUnixNano)
      end
    end)

    it("leave out a relation that somebody has locked, and wait for nobody", function()
      local holder = assert(postgres.connect(server:parameters { dbname = "app" }))
      assert(holder:query "begin")
      assert(holder:query "lock table orders in access exclusive mode")
      local began = sys.monotonic()
      local now, _, locked_run = collect(server)
      assert.is_true(sys.monotonic() - began < 2)
      holder:close()
      assert.same({}, select_points(now, "postgresql.rows", { ["postgresql.table.name"] = "public.orders" }))
      assert.equal(2, #select_points(now, "postgresql.rows", { ["postgresql.table.name"] = "public.users" }))
      assert.equal("4", value(now, "postgresql.table.count", { ["db.name"] = "app" }))
      assert.equal(0, locked_run.failed_parts)
      assert.same({ ["locked relations in database app are left out"] = "orders" }, locked_run.told)
    end)

    it("name odd relations and databases as they are", function()
      local name = [[a"b.c d
e 'x' 😀]]
      local quoted = '"' .. name:gsub('"', '""') .. '"'
      server:psql("create database " .. quoted)
      server:psql(("create schema %s; create table %s.%s (i int primary key)"):format(quoted, quoted, quoted), name)
      local now = collect(server, { databases = { name } })
      server:psql("drop database " .. quoted)
      local resource = { ["db.name"] = name, ["postgresql.table.name"] = name .. "." .. name }
      assert.equal("0", value(now, "postgresql.rows", resource, "state=live"))
      assert.equal("1", value(now, "postgresql.database.count"))
      assert.equal("127.0.0.1:" .. name, select_points(now, "postgresql.db_size")[1].key)
    end)

    it("are valid UTF-8 also where the server's names are not", function()
      server:psql "create database raw encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template template0"
      server:psql([[do $$ begin execute format('create table %I (i int)', 'caf' || chr(233)); end $$]], "raw")
      local now, _, raw_run = collect(server, { databases = { "raw" } })
      server:psql "drop database raw"
      assert.equal(2, #select_points(now, "postgresql.rows", { ["postgresql.table.name"] = "public.caf\239\191\189" }))
      assert.equal(0, raw_run.failed_parts)
    end)

    it("are those of the databases that are wanted and can be had", function()
      server:psql "create database closed allow_connections false"
      server:psql "create database secret"
      server:psql "revoke connect on database secret from public"
      server:psql "create database pattern_one template template0"
      local function names(given)
        local found = {}
        for _, point in ipairs(select_points(collect(server, given), "postgresql.db_size")) do
          found[#found + 1] = point.resource["db.name"]
        end
        table.sort(found)
        return found
      end
      assert.same({ "app", "pattern_one", "postgres" }, names())
      assert.same({ "pattern_one" }, names { databases = { "pattern*", "closed", "secret" } })
      assert.same({ "app" }, names { databases = { "a?p", "post*" }, exclude_databases = { "postgres" } })
      assert.same({ "app", "postgres" }, names { exclude_databases = { "*_one" } })
      assert.same({}, names { databases = { "a_p", "a%", "'", "!app", "pattern!_one", "a\\pp" } })
      for _, name in ipairs { "closed", "secret", "pattern_one" } do server:psql("drop database " .. name) end
    end)

    it("fit into records of the size that the topic takes", function()
      local now, all = collect(server, nil, memory(2500))
      assert.is_true(#all > 5)
      for _, record in ipairs(all) do assert.is_true(#record.key + #record.value <= 2500) end
      for _, name in ipairs { "postgresql.blocks_read", "postgresql.index.size", "postgresql.bgwriter.duration" } do
        assert.equal(#select_points(points, name), #select_points(now, name))
      end
    end)
  end)
end

describe("the metrics of a standby", function()
  local primary, standby

  setup(function()
    primary = servers.postgres { name = "metrics-primary" }
    standby = servers.postgres { name = "metrics-standby", primary = primary }
  end)

  it("tell on the primary how far it is behind", function()
    local points = eventually(function()
      primary:psql("update products set stock = stock + 1", "app")
      local now = collect(primary)
      return #select_points(now, "postgresql.wal.lag") == 3 and now
    end)
    local client = primary:psql "select coalesce(client_addr::varchar, 'unix') from pg_stat_replication"
    local delay = tonumber(value(points, "postgresql.replication.data_delay", nil, "replication_client=" .. client))
    assert.is_true(delay >= 0)
    for _, operation in ipairs { "flush", "replay", "write" } do
      local attributes = ("operation=%s,replication_client=%s"):format(operation, client)
      local lag = value(points, "postgresql.wal.lag", nil, attributes)
      assert.is_true(tonumber(lag) >= 0 and tonumber(lag) < 60)
    end
  end)

  it("can be had on the standby itself", function()
    local points, _, run = collect(standby)
    assert.equal(0, run.failed_parts)
    local resource = { ["postgresql.table.name"] = "public.users" }
    local size = primary:psql("select pg_relation_size('users')", "app")
    assert.equal(size, value(points, "postgresql.table.size", resource))
  end)
end)

describe("a metrics collector", function()
  local server

  setup(function() server = servers.postgres { name = "metrics" , major = 15 } end)

  local function scrape(given)
    given.database_list = given.database_list or "select datname from pg_database where datname = 'app'"
    local scraper = support.scraper(metrics.collector(given), server:target())
    local points, records, run = scraper.collect()
    scraper.close()
    return points, records, run
  end

  it("takes metrics of one's own", function()
    local points = assert(scrape {
      definitions = { ["app.orders"] = { unit = "{order}", kind = "gauge", description = "Orders" } },
      relations = { {
        name = "orders by status",
        from = "(select status, count(*) from pg_class, (values ('new')) v (status) group by 1) o",
        resource = { ["app.status"] = "status" }, attributes = { database = "current_database()" },
        points = { { "app.orders", "count", source = "spec" } },
      } },
    })
    local found = select_points(points, "app.orders", { ["app.status"] = "new" })
    assert.equal("source=spec,database=app", found[1].attributes)
    assert.is_true(tonumber(found[1].value) > 100)
  end)

  it("sends the rest when a part fails, and counts the part", function()
    local points, _, run = scrape {
      server = {
        { name = "broken", from = "no_such_view", points = { { "postgresql.bgwriter.maxwritten", "1" } } },
        { name = "well", points = { { "postgresql.connection.max", "100" } } },
      },
      relations = {
        { name = "forbidden", from = "users", points = { { "postgresql.rows", "id" } } },
        { name = "tables", from = "pg_stat_user_tables", points = { { "postgresql.rows", "1" } },
          count = "postgresql.table.count" },
      },
    }
    assert.equal(2, run.failed_parts)
    assert.equal("100", value(points, "postgresql.connection.max"))
    assert.is_true(#select_points(points, "postgresql.rows") >= 3)
    assert.equal(1, #select_points(points, "postgresql.table.count"))
  end)

  it("tells which values are no numbers, and sends the others", function()
    local points, _, run = scrape {
      server = { { name = "odd", points = { { "postgresql.connection.max", "'many'" },
        { "postgresql.bgwriter.maxwritten", "7.9" } } } },
      databases = { { name = "odd", database = "datname", from = "(values ('app')) v (datname)", attributes = {
        owner = "'me'" }, points = { { "postgresql.db_size", "'much'", kind = "x" },
        { "postgresql.commits", "9007199254740993", kind = "x" } } } },
      relations = { { name = "odd", resource = { ["postgresql.table.name"] = "'t'" }, points = {
        { "postgresql.rows", "'NaN'::numeric" }, { "postgresql.table.size", "9223372036854775808" },
        { "postgresql.index.scans", "-9223372036854775808" } } } },
    }
    assert.equal(3, run.failed_parts)
    assert.equal(3, #points)
    assert.equal("7", value(points, "postgresql.bgwriter.maxwritten"))
    assert.equal("9007199254740993", value(points, "postgresql.commits", nil, "kind=x,owner=me"))
    assert.equal("-9223372036854775808", value(points, "postgresql.index.scans"))
  end)

  it("sends what the server knows of a database that refuses us, and nothing of one that is gone", function()
    server:psql "create database closed allow_connections false"
    local points, _, run = scrape {
      database_list = "select unnest('{gone,closed,app}'::text[]) as datname",
      databases = { { name = "sizes", database = "datname",
        from = "(values ('gone', 7), ('closed', 8)) v (datname, size)",
        points = { { "postgresql.db_size", "size" } } } },
      relations = { { name = "tables", from = "pg_stat_user_tables", points = { { "postgresql.rows", "1" } },
        count = "postgresql.table.count" } },
    }
    server:psql "drop database closed"
    assert.equal(0, run.failed_parts)
    local told, why = next(run.told)
    assert.equal("database closed cannot be connected to: it is left out", told)
    assert.matches("55000", why)
    assert.is_nil(next(run.told, told))
    assert.equal("8", value(points, "postgresql.db_size"))
    assert.equal("closed", select_points(points, "postgresql.db_size")[1].resource["db.name"])
    assert.equal("app", select_points(points, "postgresql.table.count")[1].resource["db.name"])
    assert.equal(1, #select_points(points, "postgresql.table.count"))
  end)

  it("sends nothing half when the connection is lost", function()
    local points, _, run = scrape {
      databases = { { name = "sizes", database = "datname", from = "(values ('app', 7)) v (datname, size)",
        points = { { "postgresql.db_size", "size" } } } },
      relations = {
        { name = "tables", from = "pg_stat_user_tables", points = { { "postgresql.rows", "1" } },
          count = "postgresql.table.count" },
        { name = "deadly", from = "pg_terminate_backend(pg_backend_pid())", points = { { "postgresql.rows", "1" } } },
      },
    }
    assert.equal(1, run.failed_parts)
    assert.equal(1, #points)
    assert.equal("7", value(points, "postgresql.db_size", { ["db.name"] = "app" }))
  end)

  it("fails as a whole when there is no server, and sends nothing", function()
    local to = memory()
    local scraper = support.scraper(collector, server:target { port = 1, connect_timeout = "2s" }, to)
    local points, cause = scraper.collect()
    assert.is_nil(points)
    assert.matches("refused", cause)
    assert.same({}, to:take())
  end)

  it("works without pg_monitor, and says how to grant it", function()
    server:psql [[create role "Plain" login password 'plain']]
    local points, _, run = collect(server, { user = "Plain", password = "plain" })
    server:psql [[drop role "Plain"]]
    assert.equal(0, run.failed_parts)
    assert.same({ ["the role does not see everything: no replication lag"] =
      [[grant it as superuser: GRANT pg_monitor TO "Plain"]] }, run.told)
    assert.same({}, select(3, collect(server)).told)
    assert.equal(2, #select_points(points, "postgresql.rows", { ["postgresql.table.name"] = "public.users" }))
  end)

  it("is refused when its blocks are wrong, with the place and the nearest name", function()
    local function refused(block, pattern)
      local ok, cause = pcall(function()
        local made = metrics.collector { database_list = "select 'app' as datname", server = { block } }
        return made
      end)
      assert.is_false(ok)
      assert.matches(pattern, cause)
      assert.matches("metrics_spec.lua:%d+:", cause)
    end
    refused({ name = "a", points = { { "postgresql.commit", "1" } } }, "did you mean 'postgresql.commits'")
    refused({ name = "a", form = "x", points = { { "postgresql.commits", "1" } } },
      "unknown option 'form'; did you mean 'from'")
    refused({ name = "a", points = { { "postgresql.commits" } } }, "a point is")
    refused({ name = "a" }, "it has no points")
    local twice = { name = "a", points = { { "postgresql.commits", "1" } } }
    local _, cause = pcall(metrics.collector, { database_list = "select", server = { twice, twice } })
    assert.matches("two blocks of `server` are named 'a'", cause)
    refused({ points = { { "postgresql.commits", "1" } } }, "a block has no name")
  end)
end)
