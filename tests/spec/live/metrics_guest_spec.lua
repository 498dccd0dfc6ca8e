-- The metrics collector as a guest: locks, databases that change or refuse it meanwhile, hang, or are slow.
local default = require "collectors.metrics"
local guest = require "dbobs.guest"
local metrics = require "dbobs.metrics"
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local support = require "support.metrics"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local select_points, value = support.select, support.value

describe("the metrics collector as a guest", function()
  local server, admin, scrapers

  setup(function()
    server = servers.postgres { name = "guest" }
  end)

  before_each(function()
    admin, scrapers = assert(postgres.connect(server:parameters())), {}
  end)

  after_each(function()
    for _, scraper in ipairs(scrapers) do scraper.close() end
    for _, name in ipairs { "d1", "d2", "d3", "d4", "d5", "d6", "renamed", "copy" } do
      assert(admin:query(("drop database if exists %s with (force)"):format(name)))
    end
    admin:close()
  end)

  local function scraper_of(collector, given)
    local scraper = support.scraper(collector, server:target(given))
    scrapers[#scrapers + 1] = scraper
    return scraper
  end

  local function create(...)
    for _, name in ipairs { ... } do assert(admin:query("create database " .. name .. " template template0")) end
  end

  local function connect(database)
    return assert(postgres.connect(server:parameters { dbname = database }))
  end

  -- A block that asks each database for one point, and takes `seconds` in one of them.
  local function slow_in(database, seconds)
    return metrics.collector {
      database_list = "select datname from pg_database where datname like 'd_' order by 1",
      relations = { {
        name = "slow",
        from = ("pg_sleep(case current_database() when '%s' then %g else 0 end)"):format(database, seconds),
        points = { { "postgresql.rows", "1" } },
      } },
    }
  end

  it("reads the catalogs by their indexes, in order, whatever their size was when the plan was made", function()
    create "d1"
    local scraper, checked = scraper_of(default, { databases = { "d1" } }), 0
    local _, _, current = assert(scraper.collect())
    local db = connect "d1"
    for _, sql in ipairs(current.sent) do
      if sql:find("pg_index", 1, true) then
        local plan = {}
        local failures = assert(guest.snapshot(db, { {
          name = "plan", sql = "explain " .. sql, args = { "{}", 0 },
          each = function(chunk)
            for _, row in ipairs(chunk:rows()) do plan[#plan + 1] = row["QUERY PLAN"] end
          end,
        } }))
        assert.same({}, failures)
        plan = table.concat(plan, "\n")
        assert.matches("Index Scan using pg_index_%w+_index on pg_index", plan)
        assert.not_matches("Seq Scan on pg_index", plan)
        assert.not_matches("Seq Scan on pg_class", plan)
        assert.not_matches("Sort", plan)
        checked = checked + 1
      end
    end
    db:close()
    assert.equal(2, checked)
  end)

  it("stands in nobody's way: DROP DATABASE, RENAME and template copies succeed under constant scraping", function()
    local scraper, ended, runs = scraper_of(default), false, 0
    local scraping = task.spawn(function()
      while not ended do
        local points, cause, run = scraper.collect()
        assert(points, cause)
        assert.equal(0, run.failed_parts, table.concat({ next(run.told) }, ": "))
        runs = runs + 1
        timer.sleep "500ms"
      end
    end)
    local ok, cause = pcall(function()
      for _ = 1, 3 do
        create "d1"
        local before = runs
        repeat timer.sleep "50ms" until runs > before + 1 or task.status(scraping) ~= "running"
        assert(admin:query "create database copy template d1")
        assert(admin:query "alter database d1 rename to renamed")
        assert(admin:query "drop database renamed")
        assert(admin:query "drop database copy")
      end
    end)
    ended = true
    assert.is_true((task.join(scraping)))
    assert(ok, cause)
  end)

  it("leaves out what is locked after the look at the locks, goes on behind the last row, and counts it", function()
    create "d1"
    local holder = connect "d1"
    assert(holder:query [[do $$ begin for i in 1..700 loop execute format('create table t%s (i int)', i); end loop;
      end $$]])
    local scraper = scraper_of(default, { databases = { "d1" } })
    local times = 0
    function scraper.before(_, database)
      if database ~= "d1" then return end
      times = times + 1
      -- Before the statements, and once more before the first retry.
      if times == 1 then assert(holder:query "begin; lock table t600, t650 in access exclusive mode") end
      if times == 3 then assert(holder:query "lock table t690 in access exclusive mode") end
    end
    local points, _, run = scraper.collect()
    holder:close()
    assert.equal(0, run.failed_parts)
    local seen, count = {}, 0
    for _, point in ipairs(select_points(points, "postgresql.table.size")) do
      local name = point.resource["postgresql.table.name"]
      assert.is_nil(seen[name], name)
      seen[name], count = true, count + 1
    end
    assert.equal(697, count)
    for _, name in ipairs { "t600", "t650", "t690" } do assert.is_nil(seen["public." .. name]) end
    assert.equal("697", value(points, "postgresql.table.count"))
    assert.equal(3, run.counted.locked_relations)
    assert.same({ ["locked relations in database d1 are left out"] = "t600, t650, t690" }, run.told)
    scraper.before = function() end
    points, _, run = scraper.collect()
    assert.equal(700, #select_points(points, "postgresql.table.size"))
    assert.same({}, run.told)
  end)

  it("does not queue behind somebody who waits for a lock himself", function()
    create "d1"
    local reader, writer = connect "d1", connect "d1"
    assert(writer:query "create table busy (i int); create table free (i int)")
    assert(reader:query "begin; select * from busy")
    local waiting = task.spawn(function() return writer:query "alter table busy add j int" end)
    local locked = "select 1 from pg_locks where not granted and mode = 'AccessExclusiveLock'"
    repeat timer.sleep "20ms" until #assert(admin:query(locked)) > 0
    local points, _, run = scraper_of(default, { databases = { "d1" } }).collect()
    assert(reader:query "rollback")
    task.join(waiting)
    reader:close()
    writer:close()
    assert.equal(0, run.failed_parts)
    assert.equal(1, #select_points(points, "postgresql.table.size"))
    assert.equal(1, run.counted.locked_relations)
  end)

  it("sends a shared statement again that met a lock, and tells when that does not help", function()
    local holder = connect "app"
    assert(admin:query "create table if not exists shared_lock (i int); grant select on shared_lock to public")
    local scraper = scraper_of(metrics.collector {
      database_list = "select 'app' as datname",
      server = {
        { name = "blocked", from = "(select count(*) as n from shared_lock) s",
          points = { { "postgresql.bgwriter.maxwritten", "n" } } },
        { name = "free", points = { { "postgresql.connection.max", "7" } } },
      },
    })
    local locker = connect "postgres"
    assert(locker:query "begin; lock table shared_lock in access exclusive mode")
    local points, _, run = scraper.collect()
    assert.equal(1, run.failed_parts)
    assert.matches("55P03", run.told.blocked)
    assert.equal("7", value(points, "postgresql.connection.max"))
    -- It goes before the second attempt.
    local times = 0
    function scraper.before(_, database)
      times = times + (database and 0 or 1)
      if times == 2 then assert(locker:query "rollback") end
    end
    points, _, run = scraper.collect()
    assert.equal(2, times)
    assert.equal(0, run.failed_parts)
    assert.equal("0", value(points, "postgresql.bgwriter.maxwritten"))
    assert.equal("7", value(points, "postgresql.connection.max"))
    assert(admin:query "drop table shared_lock")
    locker:close()
    holder:close()
  end)

  it("takes databases that refuse it, or are gone, between the list and the connection for no failure", function()
    create("d1", "d2", "d3", "d4", "d5", "d6")
    local changes = {
      d1 = "drop database d1", d2 = "alter database d2 rename to renamed", d3 = "alter database d3 connection limit 0",
      d4 = "revoke connect on database d4 from public", d5 = "alter database d5 allow_connections false",
    }
    local scraper = scraper_of(default, { databases = { "d?" }, connections = 0 })
    function scraper.before(_, database)
      if not changes[database] then return end
      local owner = connect "postgres"
      assert(owner:query(changes[database]))
      owner:close()
      changes[database] = nil
    end
    local points, _, run = scraper.collect()
    assert.is_nil(next(changes))
    assert.equal(0, run.failed_parts)
    for name, sqlstate in pairs { d3 = "53300", d4 = "42501", d5 = "55000" } do
      assert.matches(sqlstate, run.told[("database %s cannot be connected to: it is left out"):format(name)])
      run.told[("database %s cannot be connected to: it is left out"):format(name)] = nil
    end
    assert.same({}, run.told)
    local counted = select_points(points, "postgresql.table.count")
    assert.equal(1, #counted)
    assert.equal("d6", counted[1].resource["postgresql.database.name"])
    -- Those that are not listed any more are told of no more.
    _, _, run = scraper.collect()
    assert.equal(0, run.failed_parts)
  end)

  it("waits for a database that hangs no longer than it may, and asks it last from then on", function()
    create("d1", "d2", "d3", "d4", "d5", "d6")
    local scraper = scraper_of(slow_in("d2", 300))
    scraper.options.deadline = 12
    local order = {}
    for _ = 1, 2 do
      order = {}
      function scraper.before(_, database)
        if database then order[#order + 1] = database end
      end
      local points, _, run = scraper.collect()
      assert.equal(5, #select_points(points, "postgresql.rows"))
      assert.same({ "relations in database d2" }, { (next(run.told)) })
      assert.equal(1, run.failed_parts)
    end
    assert.equal("d2", order[#order])
    -- What hung was cancelled.
    local hanging = "select 1 from pg_stat_activity where datname = 'd2' and state = 'active'"
    repeat timer.sleep "50ms" until #assert(admin:query(hanging)) == 0
  end)

  it("lets other workers take over when many databases hang", function()
    create("d1", "d2", "d3", "d4", "d5", "d6")
    local collector = metrics.collector {
      database_list = "select datname from pg_database where datname like 'd_' order by 1",
      relations = { {
        name = "slow", from = "pg_sleep(case current_database() when 'd6' then 0 else 300 end)",
        points = { { "postgresql.rows", "1" } },
      } },
    }
    local scraper = scraper_of(collector)
    scraper.options.deadline = 12
    local points, _, run = scraper.collect()
    local found = select_points(points, "postgresql.rows")
    assert.equal(1, #found)
    assert.equal("d6", found[1].resource["postgresql.database.name"])
    assert.equal(5, run.failed_parts)
  end)

  it("ends what takes longer than statement_timeout, and sends the rest", function()
    create("d1", "d2")
    local scraper = scraper_of(slow_in("d1", 300), { statement_timeout = "300ms" })
    local points, _, run = scraper.collect()
    assert.equal(1, #select_points(points, "postgresql.rows"))
    assert.equal(1, run.failed_parts)
    assert.matches("57014", run.told["slow in database d1"])
  end)

  it("does not notice that its kept connections were ended between two collections", function()
    create("d1", "d2")
    local scraper = scraper_of(default, { databases = { "d?" }, application_name = "ended between" })
    for round = 1, 3 do
      local points, _, run = scraper.collect()
      assert.equal(0, run.failed_parts)
      assert.equal(2, #select_points(points, "postgresql.table.count"))
      local ended = admin:query [[select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'ended between']]
      assert.equal(3, #ended)
      -- Once they are seen to be gone by the loop, and once not.
      if round == 1 then timer.sleep "100ms" end
    end
  end)

  it("reports no session and no statement of its own", function()
    create "d1"
    local scraper = scraper_of(default, { databases = { "d1" } })
    for _ = 1, 3 do
      local points = scraper.collect()
      assert.same({}, select_points(points, "postgresql.backends", { ["postgresql.database.name"] = "d1" }))
    end
    local shown = assert(admin:query [[select query from pg_stat_activity
      where datname = 'd1' and backend_type = 'client backend']])
    assert.same({ { query = "/* dbobs */ commit" } }, { unpack(shown) })
  end)

  it("keeps as many connections as it may, the same ones from collection to collection", function()
    create("d1", "d2", "d3")
    local scraper = scraper_of(default, { databases = { "d?" }, connections = 2 })
    local function kept()
      local rows
      repeat
        rows = assert(admin:query "select pid from pg_stat_activity where datname like 'd_' order by pid")
      until #rows == 2
      return { rows[1].pid, rows[2].pid }
    end
    scraper.collect()
    local first = kept()
    scraper.collect()
    assert.same(first, kept())
  end)

  it("leaves no connection behind", function()
    create "d1"
    local scraper = scraper_of(default, { databases = { "d1" } })
    scraper.collect()
    scraper.close()
    local left = "select 1 from pg_stat_activity where usename = 'dbobs_monitor'"
    repeat timer.sleep "20ms" until #assert(admin:query(left)) == 0
  end)
end)
