-- lua/dbobs/statements.lua and the options of pipelines/collectors/queries.lua, without a server.
local collect = require "dbobs.collect"
local queries = require "collectors.queries"
local sink = require "dbobs.sink"
local statements = require "dbobs.statements"

describe("options of the queries collector", function()
  local function fails(pattern, options)
    options.to = sink.discard()
    local ok, cause = pcall(function() collect.collect(queries, { host = "statements.example" }, options) end)
    assert.is_false(ok)
    assert.matches("^tests/spec/unit/statements_spec.lua:%d+: ", cause)
    assert.matches(pattern, cause)
  end

  it("are told when they are wrong, at the caller's line", function()
    fails("unknown option 'min_call'; did you mean 'min_calls'", { min_call = 3 })
    fails("unknown option 'tops'; did you mean 'top'", { tops = 3 })
    fails("option 'top' must be a whole number from 0, got %-1", { top = -1 })
    fails("option 'min_calls' must be a whole number from 0, got 1.5", { min_calls = 1.5 })
    fails("option 'text_max' must be number, got 'long'", { text_max = "long" })
    fails("option 'text_cache' must be a whole number from 0", { text_cache = -5 })
    fails("option 'full_every' must be a duration like", { full_every = "often" })
    fails("option 'text_every' must be a duration like", { text_every = {} })
    fails("option 'mask_passwords' must be boolean", { mask_passwords = "no" })
    fails("option 'databases' must be a list of texts", { databases = { 1 } })
    fails("option 'exclude' must be a list of texts", { exclude = { text = true } })
    fails("option 'exclude' must be table, got 'FETCH %*'", { exclude = "FETCH *" })
  end)

  it("are right as they are", function()
    assert.is_nil(statements.problem(queries.options))
  end)
end)

describe("the SQL of statements", function()
  local found = { name = '"a%1".v', columns = "userid queryid calls total_exec_time query", info = true }
  local templates = {
    statements = "select {columns} from {view}({texts}) s where {conditions} {order}",
    info = "select 1 from {view}_info",
    names = { total_exec_time = "total_time_ms" },
  }

  local function reads(options)
    local given = { top = 0, order_by = "calls", min_calls = 0, databases = {} }
    for name, value in pairs(options or {}) do given[name] = value end
    return statements.reads(found, given, templates)
  end

  it("is complete, with every column under its name", function()
    local columns = "s.userid as userid, s.calls as calls, s.total_exec_time as total_time_ms"
    assert.same({
      counters = ('select %s from "a%%1".v(false) s where s.calls >= 0 '):format(columns),
      texts = ('select %s, s.query from "a%%1".v(true) s where s.calls >= 0 '):format(columns),
      missing = ('select %s, s.query from "a%%1".v(true) s where s.calls >= 0 '
        .. 'and s.queryid in (select unnest($1::int8[])) '):format(columns),
      info = 'select 1 from "a%1".v_info',
    }, reads())
  end)

  it("is ordered by a column of the view or of the records", function()
    for _, name in ipairs { "total_time_ms", "total_exec_time" } do
      assert.matches("order by s.total_exec_time desc$", reads({ top = 3, order_by = name }).counters)
    end
    assert.is_nil(reads({ order_by = "calls" }).counters:find "order by")
  end)

  it("takes what the databases and the calls must be", function()
    local sql = reads({ min_calls = 7, databases = { "it's_*" } }).missing
    assert.matches("where s.calls >= 7 and ", sql, 1, true)
    assert.matches("datname like 'it''s!_%' escape '!'", sql, 1, true)
  end)

  it("is refused for a column that is not there, by the nearest name", function()
    local none, cause = reads { top = 1, order_by = "total_times_ms" }
    assert.is_nil(none)
    assert.equal("option 'order_by': the view has no column 'total_times_ms'; did you mean 'total_time_ms'?", cause)
    assert.matches("known are: calls, total_time_ms, userid", select(2, reads { top = 1, order_by = "whatever" }))
  end)
end)
