-- Statements that a pipeline prepares by their text, on connections without a pooler.
local guest = require "dbobs.guest"
local postgres = require "dbobs.postgres"
local servers = require "support.servers"

describe("a prepared statement of a pipeline", function()
  local server, db

  setup(function() server = servers.postgres() end)
  before_each(function()
    db = assert(postgres.connect(server:parameters { dbname = "app" }))
    db.direct = true
  end)
  after_each(function() db:close() end)

  local function names()
    local list = {}
    for i, row in ipairs(assert(db:query "select name from pg_prepared_statements order by name")) do
      list[i] = row.name
    end
    return list
  end

  local function run(sql, ...)
    return db:pipeline { { "select 0 as zero" }, { sql, prepared = true, ... }, { "select 2 as two" } }
  end

  it("is prepared once and gives what it gives unprepared", function()
    for i = 1, 3 do
      local results = assert(run("select $1::int + 1 as a, $2::text as b", i, "x"))
      assert.equal(3, #results)
      assert.equal(0, results[1][1].zero)
      assert.same({ a = i + 1, b = "x" }, results[2][1])
      assert.equal(2, results[3][1].two)
      assert.equal(1, #names())
    end
  end)

  it("may stand twice in one pipeline", function()
    local one = { "select $1::int as a", 1, prepared = true }
    local results = assert(db:pipeline { one, { "select $1::int as a", 2, prepared = true } })
    assert.equal(1, results[1][1].a)
    assert.equal(2, results[2][1].a)
    assert.equal(1, #names())
  end)

  it("tells which statement failed, while it is prepared and later", function()
    local _, cause, info = run "select nowhere"
    assert.equal(2, info.statement)
    assert.matches("pipeline: statement 2: .*nowhere", cause)
    for _ = 1, 2 do
      _, _, info = run("select 1 / $1::int as a", 0)
      assert.equal(2, info.statement)
      assert.equal("22012", info.sqlstate)
      assert.is_falsy(info.forgotten)
    end
    assert.equal(1, run("select 1 / $1::int as a", 1)[2][1].a)
  end)

  it("that is not reached because of an error before it is prepared the next time", function()
    local late = { "select 7 as a", prepared = true }
    assert.is_nil((db:pipeline { { "select 1/0" }, late }))
    assert.same({}, names())
    assert.equal(7, db:pipeline({ late })[1][1].a)
  end)

  it("is prepared again when the server has forgotten it or its columns changed", function()
    assert(db:query "create temp table t (a int)")
    assert(run "select * from t")
    assert(db:query "deallocate all")
    local _, _, info = run "select * from t"
    assert.equal("26000", info.sqlstate)
    assert.is_true(info.forgotten)
    assert(run "select * from t")
    assert(db:query "alter table t alter a type text")
    _, _, info = run "select * from t"
    assert.equal("0A000", info.sqlstate)
    assert.is_true(info.forgotten)
    assert(run "select * from t")
    assert.equal(1, #names())
  end)

  it("makes room for others when there are many", function()
    for i = 1, 200 do assert(run(("select %d as a"):format(i))) end
    for _ = 1, 2 do assert(run "select 1 as a") end -- what must go goes with the next one
    assert.is_true(#names() <= 64)
    assert.is_true(#names() > 32)
  end)

  it("is sent as text while nobody knows whether a pooler stands between", function()
    for _, direct in ipairs { "unknown", false } do
      db.direct = direct ~= "unknown" and direct or nil
      assert.equal(5, run("select $1::int as a", 5)[2][1].a)
      assert.same({}, names())
    end
  end)
end)

describe("a guest's snapshots on one connection", function()
  local server, db

  setup(function() server = servers.postgres() end)
  before_each(function() db = assert(postgres.connect(server:target { dbname = "app" })) end)
  after_each(function() db:close() end)

  local function snapshot(sql)
    local rows = {}
    local failures = assert(guest.snapshot(db, {
      { name = "first", sql = "select 1 as a", each = function(chunk) rows.first = chunk:rows() end },
      { name = "own", sql = sql, each = function(chunk) rows.own = chunk:rows() end },
      { name = "last", sql = "select 3 as a", each = function(chunk) rows.last = chunk:rows() end },
    }))
    return rows, failures
  end

  local function count()
    return db:query("select count(*) as n from pg_prepared_statements")[1].n
  end

  it("prepare nothing the first time, and everything once from then on", function()
    snapshot "select 2 as a"
    assert.equal(0, count())
    assert.is_true(db.direct)
    snapshot "select 2 as a"
    local prepared = count()
    assert.equal(6, prepared)
    local rows = snapshot "select 2 as a"
    assert.same({ { a = 1 } }, rows.first)
    assert.same({ { a = 2 } }, rows.own)
    assert.same({ { a = 3 } }, rows.last)
    assert.equal(prepared, count())
  end)

  it("go on when the server has forgotten what was prepared", function()
    for _ = 1, 2 do snapshot "select 2 as a" end
    for _, command in ipairs { "deallocate all", "discard all" } do
      assert(db:query(command))
      local rows, failures = snapshot "select 2 as a"
      assert.same({}, failures)
      assert.same({ { a = 1 } }, rows.first)
      assert.same({ { a = 2 } }, rows.own)
      assert.same({ { a = 3 } }, rows.last)
    end
  end)

  it("go on when the columns of a statement have other types", function()
    local owner = assert(postgres.connect(server:parameters { dbname = "app" }))
    assert(owner:query "create table changing (a int); insert into changing values (2)")
    assert(owner:query "grant select on changing to dbobs_monitor")
    for _ = 1, 2 do assert.same({ { a = 2 } }, (snapshot "select a from changing").own) end
    assert(owner:query "alter table changing alter a type text")
    local rows, failures = snapshot "select a from changing"
    assert.same({}, failures)
    assert.same({ { a = "2" } }, rows.own)
    assert.same({ { a = 3 } }, rows.last)
    owner:query "drop table changing"
    owner:close()
  end)

  it("leave their mark in what the server shows of the idle connection", function()
    for _ = 1, 3 do
      snapshot "select 2 as a"
      local shown = server:psql("select state || ' ' || query from pg_stat_activity where pid = " .. db.pid)
      assert.equal("idle /* dbobs */ commit", shown)
    end
  end)
end)
