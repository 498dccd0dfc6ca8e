-- lua/dbobs/activity.lua: what a pipeline may choose, and the SQL for each version.
local activity = require "dbobs.activity"
local collect = require "dbobs.collect"
local events = require "events"
local logs = require "collectors.logs"
local sessions = require "collectors.sessions"
local sink = require "dbobs.sink"

describe("the choice of events", function()
  local function problem(given) return activity.problem(events, given) end

  it("is of names with true, false or a duration", function()
    assert.is_nil(problem {})
    assert.is_nil(problem { long_transaction = "5m", blocked = true, idle_in_transaction = 60, deadlocks = false,
      xid_age = true, replication_slot = true, statements_reset = false })
    assert.equal("events: unknown option 'blokced'; did you mean 'blocked'?", problem { blokced = true })
    assert.equal("events: unknown option 'long_transactions'; did you mean 'long_transaction'?",
      problem { long_transactions = "5m" })
    assert.equal([[events: option 'long_transaction' must be true, false or a duration like "5m", got 'soon']],
      problem { long_transaction = "soon" })
    assert.equal([[events: option 'blocked' must be true, false or a duration like "5m", got table]],
      problem { blocked = {} })
    assert.equal("events: option 'xid_age' must be boolean, got '5m'", problem { xid_age = "5m" })
  end)

  it("is checked where the pipeline makes it", function()
    local target = { host = "127.0.0.1", port = 1, dbname = "postgres", user = "x" }
    local ok, cause = pcall(collect.collect, logs, target, { to = sink.discard(), events = { deadlock = false } })
    assert.is_false(ok)
    assert.matches("collector 'logs': events: unknown option 'deadlock'; did you mean 'deadlocks'?", cause, 1, true)
    ok, cause = pcall(collect.collect, logs, target, { to = sink.discard(), events = "blocked" })
    assert.is_false(ok)
    assert.matches("option 'events' must be table, got 'blocked'", cause, 1, true)
    ok, cause = pcall(collect.collect, sessions, target, { to = sink.discard(), every = 0 })
    assert.is_false(ok)
    assert.matches("option 'every' must be longer than 0", cause, 1, true)
  end)
end)

describe("the SQL of an event", function()
  it("has the lines of its version", function()
    local sql = "select a,\n b, -- since 14\n c -- before 17\n -- a comment since 2020 stays"
    assert.equal("select a,\n c\n -- a comment since 2020 stays", activity.sql_for(sql, 13))
    assert.equal("select a,\n b,\n c\n -- a comment since 2020 stays", activity.sql_for(sql, 14))
    assert.equal("select a,\n b,\n -- a comment since 2020 stays", activity.sql_for(sql, 17))
  end)

  it("counts milliseconds by ms_since", function()
    local sql = activity.sql_for("select ms_since(f(coalesce(a, b))) as ms", 18)
    assert.matches("statement_timestamp() - (f(coalesce(a, b)))", sql, 1, true)
    assert.matches("as ms$", sql)
  end)

  it("is complete for every version", function()
    for _, event in ipairs(events) do
      for _, major in ipairs { 13, 18, 99 } do
        local sql = activity.sql_for(event.sql, major)
        assert.is_nil(sql:find "ms_since" or sql:find "%-%- since" or sql:find "%-%- before", event.name)
        assert.truthy(sql:find(("'%s' as event_type"):format(event.name), 1, true))
      end
    end
  end)
end)
