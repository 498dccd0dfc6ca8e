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

describe("the order of statements", function()
  local columns = { "calls", "total_exec_time", "rows" }
  local function field_of(column) return column == "total_exec_time" and "total_time_ms" or column end

  it("goes by a column of the view or of the records", function()
    assert.equal("calls", statements.order("calls", columns, field_of))
    assert.equal("total_exec_time", statements.order("total_time_ms", columns, field_of))
    assert.equal("total_exec_time", statements.order("total_exec_time", columns, field_of))
  end)

  it("is refused by the nearest name", function()
    local column, cause = statements.order("total_times_ms", columns, field_of)
    assert.is_nil(column)
    assert.equal("option 'order_by': the view has no column 'total_times_ms'; did you mean 'total_time_ms'?", cause)
    assert.matches("known are: calls, rows, total_time_ms", select(2, statements.order("whatever", columns, field_of)))
  end)
end)
