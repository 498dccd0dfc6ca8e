-- What a pipeline can choose: which metrics are sent, and in which model.
local catalogue = require "dbobs.metrics_catalogue"
local collect = require "dbobs.collect"
local collector = require "collectors.metrics"
local servers = require "support.servers"
local sink = require "dbobs.sink"
local support = require "support.metrics"
local sys = require "dbobs.core.sys"

local select_points, value = support.select, support.value

local TABLE, INDEX, SCHEMA = "postgresql.table.name", "postgresql.index.name", "postgresql.schema.name"

-- The option `metrics` with nothing on but these.
local function only(...)
  local chosen = {}
  for name in pairs(catalogue) do chosen[name] = false end
  for _, name in ipairs { ... } do chosen[name] = true end
  return chosen
end

local function names_of(points)
  local seen, names = {}, {}
  for _, point in ipairs(points) do
    if not seen[point.metric.name] then names[#names + 1] = point.metric.name end
    seen[point.metric.name] = true
  end
  table.sort(names)
  return names
end

describe("the metrics of the receiver", function()
  local server

  setup(function()
    server = servers.postgres { major = 15, name = "models", "--set", "autovacuum=off" }
    server:psql([[create schema other; create table other.users (i int primary key);
      create function other.f() returns int language plpgsql as 'begin return 1; end']], "app")
    server:psql("set track_functions = 'all'; select other.f()", "app")
    assert.is_truthy(support.settled(server, "app"))
  end)

  -- The statements that a scrape sends, and its points.
  local function statements_of(chosen)
    local points, _, run = support.collect(collector, server:target(), chosen)
    return run.sent, points
  end

  -- The first statement with the pattern.
  local function any(sent, pattern)
    for _, sql in ipairs(sent) do
      if sql:find(pattern) then return sql end
    end
  end

  it("are sent by their defaults, or as they are switched", function()
    local on = {}
    for name, metric in pairs(catalogue) do
      local of_others = name:find "%.wal%." or name:find "replication" or name == "postgresql.backends"
      if metric.enabled ~= false and not of_others then on[#on + 1] = name end
    end
    table.sort(on)
    assert.same(on, names_of(support.collect(collector, server:target())))
    assert.equal(18, #on) -- the other four of 22 need sessions, a standby or an archive
    local chosen = { metrics = { ["postgresql.deadlocks"] = true, ["postgresql.rows"] = false } }
    local names = {}
    for _, name in ipairs(names_of(support.collect(collector, server:target(), chosen))) do names[name] = true end
    assert.is_true(names["postgresql.deadlocks"])
    assert.is_nil(names["postgresql.rows"])
    assert.is_true(names["postgresql.operations"])
  end)

  it("cost no query and no column when they are off", function()
    local sent, points = statements_of { metrics = only "postgresql.commits" }
    assert.same({ "postgresql.commits" }, names_of(points))
    for _, pattern in ipairs { "pg_relation_size", "pg_database_size", "pg_stat_get", "pg_stat_bgwriter",
      "pg_stat_activity", "pg_stat_replication", "pg_stat_archiver", "pg_locks", "pg_class", "xact_rollback" } do
      assert.is_nil(any(sent, pattern), pattern)
    end
    assert.is_string(any(sent, "xact_commit"))
    sent, points = statements_of { metrics = only() }
    assert.same({}, points)
    assert.is_true(#sent <= 3) -- about the server, and its databases
  end)

  it("let the server count the tables when nothing else is wanted of them", function()
    local sent, points = statements_of { metrics = only "postgresql.table.count" }
    local count = any(sent, "^select count%(%*%)")
    assert.is_nil(any(sent, "pg_stat_get_dead_tuples"))
    assert.equal(server:psql("select count(*) from pg_stat_user_tables", "app"),
      value(points, "postgresql.table.count", { ["db.name"] = "app" }))
    -- The joins that only other metrics need are no part of the plan.
    assert.not_matches("pg_index", server:psql("explain " .. count, "app"))
  end)

  it("are refused by a wrong name, a wrong value or two models at once, at the caller's line", function()
    local function refused(chosen, pattern)
      chosen.to = sink.discard()
      local ok, cause = pcall(function()
        collect.collect(collector, server:target(), chosen)
        return true
      end)
      assert.is_false(ok)
      assert.matches(pattern, cause)
      assert.matches("metrics_models_spec.lua:%d+: collector 'metrics': ", cause)
    end
    refused({ metrics = { ["postgresql.deadlock"] = true } },
      "no metric 'postgresql.deadlock'; did you mean 'postgresql.deadlocks'%?")
    refused({ metrics = { ["postgresql.rows"] = "no" } }, "'postgresql.rows' must be true or false, got 'no'")
    refused({ metrics = { "postgresql.rows" } }, "maps names to true or false")
    refused({ metrics = "all" }, "option 'metrics' must be table")
    refused({ separate_schema_attr = true, use_otel_semconv = true }, "exclude each other")
    refused({ use_semconv = true }, "unknown option 'use_semconv'")
  end)

  it("tell the schema in an attribute of its own, if wanted", function()
    local points = support.collect(collector, server:target(), { separate_schema_attr = true,
      metrics = { ["postgresql.function.calls"] = true } })
    for _, schema in ipairs { "public", "other" } do
      local users = { [SCHEMA] = schema, [TABLE] = "users" }
      assert.equal(2, #select_points(points, "postgresql.rows", users))
      users[INDEX] = "users_pkey"
      assert.equal(1, #select_points(points, "postgresql.index.scans", users))
    end
    assert.equal("1", value(points, "postgresql.function.calls", { [SCHEMA] = "other" }, "function=f"))
    assert.is_nil(select_points(points, "postgresql.commits")[1].resource[SCHEMA])
  end)

  it("follow the semantic conventions, if wanted: one resource, and points that say what they are about", function()
    local chosen = { metrics = { ["postgresql.function.calls"] = true, ["postgresql.query.conflicts"] = true } }
    local legacy = support.collect(collector, server:target(), chosen)
    chosen.use_otel_semconv = true
    local points, records = support.collect(collector, server:target(), chosen)
    assert.equal(#legacy, #points)
    local resources = {}
    for _, point in ipairs(points) do
      assert.equal("127.0.0.1", point.resource["server.address"])
      assert.equal(server.port, point.resource["server.port"])
      assert.matches("^%x+%-%x+%-5%x+%-[89ab]%x+%-%x+$", point.resource["service.instance.id"])
      for _, name in ipairs { "db.name", "postgresql.database.name", SCHEMA, TABLE, INDEX } do
        assert.is_nil(point.resource[name])
      end
      resources[point.resource] = true
    end
    local count = 0
    for _ in pairs(resources) do count = count + 1 end
    assert.equal(#records, count)
    local function is(metric, attributes) assert.equal(1, #select_points(points, metric, nil, attributes), metric) end
    is("postgresql.rows", "state=live,db.collection.name=users,db.namespace=app|other")
    is("postgresql.rows", "state=live,db.collection.name=users,db.namespace=app|public")
    is("postgresql.index.size",
      "db.collection.name=users,db.namespace=app|other,postgresql.index.name=users_pkey")
    is("postgresql.function.calls", "db.namespace=app|other,function=f")
    is("postgresql.commits", "db.namespace=app")
    is("postgresql.table.count", "db.namespace=app")
    is("postgresql.query.conflicts", "postgresql.conflict.type=lock,db.namespace=app")
    is("postgresql.connection.max", "")
  end)

  it("name an instance by the UUID that the receiver gives it", function()
    local dns = "\107\167\184\16\157\173\17\209\128\180\0\192\79\212\48\200"
    assert.equal("886313e1-3b8a-5372-9b90-0c9aee199e5d", sys.uuid5(dns, "python.org"))
    assert.error_matches(function() sys.uuid5("short", "name") end, "16 bytes are expected")
    local id = require("dbobs.metrics_resource").attributes({ host_name = "db1.example", port_number = 5432,
      environment = "x", parameters = { host = "db1.example" } }, { service_name = "s", use_otel_semconv = true })
    local found = {}
    for _, pair in ipairs(id) do found[pair[1]] = pair[2] end
    assert.equal("ff0df156-5ee9-5fb4-bb79-36cf93100713", found["service.instance.id"])
    assert.equal("db1.example", found["server.address"])
  end)

  it("tell once which extension is missing and what to do, and send the rest", function()
    local on = { metrics = { ["postgresql.query.execution.time"] = true, ["postgresql.vector.insert.rows"] = true } }
    local scraper = support.scraper(collector, server:target { dbname = "app" }, nil, on)
    local points, _, run = scraper.collect()
    assert.equal(0, run.failed_parts)
    assert.same({}, select_points(points, "postgresql.query.execution.time"))
    assert.is_true(#points > 50)
    assert.same({
      ["time in statements: an extension is missing"] = "add pg_stat_statements to shared_preload_libraries, restart "
        .. "the server, and run in database app: CREATE EXTENSION pg_stat_statements",
      ["inserted vectors: no database has the extension vector"] =
        "where it is wanted, run in database ...: CREATE EXTENSION vector",
    }, run.told)
    server:psql("create extension pg_stat_statements", "app")
    scraper.collect() -- sees it
    points, _, run = scraper.collect()
    scraper.close()
    server:psql("drop extension pg_stat_statements", "app")
    assert.equal(2, #select_points(points, "postgresql.query.execution.time"))
    assert.is_nil(run.told["time in statements: an extension is missing"])
  end)

  it("find extensions in whatever schema they are", function()
    server:psql('alter extension pg_stat_statements set schema "information_schema"')
    local points, _, run = support.collect(collector, server:target(),
      { metrics = { ["postgresql.query.execution.time"] = true } })
    server:psql "alter extension pg_stat_statements set schema public"
    assert.equal(0, run.failed_parts)
    assert.equal(2, #select_points(points, "postgresql.query.execution.time"))
  end)
end)
