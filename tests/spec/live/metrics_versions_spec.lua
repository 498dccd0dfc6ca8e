-- Every metric on every supported version, on a primary and on its standby, against what the server's own views say.
local collector = require "collectors.metrics"
local direct = require "support.direct"
local golden = require "support.golden"
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local support = require "support.metrics"

local VERSIONS = { 13, 14, 15, 16, 17, 18 }

-- These have a test of their own: of streaming replication, since they change by themselves, and of vectors, since no
-- view has them.
local OTHERS = {
  ["postgresql.replication.data_delay"] = true, ["postgresql.wal.lag"] = true, ["postgresql.wal.delay"] = true,
  ["postgresql.vector.insert.duration"] = true, ["postgresql.vector.insert.rows"] = true,
  ["postgresql.vector.search.calls"] = true, ["postgresql.vector.search.duration"] = true,
  ["postgresql.vector.search.rows_returned"] = true,
}

local SCHEMA = [[
  create extension pg_stat_statements;
  create table measures (id int, at date, v text) partition by range (at);
  create table measures_2026 partition of measures for values from ('2026-01-01') to ('2027-01-01');
  create index on measures (id);
  create materialized view totals as select status, count(*) from orders group by status;
  create unlogged table scratch (t text);
  create table big (t text);
  alter table big alter t set storage external;
  create schema other;
  create table other.users (i int primary key);
  create table other."Odd ""name"".
here" (i int);
  create function twice(i int) returns int language plpgsql as 'begin return 2 * i; end';
  create function twice(word text) returns text language plpgsql as 'begin return word || word; end';
  create function once(int) returns int language plpgsql as 'begin return $1; end';]]

-- What of pgvector the statistics know: an extension, a type and an operator of these names.
local PGVECTOR = [[
  set allow_system_table_mods = on;
  insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    select 99999, 'vector', 10, oid, false, '0.8.0' from pg_namespace where nspname = 'public';
  create type vector as (x float8);
  create table embeddings (id int, v vector);
  create function near(vector, vector) returns float8 language sql as 'select abs($1.x - $2.x)';
  create operator <=> (leftarg = vector, rightarg = vector, function = near)]]

local VECTORS = [[
  insert into embeddings select i, row(i)::vector from generate_series(1, 20) i;
  INSERT INTO "public"."embeddings" VALUES (99, row(1)::vector);
  copy embeddings (id) from program 'echo 7';
  insert into scratch values ('no vector');
  select id from embeddings order by v <=> row(1)::vector limit 5;
  select id from embeddings order by v <=> row(2)::vector limit 5;
  select count(*) as l2_distance from embeddings]]

local WORK = [[
  insert into big select repeat('x', 10000) from generate_series(1, 10);
  insert into measures select i, '2026-02-01', i from generate_series(1, 50) i;
  update users set name = name || '!' where id <= 100;
  delete from orders where id <= 10;
  vacuum users;
  refresh materialized view totals;
  select count(t) from big where t like '%y';
  select count(*) from users where email = 'user7@example.org';
  select twice(1), twice(2), twice('a'), once(1)]]

local function setup_primary(major)
  local primary = servers.postgres { major = major, name = "versions", "--set", "archive_mode=on",
    "--set", "archive_command=true", "--set", "autovacuum=off" }
  primary:psql "alter database app set track_functions = 'all'"
  primary:psql(SCHEMA, "app")
  primary:psql(PGVECTOR, "app")
  primary:psql("select pg_stat_statements_reset()", "app") -- of the operator's own text
  for statement in (WORK .. ";" .. VECTORS):gmatch "[^;]+" do primary:psql(statement, "app") end
  primary:psql "select pg_switch_wal()"
  assert.is_truthy(support.eventually(function()
    return primary:psql "select last_archived_time is not null from pg_stat_archiver" == "t"
  end))
  return primary
end

-- The standby has all that the primary has written.
local function caught_up(primary, standby)
  local position = primary:psql "select pg_current_wal_lsn()"
  return support.eventually(function()
    return standby:psql(("select pg_last_wal_replay_lsn() >= '%s'"):format(position)) == "t"
  end)
end

-- The collector's points as support.direct has them.
local function named(points)
  local found = {}
  for _, point in ipairs(points) do
    local about = point.resource
    if not OTHERS[point.metric.name] then
      local name = direct.name(about["db.name"], about["postgresql.table.name"], about["postgresql.index.name"],
        point.metric.name, support.ordered(point.attributes))
      found[name] = found[name] or {}
      table.insert(found[name], point.value)
    end
  end
  for _, values in pairs(found) do table.sort(values, function(a, b) return tonumber(a) < tonumber(b) end) end
  return found
end

-- Every value lies between what the views said before and after, and nothing is missing and nothing too much.
local function compare(server, points, before, after)
  local found, exact = named(points), 0
  for name, first in pairs(before) do
    local of_us, last = found[name], after[name]
    assert(of_us, server.major .. ": missing " .. name)
    assert.equal(#first, #of_us, name)
    for i, low in ipairs(first) do
      local high, got = last[i], of_us[i]
      if low == high and type(got) == "string" then
        assert.equal(tonumber(high), tonumber(got), server.major .. ": " .. name)
        exact = exact + 1
      end
      local well = tonumber(low) <= tonumber(got) + 1e-9 and tonumber(got) <= tonumber(high) + 1e-9
      assert(well, ("%s: %s is %s, not from %s to %s"):format(server.major, name, got, low, high))
    end
  end
  for name in pairs(found) do assert(after[name] or before[name], server.major .. ": too much: " .. name) end
  return exact
end

-- The sessions of psql, which end a moment after psql has: seen from a database that is not collected from.
local function psql_is_gone(server)
  local watcher = assert(postgres.connect(server:parameters { dbname = "template1" }))
  assert.is_truthy(support.eventually(function()
    return watcher:query("select count(*) as n from pg_stat_activity where application_name = 'psql'")[1].n == 0
  end))
  watcher:close()
end

local function check(server)
  assert.is_truthy(support.settled(server, "app"))
  local scraper = support.scraper(collector, server:target(), nil, { metrics = support.all() })
  local before = direct.points(server, { "app", "postgres" })
  psql_is_gone(server)
  local points, _, run = scraper.collect()
  scraper.close()
  local after = direct.points(server, { "app", "postgres" })
  assert(points, "nothing was collected")
  assert.equal(0, run.failed_parts)
  -- Most do not change while nobody works.
  assert.is_true(compare(server, points, before, after) > 150)
  return points
end

-- The scrape of the golden file: with locks that somebody holds, and a standby that has just confirmed something.
local function golden_scrape(primary)
  local holder = assert(postgres.connect(primary:parameters { dbname = "app" }))
  assert(holder:query "begin")
  assert(holder:query "lock table orders in share update exclusive mode")
  assert(holder:query "select pg_advisory_lock(7), pg_current_xact_id()")
  local scraper = support.scraper(collector, primary:target(), nil, { metrics = support.all() })
  local points
  assert.is_truthy(support.eventually(function()
    primary:psql("select pg_logical_emit_message(true, 'spec', 'something')", "app")
    points = assert(scraper.collect())
    return #support.select(points, "postgresql.wal.delay") == 3
  end))
  scraper.close()
  holder:close()
  return points
end

local function check_vectors(points)
  local function is(expected, metric, attributes)
    assert.equal(expected, support.value(points, "postgresql.vector." .. metric, { ["db.name"] = "app" }, attributes))
  end
  is("22", "insert.rows", "")
  is("2", "search.calls", "postgresql.distance.function.name=cosine")
  is("10", "search.rows_returned", "postgresql.distance.function.name=cosine")
  is("1", "search.calls", "postgresql.distance.function.name=l2")
  assert.equal(2, #support.select(points, "postgresql.vector.search.calls"))
  for _, metric in ipairs { "insert.duration", "search.duration" } do
    local point = support.select(points, "postgresql.vector." .. metric)[1]
    assert.is_true(point.value > 0 and point.value < 10)
  end
end

-- While replay is paused, the distance to the standby stands still.
local function check_replication(primary, standby)
  standby:psql "select pg_wal_replay_pause()"
  primary:psql("update products set stock = stock + 1", "app")
  local sql = "select pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) from pg_stat_replication"
  local points
  assert.is_truthy(support.eventually(function()
    local before = primary:psql(sql)
    local scraper = support.scraper(collector, primary:target(), nil, { metrics = support.all() })
    points = assert(scraper.collect())
    scraper.close()
    return tonumber(before) > 0 and before == primary:psql(sql)
      and support.value(points, "postgresql.replication.data_delay") == before
      and #support.select(points, "postgresql.wal.delay") >= 2
  end))
  local client = "replication_client=127.0.0.1/32"
  assert.equal(client, support.select(points, "postgresql.replication.data_delay")[1].attributes)
  for _, operation in ipairs { "write", "flush" } do
    local attributes = ("operation=%s,%s"):format(operation, client)
    local delay = tonumber(support.value(points, "postgresql.wal.delay", nil, attributes))
    assert.is_true(delay >= 0 and delay < 60)
    assert.is_true(math.abs(support.value(points, "postgresql.wal.lag", nil, attributes) - delay) <= 0.5)
  end
  standby:psql "select pg_wal_replay_resume()"
end

-- A query of the standby that vacuum on the primary takes the rows from.
local function make_conflict(primary, standby)
  local session = assert(postgres.connect(standby:parameters { dbname = "app" }))
  assert(session:query "begin isolation level repeatable read")
  assert(session:query "select count(*) from measures")
  primary:psql("delete from measures where id > 40", "app")
  primary:psql("vacuum measures_2026", "app")
  assert.is_truthy(support.eventually(function()
    return standby:psql("select confl_snapshot from pg_stat_database_conflicts where datname = 'app'") ~= "0"
  end))
  session:close()
end

for _, major in ipairs(VERSIONS) do
  describe("the metrics of PostgreSQL " .. major, function()
    local primary, standby

    setup(function()
      primary = setup_primary(major)
      standby = servers.postgres { major = major, name = "versions-standby", primary = primary,
        "--set", "max_standby_streaming_delay=0", "--set", "hot_standby_feedback=off" }
    end)

    teardown(function()
      servers.drop(standby)
      servers.drop(primary)
    end)

    it("are on the primary what its views say", function()
      local holder = assert(postgres.connect(primary:parameters { dbname = "app" }))
      assert(holder:query "begin")
      assert(holder:query "lock table orders in share update exclusive mode")
      assert(holder:query "select pg_advisory_lock(7), pg_current_xact_id()")
      local points = check(primary)
      holder:close()
      check_vectors(points)
      assert.equal("1", support.value(points, "postgresql.database.locks", { ["db.name"] = "app" },
        "lock_type=relation,mode=ShareUpdateExclusiveLock,relation=orders"))
      assert.equal("1", support.value(points, "postgresql.database.locks", { ["db.name"] = "app" },
        "lock_type=advisory,mode=ExclusiveLock,relation="))
      assert.equal("2", support.value(points, "postgresql.function.calls", nil, "function=twice_i"))
      assert.equal("1", support.value(points, "postgresql.function.calls", nil, "function=twice_word"))
      assert.equal("1", support.value(points, "postgresql.function.calls", nil, "function=once"))
      local partitioned = { ["postgresql.table.name"] = "public.measures" }
      assert.equal(major >= 14 and 2 or 0, #support.select(points, "postgresql.rows", partitioned))
      assert.same({}, support.select(points, "postgresql.blocks_read", partitioned))
    end)

    it("are as a file of tests/golden has them", function()
      golden.check(("metrics-%d.txt"):format(major), golden_scrape(primary))
    end)

    it("are on the standby what its views say", function()
      assert.is_truthy(caught_up(primary, standby))
      make_conflict(primary, standby)
      local points = check(standby)
      assert.equal("1", support.value(points, "postgresql.query.conflicts", { ["db.name"] = "app" },
        "postgresql.conflict.type=snapshot"))
      assert.same({}, support.select(points, "postgresql.replication.data_delay"))
    end)

    it("tell on the primary how far the standby is behind", function()
      check_replication(primary, standby)
    end)

    it("tell on a standby how far the standbys of its own are behind", function()
      local second = servers.postgres { major = major, name = "versions-second", primary = standby }
      local points
      assert.is_truthy(support.eventually(function()
        primary:psql("update products set stock = stock + 1", "app")
        points = support.collect(collector, standby:target())
        return #support.select(points, "postgresql.replication.data_delay") == 1
          and #support.select(points, "postgresql.wal.lag") == 3
      end))
      servers.drop(second)
      local delay = support.value(points, "postgresql.replication.data_delay", nil, "replication_client=127.0.0.1/32")
      assert.is_true(tonumber(delay) >= 0)
    end)
  end)
end
