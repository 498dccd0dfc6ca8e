-- A pgbouncer between dbobs and the server: what works through it, and what it says where it does not.
local default = require "collectors.metrics"
local guest = require "dbobs.guest"
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local support = require "support.metrics"
local task = require "dbobs.task"

local function pooler_of(server, mode)
  return servers.pgbouncer { name = mode, "--server", server.port, "--set", "pool_mode=" .. mode,
    "--set", "default_pool_size=3" }
end

for _, mode in ipairs { "transaction", "session" } do
  describe("behind a pgbouncer with " .. mode .. " pooling", function()
    local server, pooler

    setup(function()
      server = servers.postgres { name = "pooled" }
      pooler = pooler_of(server, mode)
    end)

    it("metrics are those of a direct connection", function()
      local function scrape(from)
        local target = from:target { databases = { "app" }, host = "127.0.0.1", port = from.port, name = "same" }
        target.password, target.user = "monitor", "dbobs_monitor"
        local scraper = support.scraper(default, target)
        local points, run
        for _ = 1, 3 do
          local found, _, current = assert(scraper.collect())
          points, run = found, current
        end
        assert.equal(0, run.failed_parts)
        scraper.close()
        local names = {}
        for _, point in ipairs(points) do
          -- The pooler's own sessions are somebody's; a counter that has just begun may be missing.
          if point.metric.name ~= "postgresql.backends" then
            names[#names + 1] = point.key .. " " .. point.metric.name .. point.attributes
          end
        end
        table.sort(names)
        return names
      end
      local direct, pooled = scrape(server), scrape(pooler)
      assert.is_true(#direct > 50)
      assert.same(direct, pooled)
    end)

    it("nothing is prepared, and no setting stays behind", function()
      local tasks, pids = {}, {}
      for i = 1, 8 do
        tasks[i] = task.spawn(function()
          local db = assert(postgres.connect(pooler:target { dbname = "app" }))
          for _ = 1, 10 do
            assert.same({}, guest.snapshot(db, { { name = "n", sql = "select pg_backend_pid() as pid",
              each = function(chunk) pids[chunk:rows()[1].pid] = true end } }, { statement_timeout = "7s" }))
          end
          assert.is_false(db.direct)
          db:close()
        end)
      end
      for _, each in ipairs(tasks) do assert.is_true(task.join(each)) end
      local count = 0
      for _ in pairs(pids) do count = count + 1 end
      assert.is_true(count >= 1 and (mode == "session" or count <= 3), count)
      local db = assert(postgres.connect(pooler:target { dbname = "app" }))
      assert.equal(0, db:query("select count(*) as n from pg_prepared_statements")[1].n)
      assert.equal("0", db:query("select current_setting('statement_timeout') as v")[1].v)
      assert.equal("off", db:query("select current_setting('transaction_read_only') as v")[1].v)
      db:close()
    end)

    it("no connection to a single database is kept: the pooler keeps them", function()
      local scraper = support.scraper(default, pooler:target { databases = { "app" } })
      scraper.collect()
      local _, _, run = scraper.collect()
      assert.same({ 1, 0 }, { require("dbobs.pool").count(run.target) })
      scraper.close()
    end)
  end)
end

describe("a pgbouncer", function()
  local server

  setup(function() server = servers.postgres { name = "pooled" } end)

  it("whose console is taken for a database is told apart", function()
    local pooler = pooler_of(server, "transaction")
    local scraper = support.scraper(default, pooler:target { dbname = "pgbouncer" })
    local points, cause = scraper.collect()
    scraper.close()
    assert.is_nil(points)
    assert.matches("'pgbouncer' is pgbouncer's own console and no database", cause)
  end)

  it("with statement pooling says what to set where it refuses a transaction", function()
    local pooler = pooler_of(server, "statement")
    local db = assert(postgres.connect(pooler:target { dbname = "app" }))
    local ok, cause = db:query "begin"
    assert.is_nil(ok)
    assert.matches("pool_mode = transaction", cause)
    db:close()
  end)

  it("that does not know a database is no failure of the others", function()
    local pooler = servers.pgbouncer { name = "few", "--server", server.port, "--database", "postgres" }
    local scraper = support.scraper(default, pooler:target { databases = { "app", "postgres" } })
    local points, _, run = assert(scraper.collect())
    scraper.close()
    assert.equal(0, run.failed_parts)
    assert.matches("section %[databases%]", run.told["database app cannot be connected to: it is left out"])
    assert.is_true(#support.select(points, "postgresql.db_size") == 2)
  end)
end)
