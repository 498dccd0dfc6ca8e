-- What the queries collector sends from collection to collection, on real servers of every version. Statements that
-- differ in names alone are one to the server: those of one spec differ in more.
local collector = require "support.collector"
local pool = require "dbobs.pool"
local queries = require "collectors.queries"
local servers = require "support.servers"

-- The records of statements whose text has `part` in it.
local function with(records, part)
  local found = {}
  for _, one in ipairs(records) do
    if one.payload.query:find(part, 1, true) then found[#found + 1] = one end
  end
  return found
end

local function one_with(records, part)
  local found = with(records, part)
  assert.equal(1, #found, part)
  return found[1]
end

-- A run that reads new texts at each collection.
local function start(server, options, more)
  local all = { text_every = "0s" }
  for name, value in pairs(options or {}) do all[name] = value end
  return collector.run(queries, server:target(more), all)
end

for _, major in ipairs { 13, 14, 15, 16, 17, 18 } do
  describe("changed statements of version " .. major, function()
    local server, current
    setup(function() server = servers.postgres { major = major, name = "queries" } end)
    before_each(function()
      server:psql "select pg_stat_statements_reset()"
      current = start(server)
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
      server:psql "select 1 as same"
      local whole = one_with(collector.again(current), "same").payload
      server:psql "select 1 as same"
      local changed = one_with(collector.again(current), "same").payload
      local calls, fields = 0, 0
      for name in pairs(whole) do
        fields = fields + 1
        assert.equal(type(whole[name]), type(changed[name]), name)
      end
      for name in pairs(changed) do assert.is_not_nil(whole[name], name) end
      calls = calls + changed.calls
      assert.equal(2, calls)
      assert.is_true(fields >= 33)
      assert.equal(whole.queryid, changed.queryid)
      assert.equal(whole.observed_since, changed.observed_since)
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
