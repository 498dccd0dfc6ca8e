-- The options of pipelines/collectors/queries.lua.
local collector = require "support.collector"
local pool = require "dbobs.pool"
local queries = require "collectors.queries"
local servers = require "support.servers"
local statements = require "support.statements"

local one_with, with = statements.one_with, statements.with

describe("statements are chosen", function()
  local server
  setup(function() server = servers.postgres { name = "queries options" } end)
  before_each(function() server:psql "select pg_stat_statements_reset()" end)
  teardown(function() servers.drop(server) end)

  local function again(options)
    local current = statements.start(server, options)
    local records = collector.again(current)
    pool.close(current.target)
    return records, current
  end

  it("by their first places", function()
    for _ = 1, 3 do server:psql "select 1 as third" end
    for _ = 1, 9 do server:psql "select 1, 1 as first" end
    for _ = 1, 6 do server:psql "select 1, 1, 1 as second" end
    local records = again { top = 2, order_by = "calls" }
    assert.equal(2, #records)
    assert.equal(9, one_with(records, "first").payload.calls)
    assert.equal(6, one_with(records, "second").payload.calls)
    server:psql "select pg_sleep(0.2)" -- ours take no place
    records = again { top = 1 }
    assert.equal(1, #records)
    assert.equal("select pg_sleep($1)", records[1].payload.query)
  end)

  it("by their first places, and go on being what they were when they come back to them", function()
    for _ = 1, 5 do server:psql "select 1 as first" end
    local current = statements.start(server, { top = 1, order_by = "calls" })
    local first = one_with(collector.again(current), "first").payload
    for _ = 1, 9 do server:psql "select 1, 1 as other" end
    server:psql "select 1 as first"
    local records = collector.again(current)
    assert.equal(1, #records)
    assert.equal(9, one_with(records, "other").payload.calls)
    for _ = 1, 8 do server:psql "select 1 as first" end
    records = collector.again(current)
    assert.equal(1, #records)
    local back = one_with(records, "first").payload
    assert.equal(14, back.calls)
    assert.equal(first.observed_since, back.observed_since)
    pool.close(current.target)
  end)

  it("by the number of their calls", function()
    server:psql "select 1 as rare"
    for _ = 1, 3 do server:psql "select 1, 1 as often" end
    local records = again { min_calls = 3 }
    one_with(records, "often")
    for _, one in ipairs(records) do assert.is_true(one.payload.calls >= 3) end
  end)

  it("by their databases", function()
    server:psql("select 1 as in_app", "app")
    server:psql "select 1 as in_postgres"
    local records = again { databases = { "ap?" } }
    one_with(records, "in_app")
    for _, one in ipairs(records) do assert.equal("app", one.database) end
    records = again { databases = { "app", "post*" } }
    one_with(records, "in_app")
    one_with(records, "in_postgres")
    assert.same({}, again { databases = { "it's not there" } })
  end)

  it("by their texts", function()
    server:psql "select 1 as keep_this"
    server:psql "select 1, 1 as drop_this"
    server:psql "reset work_mem"
    local current = statements.start(server, { exclude = { "*DROP_*", "reset *" } })
    for _ = 1, 2 do
      local records = collector.again(current)
      assert.equal(0, #with(records, "drop_this"))
      assert.equal(0, #with(records, "work_mem"))
      one_with(records, "keep_this")
      for _, sql in ipairs { "select 1 as keep_this", "select 1, 1 as drop_this", "reset work_mem" } do
        server:psql(sql)
      end
    end
    pool.close(current.target)
  end)

  it("and their texts cut", function()
    server:psql [[select 'é' as "ééééééééééééééééé", 1 as long]]
    server:psql "select 1 as short"
    local records = again { text_max = 20 }
    local text = 'select $1 as "ééééééééééééééééé", $2 as long'
    local one = one_with(records, "as long").payload
    assert.equal("select $1 …2 as long", one.query)
    assert.same({ ["payload.query"] = #text }, one.truncated)
    assert.is_nil(one_with(records, "as short").payload.truncated)
    one_with(again { text_max = 0 }, text)
  end)

  it("or not at all where there is no such column", function()
    local current = statements.start(server, { top = 1, order_by = "total_tme_ms" })
    local ok, cause = queries.collect(current)
    assert.is_nil(ok)
    assert.equal("option 'order_by': the view has no column 'total_tme_ms'; did you mean 'total_time_ms'?", cause)
    pool.close(current.target)
    one_with(again { top = 100, order_by = "total_exec_time" }, "pg_stat_statements_reset")
  end)
end)
