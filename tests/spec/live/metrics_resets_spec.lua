-- Start times: they move for exactly the counters that began anew, and to a time that is true.
local collector = require "collectors.metrics"
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local support = require "support.metrics"

-- What a reset time of the server covers exactly: these start at it.
local function has_reset_time(point)
  return point.metric.name:find "%.bgwriter%." ~= nil
end

local function is_counter(point)
  return point.metric.sum ~= nil and point.metric.sum.isMonotonic == true
end

local function key_of(point)
  local about = point.resource
  return table.concat({ about["db.name"] or "", about["postgresql.table.name"] or "",
    about["postgresql.index.name"] or "", point.metric.name, point.attributes }, "|")
end

local function counters_of(points)
  local counters = {}
  for _, point in ipairs(points) do
    if is_counter(point) then counters[key_of(point)] = point end
  end
  return counters
end

-- Compares two scrapes in a row. Those whose counter fell start at the time of the first, all others as they did;
-- except where the server tells of a reset in between. Returns the keys of those that moved.
local function moved(before, after)
  local last_seen, now, keys = before[1].point.timeUnixNano, after[1].point.timeUnixNano, {}
  local old = counters_of(before)
  for key, point in pairs(counters_of(after)) do
    local earlier, start = old[key], point.point.startTimeUnixNano
    if earlier then
      local same = start == earlier.point.startTimeUnixNano
      if has_reset_time(point) and not same then
        assert.is_true(start >= last_seen and start <= now, key)
      elseif tonumber(point.value) < tonumber(earlier.value) then
        assert.equal(last_seen, start, key)
      else
        assert.is_true(same, key)
      end
      if not same then keys[#keys + 1] = key end
    end
  end
  return keys
end

local function count(keys, pattern)
  local n = 0
  for _, key in ipairs(keys) do
    if key:find(pattern) then n = n + 1 end
  end
  return n
end

-- All indexes of tables that are named alike have their own start, though their resources are the same.
local function of_index(points, name)
  return support.select(points, "postgresql.index.scans", { ["postgresql.index.name"] = name })
end

for _, major in ipairs { 13, 15, 18 } do
  describe("start times on PostgreSQL " .. major, function()
    local server, scraper, before

    setup(function()
      server = servers.postgres { major = major, name = "resets", "--set", "autovacuum=off" }
      server:psql("update users set name = name || '!' where id <= 100", "app")
      server:psql("update orders set quantity = 7 where user_id = 7", "app")
      server:psql "checkpoint"
    end)

    teardown(function() servers.drop(server) end)

    before_each(function()
      assert.is_truthy(support.settled(server, "app"))
      scraper = support.scraper(collector, server:target())
      assert(scraper.collect())
      before = assert(scraper.collect())
    end)

    after_each(function() scraper.close() end)

    local function of_the_server(points)
      local n = 0
      for _, point in ipairs(points) do
        if has_reset_time(point) then n = n + 1 end
      end
      return n
    end

    -- Scrapes until the server has counted, or can be connected to again. Right behind a crash only a part may come.
    local function scrape_when(holds)
      local after
      assert.is_truthy(support.eventually(function()
        local ok, yes = pcall(holds)
        if ok and yes then after = scraper.collect() end
        return after and #after > #before / 2 and of_the_server(after) == of_the_server(before)
      end))
      return after
    end

    it("stay while nothing is reset", function()
      assert.same({}, moved(before, assert(scraper.collect())))
    end)

    it("move for the counters of a table that was reset, no others", function()
      server:psql("select pg_stat_reset_single_table_counters('users'::regclass)", "app")
      local keys = moved(before, scrape_when(function()
        return server:psql("select n_tup_upd from pg_stat_user_tables where relname = 'users'", "app") == "0"
      end))
      assert.equal(#keys, count(keys, "^app|public%.users|"))
      assert.is_true(#keys >= 3)
    end)

    it("move for all that fell in a database that was reset, no other database's", function()
      server:psql("select pg_stat_reset()", "app")
      local keys = moved(before, scrape_when(function()
        return server:psql("select sum(n_tup_upd) from pg_stat_user_tables", "app") == "0"
      end))
      assert.equal(#keys, count(keys, "^app|"))
      assert.is_true(count(keys, "^app|public%.orders|") >= 2)
      assert.equal(1, count(keys, "^app|||postgresql%.commits|"))
    end)

    it("are the time of a reset that the server tells, for the counters that it covers", function()
      local last = server:psql "select stats_reset from pg_stat_bgwriter"
      server:psql "select pg_stat_reset_shared('bgwriter')"
      local keys = moved(before, scrape_when(function()
        return server:psql "select stats_reset from pg_stat_bgwriter" ~= last
      end))
      assert.equal(#keys, count(keys, "bgwriter"), table.concat(keys, "\n"))
      local writer = count(keys, "bgwriter%.maxwritten") + count(keys, "bgwriter%.buffers%.allocated")
      assert.equal(2, writer)
      -- From 17 on the checkpointer's counters are another view's, with its own time.
      assert.equal(major >= 17 and 0 or 2, count(keys, "bgwriter%.checkpoint%.count"))
    end)

    it("stay over a clean restart, which keeps every counter", function()
      server:restart()
      assert.same({}, moved(before, scrape_when(function() return server:psql "select 1" == "1" end)))
    end)

    it("move after a crash, which loses every counter", function()
      server:psql("update users set name = name || '?' where id <= 100", "app")
      assert.is_truthy(support.settled(server, "app"))
      before = assert(scraper.collect())
      local victim = assert(postgres.connect(server:parameters()))
      local pid = assert(victim:query "select pg_backend_pid() as pid")[1].pid
      assert.equal("", (servers.shell("kill -9 " .. pid)))
      local keys = moved(before, scrape_when(function()
        return server:psql("select sum(n_tup_upd) from pg_stat_user_tables", "app") == "0"
      end))
      victim:close()
      assert.is_true(count(keys, "^app|public%.users|") >= 2)
      assert.equal(1, count(keys, "^app|||postgresql%.commits|"))
      assert.is_true(count(keys, "bgwriter") >= 8)
    end)

    it("are told apart for indexes of tables that differ in their schema only", function()
      server:psql([[create schema other; create table other.users (i int primary key);
        select count(*) from users where id = 1]], "app")
      assert.is_truthy(support.settled(server, "app"))
      local first, second = assert(scraper.collect()), assert(scraper.collect())
      server:psql("drop schema other cascade", "app")
      assert.equal(2, #of_index(second, "users_pkey"))
      for i, point in ipairs(of_index(second, "users_pkey")) do
        assert.equal(of_index(first, "users_pkey")[i].point.startTimeUnixNano, point.point.startTimeUnixNano)
      end
    end)
  end)
end
