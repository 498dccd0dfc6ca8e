-- pipelines/collectors/queries.lua and src/record*.c on real servers of every version.
local cjson = require "cjson"
local collector = require "support.collector"
local memory = require "dbobs.core.memory"
local postgres = require "dbobs.postgres"
local queries = require "collectors.queries"
local record = require "dbobs.record"
local schema = require "support.schema"
local servers = require "support.servers"
local task = require "dbobs.task"

local function one_of(records, text)
  local found
  for _, one in ipairs(records) do
    if one.payload.query == text then
      assert.is_nil(found, "twice: " .. text)
      found = one
    end
  end
  return assert(found, "no record of: " .. text)
end

-- What each column of the view is called in the payload, where that is not its own name; written here a second time.
local NAMES = {
  total_exec_time = "total_time_ms", min_exec_time = "min_time_ms", max_exec_time = "max_time_ms",
  mean_exec_time = "mean_time_ms", stddev_exec_time = "stddev_time_ms", total_plan_time = "total_plan_time_ms",
  min_plan_time = "min_plan_time_ms", max_plan_time = "max_plan_time_ms", mean_plan_time = "mean_plan_time_ms",
  stddev_plan_time = "stddev_plan_time_ms", blk_read_time = "shared_blk_read_time_ms",
    blk_write_time = "shared_blk_write_time_ms",
  shared_blk_read_time = "shared_blk_read_time_ms", shared_blk_write_time = "shared_blk_write_time_ms",
  local_blk_read_time = "local_blk_read_time_ms", local_blk_write_time = "local_blk_write_time_ms",
  temp_blk_read_time = "temp_blk_read_time_ms", temp_blk_write_time = "temp_blk_write_time_ms",
  jit_generation_time = "jit_generation_time_ms", jit_inlining_time = "jit_inlining_time_ms",
  jit_optimization_time = "jit_optimization_time_ms", jit_emission_time = "jit_emission_time_ms",
  jit_deform_time = "jit_deform_time_ms",
}

for _, major in ipairs { 13, 14, 15, 16, 17, 18 } do
  describe("statements of version " .. major, function()
    local server

    setup(function()
      server = servers.postgres { major = major, name = "queries" }
      server:psql("select pg_stat_statements_reset()")
      server:psql("select count(*) from orders where id > 7", "app")
      server:psql("select count(*) from orders where id > 8", "app")
    end)

    it("carry every column of the view, exactly", function()
      local text = "select count(*) from orders where id > $1"
      local one = one_of(collector.collect(queries, server:target()), text)
      local row = cjson.decode(server:psql(
        ("select row_to_json(s) from pg_stat_statements s where query = '%s'"):format(text)))
      local columns = 0
      for column, value in pairs(row) do
        columns = columns + 1
        local name = NAMES[column] or column
        if column == "queryid" then value = server:psql(
          ("select queryid from pg_stat_statements where query = '%s'"):format(text))
        elseif column == "userid" or column == "dbid" then value = tonumber(value)
        elseif value == cjson.null then value = nil
        elseif column:find "_since$" then value = value:sub(1, 19) end
        local sent = one.payload[name]
        if column:find "_since$" then sent = sent:sub(1, 19) end
        assert.equal(value, sent, column)
      end
      assert.is_true(columns >= 32)
      assert.is_string(one.payload.queryid)
      assert.equal(2, one.payload.calls)
      assert.equal("postgres", one.payload.user)
      assert.equal(server.host .. ":app", one.key)
      assert.equal("app", one.database)
      assert.equal("query", one.data_type)
      assert.equal(tonumber(server.port), one.port)
      assert.matches('"tags":{}', one.text, 1, true)
      local hit, read = one.payload.shared_blks_hit, one.payload.shared_blks_read
      assert.is_true(hit + read > 0)
      assert.is_true(math.abs(hit / (hit + read) - one.payload.cache_hit_ratio) < 1e-12)
    end)

    it("are not ours", function()
      for _ = 1, 2 do
        for _, one in ipairs((collector.collect(queries, server:target()))) do
          -- From 16 on everybody's COMMIT is one entry.
          local shared = major >= 16 and one.payload.query:find "commit$" ~= nil
          for _, ours in ipairs { "dbobs", "set_config", "begin" } do
            assert.is_true(shared or not one.payload.query:find(ours, 1, true), one.payload.query)
          end
        end
      end
    end)
  end)
end

describe("the queries collector", function()
  local server
  setup(function() server = servers.postgres { name = "queries" } end)

  it("sends everybody's COMMIT also where ours was the first", function()
    local newer = servers.postgres { major = 17, name = "queries" }
    newer:psql "select pg_stat_statements_reset()"
    collector.collect(queries, newer:target())
    newer:psql "begin; commit"
    local calls = 0
    for _, one in ipairs((collector.collect(queries, newer:target()))) do
      if one.payload.query:lower():find "commit$" then calls = calls + one.payload.calls end
    end
    assert.is_true(calls >= 3)
  end)

  it("masks passwords unless told not to", function()
    server:psql "create role masked login password 'very secret'"
    server:psql "alter role masked password 'very secret'"
    local records = collector.collect(queries, server:target())
    one_of(records, "create role masked login password '***'")
    one_of(records, "alter role masked password '***'")
    for _, one in ipairs(records) do assert.is_nil(one.text:find("very secret", 1, true)) end
    one_of(collector.collect(queries, server:target(), { mask_passwords = false }),
      "alter role masked password 'very secret'")
  end)

  it("leaves cache_hit_ratio out where nothing was read, and never sends null", function()
    server:psql "select 4711 as nothing_read"
    local one = one_of(collector.collect(queries, server:target()), "select $1 as nothing_read")
    assert.is_nil(one.payload.cache_hit_ratio)
    assert.is_nil(one.text:find("null", 1, true))
  end)

  it("says how to get the extension", function()
    local ok, cause = queries.collect(collector.run(queries, server:target { dbname = "app" }))
    assert.is_nil(ok)
    assert.matches("not installed in database app: add it to shared_preload_libraries", cause, 1, true)
    assert.matches("CREATE EXTENSION pg_stat_statements", cause, 1, true)
  end)

  it("says when it is not preloaded", function()
    local bare = servers.postgres { name = "not preloaded", "--set", "shared_preload_libraries=" }
    local ok, cause = queries.collect(collector.run(queries, bare:target()))
    assert.is_nil(ok)
    assert.matches("not loaded: add it to shared_preload_libraries in postgresql.conf and restart", cause, 1, true)
    servers.drop(bare)
  end)

  it("says which grant is missing, and sends what it may", function()
    server:psql [[do $$ begin create role "No Grants" login password 'x';
      exception when duplicate_object then null; end $$]]
    local own = assert(postgres.connect(server:parameters { user = "No Grants", password = "x" }))
    assert(own:query "select 'mine' as of_my_own")
    own:close()
    local records, current = collector.collect(queries, server:parameters { user = "No Grants", password = "x" })
    assert.equal('statements of other users are hidden: run: GRANT pg_monitor TO "No Grants"',
      table.concat(current.told))
    one_of(records, "select $1 as of_my_own")
    local hidden = 0
    for _, one in ipairs(records) do
      if one.payload.query == "<insufficient privilege>" then
        hidden = hidden + 1
        assert.is_nil(one.payload.queryid)
      end
    end
    assert.is_true(hidden > 0)
  end)

  it("finds the extension in any schema, and tells that it is old", function()
    server:psql "drop database if exists elsewhere"
    server:psql "create database elsewhere"
    server:psql([[create schema "Odd ""One"; create extension pg_stat_statements schema "Odd ""One" version '1.9']],
      "elsewhere")
    server:psql([[grant usage on schema "Odd ""One" to dbobs_monitor]], "elsewhere")
    server:psql("select 'elsewhere' as was_here", "elsewhere")
    local records, current = collector.collect(queries, server:target { dbname = "elsewhere" })
    assert.equal("elsewhere", one_of(records, "select $1 as was_here").database)
    assert.matches("older than the server: version 1.9 of 1.%d+: run ALTER EXTENSION pg_stat_statements UPDATE",
      current.told[1])
  end)

  it("sends statements of a dropped database under its number", function()
    server:psql "drop database if exists gone"
    server:psql "create database gone"
    server:psql("select 1 as in_a_database_that_goes", "gone")
    local oid = server:psql "select oid from pg_database where datname = 'gone'"
    server:psql "drop database gone"
    assert.equal(oid, one_of(collector.collect(queries, server:target()),
      "select $1 as in_a_database_that_goes").database)
  end)

  it("sends what a SQL_ASCII database holds: without texts, or mended from within", function()
    server:psql "drop database if exists ascii"
    server:psql "create database ascii template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'"
    server:psql("create extension pg_stat_statements", "ascii")
    local db = assert(postgres.connect(server:parameters { dbname = "ascii" }))
    assert(db:query "set client_encoding to sql_ascii")
    assert(db:query 'select 1 as "caf\233"')
    db:close()
    local records, current = collector.collect(queries, server:target())
    assert.matches("query texts are left out: a statement of a SQL_ASCII database is no UTF-8", current.told[1], 1,
      true)
    assert.is_true(#records > 0)
    for _, one in ipairs(records) do assert.equal("", one.payload.query) end
    records = collector.collect(queries, server:target { dbname = "ascii" })
    one_of(records, 'select $1 as "caf\239\191\189"')
    server:psql "drop database ascii"
    server:psql "select pg_stat_statements_reset()"
  end)
end)

describe("rows as records", function()
  local server, db
  local envelope = { host = "h", port = 1, database = "m", environment = "test", tags = { a = "b" } }
  setup(function() server = servers.postgres { name = "queries" } end)
  before_each(function() db = assert(postgres.connect(server:parameters { options = "-c timezone=UTC" })) end)
  after_each(function() db:close() end)

  local function rows(sql, given, out)
    given = given or {}
    given.data_type = "query"
    out = out or memory()
    for chunk in db:stream(sql, {}, { rows = 100 }) do
      assert(record.writer(envelope, given):rows(chunk, out))
    end
    return collector.records(out)
  end

  local function payload(sql)
    return rows("select " .. sql)[1].text:match '"payload":(.*)}$'
  end

  it("keep every number exact", function()
    assert.equal('{"a":9223372036854775807,"b":-9223372036854775808,"c":12345678901234567890.123456789012345678,'
      .. '"d":32767,"e":4294967295}',
      payload [[9223372036854775807::int8 a, (-9223372036854775808)::int8 b,
        12345678901234567890.123456789012345678::numeric c, 32767::int2 d, 4294967295::oid e]])
    assert.equal('{"a":0.1,"b":1e+300,"c":-1e-07,"d":-0.5}',
      payload "0.1::float8 a, 1e300::float8 b, -1e-7::float4 c, -0.5 d")
  end)

  it("leave out what has no form in JSON", function()
    assert.equal('{"z":1}', payload [[null::int a, 'NaN'::float8 b, 'Infinity'::float8 c, '-Infinity'::float4 d,
      'NaN'::numeric e,
      null::text f, null::json g, 1 z]])
  end)

  it("have booleans, instants, JSON and texts in their forms", function()
    assert.equal('{"a":true,"b":false,"c":"2026-03-29T00:30:00.123400Z",'
      .. '"d":{"x":[1,2.50,"a  b"]},"e":{"k":"v"},"f":"infinity","g":"{1,2}"}',
      payload [[true a, false b, '2026-03-29 00:30:00.1234+00'::timestamptz c, E'{ "x" :\n [1, 2.50, "a  b"] }'::json d,
        '{"k": "v"}'::jsonb e,
        'infinity'::timestamptz f, array[1,2] g]])
    assert.equal([[{"a":"\"\\\n\u0001é"}]], payload [[E'"\\\n\x01é' a]])
  end)

  it("take database and time from columns", function()
    local one = rows("select 'db\"1' as d, '2026-03-29 00:30:00+00'::timestamptz as t, 1 as x",
      { database_column = "d", timestamp_column = "t" })[1]
    assert.equal('h:db"1', one.key)
    assert.equal('db"1', one.database)
    assert.equal("2026-03-29T00:30:00.000000Z", one.timestamp)
    assert.same({ x = 1 }, one.payload)
    one = rows("select null::text as d, null::timestamptz as t",
      { database_column = "d", timestamp_column = "t", time = 1500000 })[1]
    assert.equal("h:m", one.key)
    assert.equal("1970-01-01T00:00:01.500000Z", one.timestamp)
    assert.matches('"payload":{}}$', one.text)
  end)

  it("go on where a full sink stopped them", function()
    local out = memory(0, 7)
    local seen = {}
    local sender = task.spawn(function()
      for chunk in db:stream("select generate_series(1, 500) as i", {}, { rows = 64 }) do
        assert(record.writer(envelope, { data_type = "query" }):rows(chunk, out))
      end
    end)
    local _, late = task.deadline("20s", function()
      while #seen < 500 do
        for _, one in ipairs(collector.records(out)) do seen[#seen + 1] = one.payload.i end
        task.wait(nil, 0.001)
      end
      return true
    end)
    assert.is_nil(late)
    assert.is_true(task.join(sender))
    for i = 1, 500 do assert.equal(i, seen[i]) end
  end)

  it("are cut where they are too large, and say so", function()
    local one = rows("select repeat('é', 100000) as long, 'short' as short, '[' || repeat('1,', 5000) || '1]' as list, "
      .. "json_build_object('t', repeat('x', 50000)) as object", {}, memory(10000))[1]
    assert.is_true(#one.text + #one.key <= 10000)
    assert.same({ ["payload.long"] = 200000, ["payload.object.t"] = 50000, ["payload.list"] = 10003 },
      one.payload.truncated)
    assert.equal("short", one.payload.short)
    assert.matches("^é.*é…é.*é$", one.payload.long)
  end)

  it("become text as a whole where only numbers are too many", function()
    local one = rows("select ('[' || repeat('1.50,', 5000) || '1]')::json as list, 2 as two", {}, memory(3000))[1]
    assert.is_true(#one.text + #one.key <= 3000)
    assert.matches("^%[1.50,1.50,.*….*,1%]$", one.payload.list)
    assert.same({ ["payload.list"] = 25003 }, one.payload.truncated)
    assert.equal(2, one.payload.two)
  end)
end)

describe("all these records", function()
  it("are as their JSON Schema says", function()
    schema.verify(collector.shapes, { "query" })
  end)
end)
