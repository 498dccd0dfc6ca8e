-- Texts of statements on their way into records, and the cache that all trackers share.
local cjson = require "cjson"
local collector = require "support.collector"
local core = require "dbobs.core.statements"
local memory = require "dbobs.core.memory"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local record = require "dbobs.record"
local servers = require "support.servers"
local statements = require "support.statements"
local task = require "dbobs.task"

local one_with, with = statements.one_with, statements.with

describe("texts of statements", function()
  local server
  setup(function() server = servers.postgres { name = "queries texts" } end)
  before_each(function() server:psql "select pg_stat_statements_reset()" end)
  teardown(function() servers.drop(server) end)

  it("of a target that was dropped make room for others", function()
    local function large(name)
      server:psql "select pg_stat_statements_reset()"
      local db = assert(postgres.connect(server:parameters()))
      assert(db:query(("do $$ begin perform '%s%s'; end $$"):format(name, ("x"):rep(2 ^ 20))))
      db:close()
    end
    local limit = { text_cache = 1.9 * 2 ^ 20, text_every = "1h" }
    large "first"
    local current = statements.start(server, limit)
    collector.again(current)
    assert.same({}, current.told)
    large "second"
    collectgarbage "stop"
    current = statements.start(server, limit)
    collector.again(current)
    collector.again(current)
    collectgarbage "restart"
    assert.same({}, current.told)
    assert.is_false(current.state.tracker:over())
  end)

  it("that do not fit the cache are read each time, and that is told", function()
    local current = statements.start(server, { text_cache = 0 })
    server:psql "select 1 as large"
    server:psql "select 1, 1 as also"
    for calls = 1, 3 do
      local records = collector.again(current)
      assert.equal(calls, one_with(records, "large").payload.calls)
      assert.equal(calls == 1 and 1 or 0, #with(records, "also"))
      assert.equal("query texts do not fit the cache: those of all targets may take 0 MiB (option 'text_cache'): "
        .. "the server sends this target's each time", current.told[1])
      server:psql "select 1 as large"
    end
    -- What the specs before have left in the cache goes with their trackers, which compiled code may hold.
    jit.flush()
    collectgarbage()
    current.options.text_cache, current.state.tracker = 2 ^ 20, nil
    one_with(collector.again(current), "also")
    assert.same({}, current.told)
    pool.close(current.target)
  end)

  it("are known to the collections after, also when others do not fit any more", function()
    local current = statements.start(server)
    server:psql "select 1 as kept"
    collector.again(current)
    server:psql "select 1 as kept"
    current.options.text_every = "1h"
    collector.again(current)
    server:psql "select 1 as kept"
    assert.equal(3, one_with(collector.again(current), "kept").payload.calls)
    pool.close(current.target)
  end)

  it("may hold every byte and be long", function()
    local db = assert(postgres.connect(server:parameters()))
    local bytes = {}
    for i = 1, 127 do bytes[i] = string.char(i) end
    local odd = table.concat(bytes) .. "é€😀\194\128\226\128\168"
    -- As the text of a comment, which stays in the middle of a statement.
    local function sql(count, text) return ("select %s/* %s */1"):format(("1, "):rep(count), text) end
    assert(db:query(sql(1, odd:gsub("[*/]", ""))))
    local long = ("long 'é' \\ \" "):rep(80000)
    assert(db:query(sql(2, long)))
    db:close()
    local records = collector.collect(require "collectors.queries", server:target())
    assert.equal("select $1, /* " .. odd:gsub("[*/]", "") .. " */$2", one_with(records, "😀").payload.query)
    assert.equal("select $1, $2, /* " .. long .. " */$3", one_with(records, long).payload.query)
  end)

  it("go to no temporary file of the server", function()
    local function temporary_files(least)
      local count
      for _ = 1, 600 do
        count = tonumber(server:psql "select temp_files from pg_stat_database where datname = 'postgres'")
        if count >= least then break end
        task.wait(nil, 0.1)
      end
      return count
    end
    local db = assert(postgres.connect(server:parameters()))
    for i = 1, 6 do assert(db:query(("select %s/* %s */1"):format(("1, "):rep(i), ("x"):rep(1000000)))) end
    db:close()
    local before = temporary_files(0)
    assert.is_true(#collector.collect(require "collectors.queries", server:target()) >= 6)
    -- What is counted after it, with the memory of everybody, counts alone.
    local control = "select count(*) from pg_stat_statements"
    server:psql(control)
    local first = temporary_files(before + 1)
    server:psql(control)
    local second = temporary_files(first + 1)
    assert.equal(second - first, first - before)
  end)

  it("that no encoding of the database can show are left out, the others are not", function()
    server:psql "drop database if exists ascii"
    server:psql "create database ascii template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'"
    local current = statements.start(server)
    server:psql "select 1 as known"
    one_with(collector.again(current), "known")
    local db = assert(postgres.connect(server:parameters { dbname = "ascii" }))
    assert(db:query "set client_encoding to sql_ascii")
    assert(db:query 'select 1, 1 as "caf\233"')
    db:close()
    server:psql "select 1 as known"
    collector.again(current) -- here the texts turn out to be unreadable
    server:psql "select 1 as known"
    local records = collector.again(current)
    assert.matches("query texts are left out: a statement of a SQL_ASCII database is no UTF-8", current.told[1], 1,
      true)
    assert.equal(3, one_with(records, "known").payload.calls)
    local bare = 0
    for _, one in ipairs(records) do
      if one.payload.query == "" then
        bare = bare + 1
        assert.is_string(one.payload.queryid)
      end
    end
    assert.is_true(bare >= 1)
    server:psql "select pg_stat_statements_reset(0, (select oid from pg_database where datname = 'ascii'), 0)"
    server:psql "select 1, 1, 1 as after"
    local after = {}
    for _ = 1, 3 do
      for _, one in ipairs(collector.again(current)) do after[#after + 1] = one end
    end
    assert.same({}, current.told)
    one_with(with(after, "as after"), "as after")
    server:psql "drop database ascii"
    pool.close(current.target)
  end)
end)

describe("a tracker of statements", function()
  local server, db, texts
  setup(function() server = servers.postgres { name = "queries" } end)
  before_each(function()
    db = assert(postgres.connect(server:parameters { options = "-c timezone=UTC" }))
    texts = core.texts()
  end)
  after_each(function() db:close() end)

  local time = 1e15

  local function tracker(given)
    local all = { text_cache = 2 ^ 20, exclude = {}, keep = {} }
    for name, value in pairs(given or {}) do all[name] = value end
    local writer = record.writer({ host = "h", port = 1, database = "m", environment = "e" }, { data_type = "query" })
    return core.tracker(writer.core, texts, all)
  end

  -- One collection of rows: (queryid, calls, query) as SQL.
  local function collect(one, values, given)
    given = given or {}
    local out = memory(0, given.room or 0)
    time = time + 1e6
    one:begin(time, given.full or false, given.bare or false, given.again or false)
    local columns = "1::oid as userid, 2::oid as dbid, queryid::text, calls, calls * 1.5::float8 as total_time_ms"
    if given.query ~= false then columns = columns .. ", query" end
    local records = {}
    for chunk in db:stream(("select %s from (values %s) v(queryid, calls, query)"):format(columns, values)) do
      local row = 0
      repeat
        row = one:rows(chunk, out, nil, row)
        for _, each in ipairs(collector.records(out)) do records[#records + 1] = each end
      until row == true
    end
    one:finish(true)
    return records
  end

  it("keeps 64-bit numbers exact, below zero too", function()
    local one = tracker()
    local values = "(-9223372036854775808, 9223372036854775807, 'a'), (9223372036854775807, 9007199254740993, 'b')"
    local records = collect(one, values)
    assert.equal("-9223372036854775808", records[1].payload.queryid)
    assert.matches('"calls":9223372036854775807,', records[1].text, 1, true)
    assert.equal("9223372036854775807", records[2].payload.queryid)
    assert.matches('"calls":9007199254740993,', records[2].text, 1, true)
    assert.same({}, collect(one, values, { query = false }))
    -- One call more is more, also where a double cannot tell.
    values = "(-9223372036854775808, 9223372036854775807, ''), (9223372036854775807, 9007199254740994, '')"
    records = collect(one, values, { query = false })
    assert.equal(1, #records)
    assert.matches('"query":"b".*"calls":9007199254740994,', records[1].text)
  end)

  it("asks for texts that it does not know, and only for these", function()
    local one = tracker()
    collect(one, "(1, 1, 'known')")
    assert.is_nil(one:missing())
    local records = collect(one, "(1, 2, ''), (-2, 1, ''), (3, 1, '')", { query = false })
    assert.equal(1, #records)
    assert.equal("{-2,3}", one:missing())
    records = collect(one, "(1, 2, ''), (-2, 1, ''), (3, 1, '')", { query = false, bare = true })
    assert.equal(2, #records)
    assert.equal("", records[1].payload.query)
    -- What was sent without a text is sent again with it.
    records = collect(one, "(1, 2, 'known'), (-2, 1, 'two'), (3, 1, 'three')")
    assert.equal("two", records[1].payload.query)
    assert.equal("three", records[2].payload.query)
    assert.equal(2, #records)
  end)

  it("takes NULL as a text that is not there", function()
    local one = tracker()
    local records = collect(one, "(1, 1, null), (2, 1, 'x')")
    assert.equal("", records[1].payload.query)
    assert.same({}, collect(one, "(1, 1, ''), (2, 1, '')", { query = false }))
    assert.is_nil(one:missing())
  end)

  it("keeps apart what goes by no queryid, be it equal", function()
    local one = tracker()
    local rows = "(null::int8, 1, ''), (null, 1, ''), (null, 2, '')"
    assert.equal(3, #collect(one, rows, { query = false, room = 1 }))
    assert.same({}, collect(one, rows, { query = false }))
    assert.equal(1, #collect(one, rows .. ", (null, 3, '')", { query = false }))
    assert.equal(4, one:count())
  end)

  it("forgets what is gone, and begins anew with what came back", function()
    local one = tracker()
    collect(one, "(1, 7, 'a'), (2, 7, 'b')")
    local size = texts:size()
    collect(one, "(1, 7, '')", { query = false })
    assert.equal(1, one:count())
    assert.is_true(texts:size() < size)
    assert.same({}, collect(one, "(1, 7, ''), (2, 8, '')", { query = false }))
    assert.equal("{2}", one:missing())
    local records = collect(one, "(1, 6, 'a'), (2, 8, 'b')")
    assert.equal(2, #records)
    assert.equal(records[1].timestamp, records[1].payload.observed_since)
    assert.is_true(records[2].payload.observed_since < records[2].timestamp)
  end)

  it("goes on where a full sink stopped it, without a record too many", function()
    local one = tracker()
    local rows = {}
    for i = 1, 300 do rows[i] = ("(%d, 1, 't%d')"):format(i, i) end
    local records = collect(one, table.concat(rows, ","), { room = 7 })
    assert.equal(300, #records)
    for i = 1, 300 do assert.equal("t" .. i, records[i].payload.query) end
  end)

  it("shares its texts with the others, and gives them back", function()
    local empty = texts:size()
    local rows = "(1, 1, repeat('x', 10000)), (2, 1, repeat('x', 10000))"
    local first, second = tracker(), tracker()
    collect(first, rows)
    local size = texts:size()
    assert.is_true(size - empty < 11000)
    collect(second, rows)
    assert.equal(size, texts:size())
    -- A third one has no room for a text more: it keeps none, and sends all the same.
    local third = tracker { text_cache = size + 100 }
    local records = collect(third, rows .. ", (3, 1, repeat('y', 10000))")
    assert.equal(3, #records)
    assert.equal(("y"):rep(10000), records[3].payload.query)
    assert.is_true(third:over())
    assert.equal(1, #collect(third, rows .. ", (3, 2, repeat('y', 10000))"))
    collect(third, "(1, 1, 'small')", { full = true, again = true })
    assert.is_false(third:over())
    collect(first, "(4, 1, '')")
    collect(second, "(4, 1, '')")
    assert.is_true(texts:size() < 11000)
  end)

  it("notes what it cut once, also where the record is too large besides", function()
    local one = tracker { text_max = 5000 }
    local out = memory(3000)
    one:begin(time, true, false, true)
    for chunk in db:stream "select '1' as queryid, 1::int8 as calls, repeat('é', 6000) as query" do
      assert.is_true(one:rows(chunk, out))
    end
    local sent = collector.records(out)[1]
    assert.same({ ["payload.query"] = 12000 }, sent.payload.truncated)
    assert.is_true(#sent.text < 3000 and sent.payload.query:find "^éé.*….*éé$" ~= nil)
    assert.equal(cjson.decode(sent.text).payload.queryid, "1")
  end)
end)
