local collector = require "collectors.metrics"
local memory = require "dbobs.core.memory"
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local support = require "support.metrics"
local sys = require "dbobs.core.sys"

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

for _, major in ipairs { 15, 18 } do
  describe("the metrics of PostgreSQL " .. major, function()
    local server, points, records, run

    setup(function()
      server = servers.postgres { major = major, name = "metrics", "--set", "archive_mode=on",
        "--set", "archive_command=true" }
      server:psql "select pg_switch_wal()"
      assert.is_truthy(support.eventually(function()
        return server:psql "select last_archived_time is not null from pg_stat_archiver" == "t"
      end))
      assert.is_truthy(support.settled(server, "app"))
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

    it("leave out a relation that somebody has locked, and wait for nobody", function()
      local holder = assert(postgres.connect(server:parameters { dbname = "app" }))
      assert(holder:query "begin")
      assert(holder:query "lock table orders in access exclusive mode")
      -- The lock is held until the collection has ended.
      local now, _, locked_run = collect(server)
      holder:close()
      assert.same({}, select_points(now, "postgresql.rows", { ["postgresql.table.name"] = "public.orders" }))
      assert.equal(2, #select_points(now, "postgresql.rows", { ["postgresql.table.name"] = "public.users" }))
      assert.equal("2", value(now, "postgresql.table.count", { ["db.name"] = "app" }))
      assert.equal(0, locked_run.failed_parts)
      assert.same({ ["locked relations in database app are left out"] = "orders" }, locked_run.told)
    end)

    it("name relations by all 63 bytes of their names", function()
      local longest = ("ä"):rep(31) .. "x"
      server:psql(('create table "%s" (i int primary key)'):format(longest), "app")
      local now = collect(server, { databases = { "app" } })
      server:psql(('drop table "%s"'):format(longest), "app")
      assert.equal(63, #longest)
      assert.equal("0", value(now, "postgresql.rows", { ["postgresql.table.name"] = "public." .. longest },
        "state=live"))
      -- PostgreSQL cuts the index's name between two characters.
      local index = select_points(now, "postgresql.index.size", { ["postgresql.table.name"] = longest })[1]
      assert.equal(("ä"):rep(29) .. "_pkey", index.resource["postgresql.index.name"])
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
