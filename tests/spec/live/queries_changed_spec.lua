-- What the queries collector sends from collection to collection, on real servers of every version.
local cjson = require "cjson"
local collector = require "support.collector"
local pool = require "dbobs.pool"
local servers = require "support.servers"
local statements = require "support.statements"

local one_with, with = statements.one_with, statements.with

for _, major in ipairs { 13, 14, 15, 16, 17, 18 } do
  describe("changed statements of version " .. major, function()
    local server, current
    setup(function() server = servers.postgres { major = major, name = "queries" } end)
    before_each(function()
      server:psql "select pg_stat_statements_reset()"
      current = statements.start(server)
    end)
    after_each(function() pool.close(current.target) end)

    it("are sent, the others are not", function()
      server:psql "select 1 as steady"
      server:psql "select 1, 1 as moving"
      local all = collector.again(current)
      assert.equal(1, one_with(all, "moving").payload.calls)
      one_with(all, "steady")
      server:psql "select 2, 2 as moving"
      local changed = collector.again(current)
      assert.equal(2, one_with(changed, "moving").payload.calls)
      assert.equal(0, #with(changed, "steady"))
      assert.equal(0, #with(collector.again(current), "moving"))
    end)

    it("are sent all when it is time for that", function()
      server:psql "select 1 as steady"
      current.options.full_every = "0s"
      for _ = 1, 3 do one_with(collector.again(current), "steady") end
    end)

    it("wait for their texts when these are not due, and lose no call", function()
      current.options.text_every = "1h"
      collector.again(current)
      server:psql "select 1 as late"
      one_with(collector.again(current), "late") -- nothing was missing before
      server:psql "select 1, 1 as later"
      assert.equal(0, #with(collector.again(current), "later"))
      server:psql "select 1, 1 as later"
      assert.equal(0, #with(collector.again(current), "later"))
      current.state.text_due = 0
      local one = one_with(collector.again(current), "later")
      assert.equal(2, one.payload.calls)
      assert.is_true(one.payload.observed_since < one.timestamp)
    end)

    it("are the same as in the view, whichever read brought them", function()
      local function compare(records)
        local rows = cjson.decode(server:psql [[
          select json_agg(to_json(s)) from (select queryid::text, calls, rows, query, total_exec_time, min_exec_time,
            shared_blks_hit, wal_records, wal_bytes, userid::int, dbid::int from pg_stat_statements s
            where query like '%same%' and query not like '%pg_stat%') s]])
        local compared = 0
        for _, row in ipairs(rows) do
          local payload = one_with(records, row.query).payload
          for name, value in pairs(row) do
            local field = ({ total_exec_time = "total_time_ms", min_exec_time = "min_time_ms" })[name] or name
            assert.equal(value, payload[field], name)
            compared = compared + 1
          end
        end
        assert.equal(3 * 11, compared)
      end
      local function run_all()
        server:psql "select 1 as same"
        server:psql "select 1, 1 as same_two"
        server:psql("select count(*) as same_three from orders", "app")
      end
      run_all()
      local whole = with(collector.again(current), "same")
      compare(whole)
      run_all()
      local changed = with(collector.again(current), "same")
      compare(changed)
      for _, one in ipairs(changed) do
        local before = one_with(whole, one.payload.query).payload
        assert.equal(before.observed_since, one.payload.observed_since)
        assert.equal(2, one.payload.calls)
        for name in pairs(before) do assert.is_not_nil(one.payload[name], name) end
        for name in pairs(one.payload) do assert.is_not_nil(before[name], name) end
      end
    end)

    it("begin anew when they were evicted or reset and came back", function()
      for _ = 1, 5 do server:psql "select 1 as back" end
      local before = one_with(collector.again(current), "back").payload
      server:psql(("select pg_stat_statements_reset(0, 0, %s)"):format(before.queryid))
      server:psql "select 1 as back"
      local one = one_with(collector.again(current), "back")
      assert.equal(1, one.payload.calls)
      assert.equal(one.timestamp, one.payload.observed_since)
      assert.is_true(before.observed_since < one.payload.observed_since)
    end)

    it("carry when the statistics were reset and how many were evicted", function()
      server:psql "select 1 as before"
      local before = one_with(collector.again(current), "before").payload
      if major == 13 then
        assert.is_nil(before.stats_reset)
        return
      end
      assert.equal(0, before.dealloc)
      assert.equal(server:psql [[select to_char(stats_reset at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        from pg_stat_statements_info]], before.stats_reset)
      server:psql "select pg_stat_statements_reset()"
      for _ = 1, 3 do server:psql "select 1 as before" end
      local after = one_with(collector.again(current), "before")
      assert.is_true(after.payload.stats_reset > before.stats_reset)
      assert.equal(3, after.payload.calls)
      assert.equal(after.timestamp, after.payload.observed_since)
    end)

    it("are not ours", function()
      for _ = 1, 4 do
        for _, one in ipairs(collector.again(current)) do
          local everybodys = major >= 16 and one.payload.query:find "commit$" ~= nil
          assert.is_true(everybodys or not one.payload.query:find("dbobs", 1, true), one.payload.query)
        end
      end
    end)
  end)
end
