-- dbobs.postgres against a real server: statements, values, pipelines, streams, deadlines, notifications.
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

describe("a PostgreSQL connection", function()
  local server, db

  setup(function() server = servers.postgres() end)
  before_each(function() db = assert(postgres.connect(server:parameters())) end)
  after_each(function() db:close() end)

  local function value(sql, ...)
    return assert(db:query(sql, ...))[1].v
  end

  local function fails(...)
    local result, cause, info = db:query(...)
    assert.is_nil(result)
    return cause, info
  end

  -- How many servers' processes are busy with a statement.
  local function running(text)
    return tonumber(server:psql(("select count(*) from pg_stat_activity where strpos(query, '%s') > 0 "
      .. "and state = 'active' and pid <> pg_backend_pid()"):format(text)))
  end

  it("tells whom it is connected to", function()
    assert.equal("127.0.0.1", db.host)
    assert.equal(tonumber(server.port), db.port)
    assert.equal("postgres", db.user)
    assert.equal("postgres", db.dbname)
    assert.is_true(db.server_version >= 130000)
    assert.equal("UTF8", db:parameter "client_encoding")
    assert.equal("dbobs", value "select current_setting('application_name') v")
  end)

  it("returns rows by column name, the columns' order and what the command did", function()
    local result = assert(db:query("select 1 as a, 'x' as b union all select 2, null order by 1"))
    assert.same({ "a", "b" }, result.columns)
    assert.equal(2, #result)
    assert.same({ a = 1, b = "x" }, result[1])
    assert.same({ a = 2 }, result[2])
    assert.equal("SELECT", result.command)
    assert.equal(2, result.affected)
    assert.equal(3, assert(db:query("create temp table t as select generate_series(1, 3)")).affected)
  end)

  it("hides no column behind another of its name", function()
    local result = assert(db:query "select 1 as n, 2 as n, 3 as n_2")
    assert.same({ "n", "n_2", "n_2_2" }, result.columns)
    assert.same({ n = 1, n_2 = 2, n_2_2 = 3 }, result[1])
  end)

  it("rounds nothing", function()
    assert.equal(9007199254740992, value "select 9007199254740992::int8 v")
    assert.equal("9007199254740993", value "select 9007199254740993::int8 v")
    assert.equal("-9223372036854775808", value "select '-9223372036854775808'::int8 v")
    assert.equal("12345678901234567890.123456789", value "select 12345678901234567890.123456789 v")
    assert.equal("1.10", value "select 1.10::numeric v")
    assert.equal(0.1, value "select 0.1::float8 v")
    assert.equal(math.huge, value "select 'Infinity'::float8 v")
    assert.equal(4294967295, value "select 4294967295::oid v")
    assert.equal("2026-01-02 03:04:05.123456", value "select timestamp '2026-01-02 03:04:05.123456' v")
    assert.is_true(value "select true v")
    assert.is_false(value "select false v")
    assert.equal("a\0\255b", value [[select '\x6100ff62'::bytea v]])
  end)

  it("passes arguments exactly", function()
    assert.equal("41", value("select $1::text v", 41))
    assert.equal(-7, value("select $1::int v", -7))
    assert.equal(0.1, value("select $1::float8 v", 0.1))
    assert.equal("9007199254740992", value("select $1::text v", 2 ^ 53))
    assert.equal("9223372036854775807", value("select $1::int8 v", 9223372036854775807LL))
    assert.equal("NaN", value("select $1::text v", 0 / 0):gsub("-", ""))
    assert.is_true(value("select $1::boolean v", true))
    assert.is_nil(value("select $1::text v", nil))
    assert.is_nil(value("select $1::text v", postgres.null))
    assert.equal("x", value("select coalesce($1::text, $2::text) v", nil, "x"))
    assert.equal("it's; -- \\ ü", value("select $1 v", "it's; -- \\ ü"))
    assert.equal("\0\1\255", value("select $1::bytea v", postgres.bytea "\0\1\255"))
  end)

  it("refuses arguments that no statement can have, at the caller's line", function()
    local ok, cause = pcall(function() db:query("select $1", {}) end)
    assert.is_false(ok)
    assert.matches("postgres_spec.lua:%d+: postgres.query: nil, boolean, number or string expected", cause)
    ok, cause = pcall(function() db:query("select $1", "a\0b") end)
    assert.is_false(ok)
    assert.matches("zero byte", cause)
    assert.equal(1, value "select 1 v")
  end)

  it("runs several statements of one text and returns the last result", function()
    local result = assert(db:query "create temp table t (a int); insert into t values (1), (2); select sum(a) s from t")
    assert.equal(3, result[1].s)
    assert.matches("division by zero", (fails "select 1; select 1/0; select 2"))
  end)

  it("returns the server's error with its SQLSTATE and goes on", function()
    local cause, info = fails "select 1/0"
    assert.equal("postgres.query: division by zero (22012)", cause)
    assert.equal("22012", info.sqlstate)
    assert.is_false(info.retryable)
    cause, info = fails "selct"
    assert.matches("syntax error.*42601", cause)
    assert.equal("1", info.position)
    assert.equal(1, value "select 1 v")
  end)

  it("names the grant that is missing", function()
    db:close()
    db = assert(postgres.connect(server:parameters { user = "dbobs_monitor", password = "monitor" }))
    server:psql "create table if not exists secret (a int); create role nobody_special login password 'x'"
    assert.matches('42501.; as its owner: GRANT SELECT ON TABLE secret TO "dbobs_monitor"',
      (fails "select * from secret"))
    assert.matches("GRANT EXECUTE ON FUNCTION pg_read_file", (fails "select pg_read_file('x')"))
    db:close()
    db = assert(postgres.connect(server:parameters { user = "nobody_special", password = "x" }))
    assert.matches('GRANT pg_monitor TO "nobody_special"', (fails "select * from pg_ls_logdir()"))
    db:close()
    server:psql "drop table secret; drop role nobody_special"
  end)

  it("says how to get pg_stat_statements where it is missing", function()
    db:close()
    db = assert(postgres.connect(server:parameters { dbname = "template1" }))
    assert.matches("shared_preload_libraries.*CREATE EXTENSION", (fails "select * from pg_stat_statements"))
  end)

  it("prepares and executes", function()
    assert.is_true(db:prepare("add", "select $1::int + $2::int as v"))
    assert.equal(5, assert(db:execute("add", 2, 3))[1].v)
    assert.equal(7, assert(db:execute("add", 3, 4))[1].v)
    local result, cause = db:execute("none")
    assert.is_nil(result)
    assert.matches("does not exist", cause)
    result, cause = db:prepare("bad", "selct")
    assert.is_nil(result)
    assert.matches("^postgres.prepare: syntax error", cause)
  end)

  it("sends a pipeline in one round trip", function()
    db:prepare("p", "select $1::int v")
    local results = assert(db:pipeline {
      { "create temp table t (a int, b text)" }, { "insert into t values ($1, $2)", 1, nil, n = 3 },
      { "select * from t" }, { execute = "p", 9 },
    })
    assert.equal(4, #results)
    assert.equal(1, results[2].affected)
    assert.same({ a = 1 }, results[3][1])
    assert.equal(9, results[4][1].v)
  end)

  it("says which statement of a pipeline failed, and undoes those before it", function()
    assert(db:query "create temp table t (a int)")
    local results, cause, info = db:pipeline {
      { "insert into t values (1)" }, { "select 1/0" }, { "insert into t values (2)" },
    }
    assert.is_nil(results)
    assert.equal("postgres.pipeline: statement 2: division by zero (22012)", cause)
    assert.equal(2, info.statement)
    assert.equal(0, value "select count(*) v from t")
  end)

  it("streams large results in bounded memory", function()
    local before = collectgarbage "count"
    local rows, sum, largest = 0, 0, 0
    for chunk in db:stream("select i, repeat('x', 1000) from generate_series(1, $1) i", { 100000 }, { rows = 100 }) do
      rows = rows + chunk:count()
      largest = math.max(largest, chunk:count())
      if rows % 10000 == 0 then sum = sum + chunk:rows()[100].i end
    end
    assert.equal(100000, rows)
    assert.equal(550000, sum)
    assert.equal(100, largest)
    assert.is_true(collectgarbage "count" - before < 20000)
    assert.equal(1, value "select 1 v")
  end)

  it("does not read on while nobody takes the chunks", function()
    local function resident()
      local file = assert(io.open "/proc/self/statm")
      local pages = file:read("*a"):match "%d+ (%d+)"
      file:close()
      return tonumber(pages) * 4096
    end
    local next_chunk = db:stream("select repeat('x', 10000) from generate_series(1, 20000)", nil, { rows = 1 })
    next_chunk()
    local before = resident()
    timer.sleep "500ms"
    assert.is_true(resident() - before < 8e6)
  end)

  it("ends a stream that was left early when the next statement comes", function()
    local again
    db:stream "select generate_series(1, 10000000)"()
    assert.equal(1, value "select 1 v")
    again = db:stream "select generate_series(1, 1000)"
    again()
    assert(db:query "select 1")
    assert.has_error(again)
  end)

  it("tells misuse at the caller's line, with what to do", function()
    local function misuse(fn, ...)
      local ok, cause = pcall(fn, ...)
      assert.is_false(ok)
      assert.matches("postgres_spec.lua:%d+: postgres%.", cause)
      assert.equal(1, value "select 1 v")
      return cause
    end
    assert.matches("stream: unknown option 'row'; did you mean 'rows'?",
      misuse(function() db:stream("select 1", {}, { row = 3 }) end), 1, true)
    assert.matches("option 'rows' must be a whole number from 1, got 0",
      misuse(function() db:stream("select 1", {}, { rows = 0 }) end))
    assert.matches("arguments must be a table", misuse(function() db:stream("select $1", 5) end))
    assert.matches("pipeline: unknown option 'eech'; did you mean 'each'?",
      misuse(function() db:pipeline({ { "select 1" } }, { eech = print }) end), 1, true)
    assert.matches("pipeline: statement 2 must be a table like { 'select $1', 5 }",
      misuse(function() db:pipeline { { "select 1" }, "select 1" } end), 1, true)
    assert.matches("statement 1 must be .* got one without a text", misuse(function() db:pipeline { {} } end))
    assert.matches("a list of statements expected", misuse(function() db:pipeline "select 1" end))
    assert.matches("query: use db:query%(...%), with a colon", misuse(function() db.query "select 1" end))
    assert.matches("close: use db:close%(...%), with a colon", misuse(function() db.close() end))
    misuse(function() db:stream("select $1", { {} }) end)
    local ok, cause = pcall(function() db:pipeline { { "select 1" }, { "select $1", {} } } end)
    assert.is_false(ok)
    assert.matches("postgres_spec.lua:%d+: postgres.pipeline: ", cause)
    assert.is_false(db:alive())
  end)

  it("raises what goes wrong in a stream", function()
    local ok, cause = pcall(function()
      for _ in db:stream("select 1000 / (500 - i) from generate_series(1, 1000) i", nil, { rows = 10 }) do end
    end)
    assert.is_false(ok)
    assert.matches("postgres.stream: division by zero", cause)
    assert.equal(1, value "select 1 v")
  end)

  it("cancels a statement whose deadline passes, in the server too", function()
    db:close()
    db = assert(postgres.connect(server:parameters { statement_timeout = "200ms" }))
    local cause, info = fails "select pg_sleep(30)"
    assert.matches("no result within 0.2 s %(statement_timeout%), so it was cancelled %(57014%)", cause)
    assert.is_true(info.timeout)
    assert.equal(1, value "select 1 v")
    assert.equal(0, running "pg_sleep(30)")
  end)

  it("gives up on a server that answers neither the statement nor the cancel", function()
    local other = servers.postgres { name = "frozen" }
    local slow = assert(postgres.connect(other:parameters { statement_timeout = "100ms" }))
    other:pause()
    local result, cause, info = slow:query "select 1"
    other:resume()
    assert.is_nil(result)
    assert.matches("answers neither the statement nor the request to cancel it", cause)
    assert.is_true(info.lost)
  end)

  it("is closed, and its statement cancelled, when the waiting task's deadline passes", function()
    local result, cause = task.deadline("200ms", function() return db:query "select pg_sleep(31)" end)
    assert.is_nil(result)
    assert.matches("^deadline", cause)
    assert.is_false(db:alive())
    assert.matches("the connection is closed", (fails "select 1"))
    timer.sleep "200ms"
    assert.equal(0, running "pg_sleep(31)")
  end)

  it("can be cancelled by another task", function()
    local cause
    local waiting = task.spawn(function() cause = fails "select pg_sleep(32)" end)
    timer.sleep "100ms"
    db:cancel()
    task.join(waiting)
    assert.matches("57014", cause)
    assert.equal(1, value "select 1 v")
  end)

  it("is one task's at a time", function()
    local waiting = task.spawn(function() db:query "select pg_sleep(0.3)" end)
    timer.sleep "50ms"
    local ok, cause = pcall(function() db:query "select 1" end)
    assert.is_false(ok)
    assert.matches("postgres_spec.lua:%d+: postgres.query: another task is using this connection", cause)
    task.join(waiting)
    assert.equal(1, value "select 1 v")
  end)

  it("waits inside a user's own coroutine", function()
    local co = coroutine.wrap(function()
      coroutine.yield(value "select 1 v")
      coroutine.yield(value "select 2 v")
    end)
    assert.equal(1, co())
    assert.equal(2, co())
  end)

  it("hands notices to a function", function()
    local notices = {}
    db:on_notice(function(notice) notices[#notices + 1] = notice end)
    assert(db:query "do $$ begin raise warning 'careful' using hint = 'or not'; raise notice 'second'; end $$")
    assert.equal(2, #notices)
    assert.equal("WARNING", notices[1].severity)
    assert.equal("careful", notices[1].message)
    assert.equal("or not", notices[1].hint)
    db:on_notice(nil)
    assert(db:query "do $$ begin raise notice 'third'; end $$")
    assert.equal(2, #notices)
  end)

  it("listens", function()
    assert.is_true(db:listen "Some channel")
    assert.is_nil(db:notification "10ms")
    server:psql [[notify "Some channel", 'hello'; notify "Some channel"]]
    local first, second = db:notification "5s", db:notification "5s"
    assert.equal("Some channel", first.channel)
    assert.equal("hello", first.payload)
    assert.equal("", second.payload)
    assert.is_true(first.pid > 0)
    assert.equal(1, value "select 1 v")
  end)

  it("commits or rolls back", function()
    assert(db:query "create temp table t (a int)")
    assert.equal("fine", db:transaction(function()
      assert(db:query "insert into t values (1)")
      return "fine"
    end))
    local result, cause = db:transaction(function()
      assert(db:query "insert into t values (2)")
      return db:query "select 1/0"
    end)
    assert.is_nil(result)
    assert.matches("division by zero", cause)
    assert.has_error(function() db:transaction(function() error "no" end) end)
    assert.equal(1, value "select count(*) v from t")
    assert.equal("idle", db:transaction_status())
  end)

  it("refuses COPY by the client without hanging", function()
    assert.matches("COPY from STDIN or to STDOUT is not possible", (fails "copy (select 1) to stdout"))
    db:close()
    db = assert(postgres.connect(server:parameters()))
    assert.matches("COPY", (fails "create temp table t (a int); copy t from stdin"))
  end)

  it("says when the connection is ended by the administrator, also while idle", function()
    local pid = db.pid
    local cause, info
    local waiting = task.spawn(function() cause, info = fails "select pg_sleep(33)" end)
    timer.sleep "100ms"
    server:psql("select pg_terminate_backend(" .. pid .. ")")
    task.join(waiting)
    assert.matches("terminating connection due to administrator command %(57P01%)", cause)
    assert.is_true(info.lost)
    assert.is_true(info.retryable)

    db = assert(postgres.connect(server:parameters()))
    server:psql("select pg_terminate_backend(" .. db.pid .. ")")
    timer.sleep "100ms"
    assert.is_false(db:alive())
    assert.matches("57P01", (fails "select 1"))
  end)

  it("survives ten thousand statements without growing", function()
    local function resident()
      local file = assert(io.open "/proc/self/statm")
      local pages = file:read("*a"):match "%d+ (%d+)"
      file:close()
      return tonumber(pages) * 4096
    end
    local function work(count)
      for i = 1, count do assert(db:query("select $1::int a, repeat('x', 200) b", i)) end
      collectgarbage()
      collectgarbage()
      return resident()
    end
    -- AddressSanitizer keeps what is freed for a while.
    local allowed = os.getenv "ASAN_OPTIONS" and 400e6 or 2e6
    local before = work(2000)
    assert.is_true(work(10000) - before < allowed)
  end)
end)
