local collector = require "collectors.metrics"
local memory = require "dbobs.core.memory"
local metrics = require "dbobs.metrics"
local servers = require "support.servers"
local support = require "support.metrics"

local value, select_points = support.value, support.select

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

  it("sends no point for NULL", function()
    local null = "null::bigint"
    local points, _, run = scrape {
      server = { { name = "a", points = { { "postgresql.connection.max", null }, { "postgresql.wal.age", "7" } } } },
      databases = { { name = "b", database = "v.name", from = "(values ('app'), (null)) v (name)", points = {
        { "postgresql.db_size", null }, { "postgresql.commits", "8" } } } },
      relations = { { name = "c", identity = "1", points = { { "postgresql.rows", null } } } },
    }
    assert.equal(0, run.failed_parts)
    assert.equal(2, #points)
    assert.equal("7", value(points, "postgresql.wal.age"))
    assert.equal("8", value(points, "postgresql.commits"))
  end)

  it("sends every metric that can be had without pg_monitor", function()
    server:psql "create role plain login password 'plain'"
    local all = { metrics = support.all() }
    local points, _, run = support.collect(collector, server:target { user = "plain", password = "plain" }, all)
    local expected = support.collect(collector, server:target(), all)
    server:psql "drop role plain"
    assert.equal(0, run.failed_parts)
    assert.matches("GRANT pg_monitor TO plain", run.told["the role does not see everything: no replication lag"])
    local function kinds(list)
      local seen = {}
      for _, point in ipairs(list) do seen[point.metric.name] = true end
      return seen
    end
    assert.same(kinds(expected), kinds(points))
  end)

  it("takes definitions that are off until they are switched on", function()
    local given = {
      database_list = "select datname from pg_database where datname = 'app'",
      definitions = { ["app.orders"] = { kind = "gauge", enabled = false, type = "double", unit = "{order}" } },
      server = { { name = "orders", points = { { "app.orders", "1.5" } } } },
    }
    local made = metrics.collector(given)
    assert.same({}, support.collect(made, server:target()))
    local points = support.collect(made, server:target(), { metrics = { ["app.orders"] = true } })
    assert.equal(1.5, value(points, "app.orders"))
    assert.matches("did you mean 'app.orders'", made.problem { metrics = { ["app.order"] = true } })
  end)

  it("adds up functions that even the names of their arguments do not tell apart", function()
    server:psql([[create function alike(i int) returns int language plpgsql as 'begin return 1; end';
      create function alike(i text) returns int language plpgsql as 'begin return 1; end']], "app")
    server:psql("set track_functions = 'all'; select alike(1), alike(2), alike('x')", "app")
    assert.is_truthy(support.settled(server, "app"))
    local points = support.collect(collector, server:target(), { metrics = { ["postgresql.function.calls"] = true } })
    server:psql("drop function alike(int), alike(text)", "app")
    assert.equal("3", value(points, "postgresql.function.calls", nil, "function=alike_i"))
  end)

  it("works without pg_monitor, and says how to grant it", function()
    server:psql [[create role "Plain" login password 'plain']]
    local points, _, run = support.collect(collector, server:target { user = "Plain", password = "plain" })
    server:psql [[drop role "Plain"]]
    assert.equal(0, run.failed_parts)
    assert.same({ ["the role does not see everything: no replication lag"] =
      [[grant it as superuser: GRANT pg_monitor TO "Plain"]] }, run.told)
    assert.same({}, select(3, support.collect(collector, server:target())).told)
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
      assert.matches("metrics_collector_spec.lua:%d+:", cause)
    end
    refused({ name = "a", points = { { "postgresql.commit", "1" } } }, "did you mean 'postgresql.commits'")
    refused({ name = "a", form = "x", points = { { "postgresql.commits", "1" } } },
      "unknown option 'form'; did you mean 'from'")
    refused({ name = "a", points = { { "postgresql.commits" } } }, "a point is")
    refused({ name = "a" }, "it has no points")
    local function wrong(given, pattern)
      given.database_list = given.database_list or "select 'app' as datname"
      local ok, cause = pcall(metrics.collector, given)
      assert.is_false(ok)
      assert.matches(pattern, cause)
    end
    wrong({ definitions = { ["my.own"] = { kind = "histogram" } } }, "option 'kind' must be one of gauge, sum, counter")
    wrong({ definitions = { ["my.own"] = { units = "x" } } }, "unknown option 'units'; did you mean 'unit'")
    wrong({ databases = { { name = "a", points = { { "postgresql.commits", "1" } } } } }, "`database` is missing")
    local twice = { name = "a", points = { { "postgresql.commits", "1" } } }
    local _, cause = pcall(metrics.collector, { database_list = "select", server = { twice, twice } })
    assert.matches("two blocks of `server` are named 'a'", cause)
    refused({ points = { { "postgresql.commits", "1" } } }, "a block has no name")
  end)
end)
