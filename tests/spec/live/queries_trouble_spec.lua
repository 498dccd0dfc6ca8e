-- What a server can do to the queries collector.
local collector = require "support.collector"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local queries = require "collectors.queries"
local schema = require "support.schema"
local servers = require "support.servers"
local statements = require "support.statements"

local one_with, with = statements.one_with, statements.with

describe("the queries collector", function()
  local server, current
  setup(function() server = servers.postgres { name = "queries trouble" } end)
  teardown(function() servers.drop(server) end)
  before_each(function()
    server:psql "select pg_stat_statements_reset()"
    current = statements.start(server)
  end)
  after_each(function() pool.close(current.target) end)

  local function fails()
    local ok, cause = queries.collect(current)
    assert.is_nil(ok)
    return cause
  end

  it("says when the extension was dropped, and goes on when it is back", function()
    server:psql "select 1 as before"
    local before = one_with(collector.again(current), "before").payload
    server:psql "drop extension pg_stat_statements"
    for _ = 1, 2 do assert.matches("not installed in database postgres", fails(), 1, true) end
    server:psql "create schema elsewhere; create extension pg_stat_statements schema elsewhere"
    server:psql "grant usage on schema elsewhere to dbobs_monitor"
    server:psql "select 1 as before"
    local after = one_with(collector.again(current), "before").payload
    assert.equal(2, after.calls)
    assert.equal(before.observed_since, after.observed_since)
    server:psql "alter extension pg_stat_statements set schema public"
    server:psql "select 1 as before"
    assert.equal(3, one_with(collector.again(current), "before").payload.calls)
  end)

  it("says when the server counts nothing, and what to do", function()
    collector.again(current)
    local switched = { ["pg_stat_statements.track"] = { "none", "top" }, compute_query_id = { "off", "auto" } }
    for name, wanted in pairs(switched) do
      server:psql(("alter system set %s = %s"):format(name, wanted[1]))
      server:psql "select pg_reload_conf()"
      local told
      for _ = 1, 100 do
        collector.again(current)
        told = table.concat(current.told, "\n")
        if told ~= "" then break end
      end
      assert.equal(("the server counts no statements: %s is %s: run ALTER SYSTEM SET %s = %s, then "
        .. "SELECT pg_reload_conf()"):format(name, wanted[1], name, wanted[2]), told)
      server:psql(("alter system reset %s"):format(name))
      server:psql "select pg_reload_conf()"
      for _ = 1, 100 do
        collector.again(current)
        if #current.told == 0 then break end
      end
      assert.same({}, current.told)
    end
  end)

  it("takes a role that is not counted for no trouble of the server", function()
    server:psql "alter role dbobs_monitor set pg_stat_statements.track = 'none'"
    server:psql "select 1 as counted"
    for _ = 1, 3 do
      local records = collector.again(current)
      assert.same({}, current.told)
      server:psql "select 1 as counted"
      one_with(records, "counted")
    end
    server:psql "alter role dbobs_monitor reset all"
  end)

  it("sends what is changed of statements that it may not see", function()
    server:psql [[do $$ begin create role nobody_special login password 'x';
      exception when duplicate_object then null; end $$]]
    current = statements.start(server, {}, { user = "nobody_special", password = "x" })
    server:psql "select 1 as steady"
    server:psql "select 1, 1 as steady"
    assert.is_true(#with(collector.again(current), "<insufficient privilege>") >= 2)
    assert.matches("statements of other users are hidden", current.told[1], 1, true)
    collector.again(current) -- what the server's script did besides is settled
    assert.equal(0, #with(collector.again(current), "<insufficient privilege>"))
    local db = assert(postgres.connect(server:parameters()))
    assert(db:query "select 2 as steady")
    local hidden = with(collector.again(current), "<insufficient privilege>")
    db:close()
    assert.equal(1, #hidden)
    assert.equal(2, hidden[1].payload.calls)
    assert.is_nil(hidden[1].payload.queryid)
    assert.is_nil(hidden[1].payload.observed_since)
  end)

  it("calls no function of the same name that comes first", function()
    server:psql "create schema first; grant usage on schema first to public"
    server:psql "create function first.pg_stat_statements(boolean) returns int language sql as 'select 1'"
    server:psql "alter role dbobs_monitor set search_path = first, public"
    server:psql "select 1 as shadowed"
    one_with(collector.again(current), "shadowed")
    server:psql "alter role dbobs_monitor reset all; drop schema first cascade"
  end)

  it("sends all again when records were lost on their way", function()
    server:psql "select 1 as lost"
    assert(queries.collect(current))
    assert.is_true(#current.out:take("Kafka was away") > 0)
    one_with(collector.again(current), "lost")
    assert.equal(0, #with(collector.again(current), "lost"))
  end)

  it("sends all again when the collection that was to do so failed", function()
    server:psql "select 1 as lost"
    assert(queries.collect(current))
    assert.is_true(#current.out:take("Kafka was away") > 0)
    local snapshot = current.snapshot
    current.snapshot = function() return nil, "the server is away" end
    assert.is_nil(queries.collect(current))
    current.snapshot = snapshot
    one_with(collector.again(current), "lost")
    assert.equal(0, #with(collector.again(current), "lost"))
  end)

  it("tells each incarnation of a statement that is evicted all the time", function()
    local tiny = servers.postgres { name = "queries tiny", "--set", "pg_stat_statements.max=100" }
    local db = assert(postgres.connect(tiny:parameters()))
    assert(db:query "create table wide ()")
    for i = 1, 60 do assert(db:query(("alter table wide add column c%d int"):format(i))) end
    local one = statements.start(tiny)
    local seen, evicted = {}, 0
    for round = 1, 12 do
      local list = {}
      for i = 1, 160 do
        local a, b = (i * 7 + round * 13) % 60 + 1, i % 3 + 1
        for _ = 1, (i + round) % 3 + 1 do list[#list + 1] = { ("select c%d, c%d from wide"):format(a, b) } end
      end
      assert(db:pipeline(list))
      for _, record in ipairs(collector.again(one)) do
        local payload = record.payload
        local key = payload.queryid .. payload.userid .. payload.dbid .. tostring(payload.toplevel)
        local before = seen[key]
        if before and before.observed_since == payload.observed_since then
          assert.is_true(payload.calls >= before.calls, payload.query)
          assert.is_true(payload.total_time_ms >= before.total_time_ms, payload.query)
        end
        seen[key] = payload
        evicted = payload.dealloc
      end
      assert.same({}, one.told)
    end
    assert.is_true(evicted > 10)
    db:close()
    pool.close(one.target)
    servers.drop(tiny)
  end)
end)

describe("all these records", function()
  it("are as their JSON Schema says", function()
    schema.verify(collector.shapes, { "query" })
  end)
end)
