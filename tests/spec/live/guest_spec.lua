-- dbobs.guest and dbobs.pool: statements in somebody's database, and the few connections they go over.
local guest = require "dbobs.guest"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

describe("a guest's snapshot", function()
  local server, db

  setup(function() server = servers.postgres() end)
  before_each(function() db = assert(postgres.connect(server:target { dbname = "app" })) end)
  after_each(function() db:close() end)

  -- A statement whose rows are kept in rows[name].
  local function statement(rows, name, sql, ...)
    rows[name] = {}
    return {
      name = name, sql = sql, args = { ... },
      each = function(chunk)
        for _, row in ipairs(chunk:rows()) do table.insert(rows[name], row) end
      end,
    }
  end

  it("brings the rows of every statement", function()
    local rows = {}
    assert.same({}, guest.snapshot(db, {
      statement(rows, "one", "select 1 as a"),
      statement(rows, "many", "select generate_series(1, $1::int) as i", 1000),
      statement(rows, "none", "select 1 where false"),
    }))
    assert.same({ { a = 1 } }, rows.one)
    assert.equal(1000, #rows.many)
    assert.equal(1000, rows.many[1000].i)
    assert.same({}, rows.none)
    assert.equal("idle", db:transaction_status())
  end)

  it("is read-only, limited, in UTC, marked, and leaves no setting behind", function()
    local rows = {}
    assert(db:query "set timezone to 'Asia/Tokyo'")
    assert.same({}, guest.snapshot(db, {
      statement(rows, "settings", [[select current_setting('transaction_read_only') as read_only,
        current_setting('statement_timeout') as statement_timeout, current_setting('lock_timeout') as lock_timeout,
        current_setting('timezone') as timezone, current_setting('datestyle') as datestyle,
        (select query from pg_stat_activity where pid = pg_backend_pid()) as query]]),
    }, { statement_timeout = "7s" }))
    local settings = rows.settings[1]
    assert.equal("on", settings.read_only)
    assert.equal("7s", settings.statement_timeout)
    assert.equal("100ms", settings.lock_timeout)
    assert.equal("UTC", settings.timezone)
    assert.equal("ISO, YMD", settings.datestyle)
    assert.matches("^/%* dbobs %*/ select", settings.query)
    assert.equal("Asia/Tokyo", db:query("select current_setting('timezone') v")[1].v)
    assert.equal("0", db:query("select current_setting('statement_timeout') v")[1].v)
  end)

  it("keeps what it can get when statements fail, and says why they did", function()
    local rows = {}
    local failures = guest.snapshot(db, {
      statement(rows, "first", "select 1 as a"),
      statement(rows, "broken", "select 1/0"),
      statement(rows, "second", "select 2 as a"),
      statement(rows, "refused", "select * from pg_authid"),
      statement(rows, "written", "create table x (a int)"),
      statement(rows, "third", "select 3 as a"),
    })
    assert.same({ { a = 1 } }, rows.first)
    assert.same({ { a = 2 } }, rows.second)
    assert.same({ { a = 3 } }, rows.third)
    assert.equal("22012", failures.broken.sqlstate)
    assert.equal("division by zero (22012)", failures.broken.text)
    assert.equal("42501", failures.refused.sqlstate)
    assert.equal("25006", failures.written.sqlstate)
    assert.is_nil(failures.first)
    assert.equal("idle", db:transaction_status())
  end)

  it("waits for no lock", function()
    local owner = assert(postgres.connect(server:parameters { dbname = "app" }))
    assert(owner:query "create table if not exists locked (a int)")
    assert(owner:query "grant select on locked to dbobs_monitor; begin; lock table locked in access exclusive mode")
    local rows = {}
    local failures = assert(guest.snapshot(db, {
      statement(rows, "locked", "select count(*) from locked"), statement(rows, "free", "select 1 as a"),
    }))
    assert.matches("55P03.*lock_timeout", failures.locked.text)
    assert.same({ { a = 1 } }, rows.free)
    owner:query "rollback; drop table locked"
    owner:close()
  end)

  it("ends a statement that takes too long", function()
    local rows = {}
    local failures = assert(guest.snapshot(db, {
      statement(rows, "slow", "select pg_sleep(20)"), statement(rows, "fast", "select 1 as a"),
    }, { statement_timeout = "100ms" }))
    assert.equal("57014", failures.slow.sqlstate)
    assert.same({ { a = 1 } }, rows.fast)
  end)

  it("returns nil when the connection is lost", function()
    local result, cause, info
    local waiting = task.spawn(function()
      result, cause, info = guest.snapshot(db, { { name = "slow", sql = "select pg_sleep(20)" } })
    end)
    timer.sleep "100ms"
    server:psql("select pg_terminate_backend(" .. db.pid .. ")")
    task.join(waiting)
    assert.is_nil(result)
    assert.matches("guest.snapshot: .*57P01", cause)
    assert.is_true(info.lost)
  end)

  it("closes the connection when the receiver of the rows raises", function()
    local function each() error "no room" end
    local ok, cause = pcall(guest.snapshot, db, { { name = "x", sql = "select 1", each = each } })
    assert.is_false(ok)
    assert.matches("no room", cause)
    assert.is_false(db:alive())
  end)
end)

describe("a pool", function()
  local server

  setup(function() server = servers.postgres() end)

  local function target(options)
    return { parameters = server:target(), database = "postgres", options = options or {} }
  end

  local function pid(of, database)
    return pool.use(of, database, function(db) return db.pid end)
  end

  it("keeps a connection for each database", function()
    local one = target()
    local first = assert(pid(one))
    assert.equal(first, pid(one, "postgres"))
    local other = assert(pid(one, "app"))
    assert.are_not.equal(first, other)
    assert.equal(first, pid(one))
    assert.equal("app", pool.use(one, "app", function(db) return db:query("select current_database() v")[1].v end))
    pool.close(one)
  end)

  it("has never more than it may", function()
    local one = target { connections = 1 }
    local first = assert(pid(one))
    assert(pid(one, "app"))
    assert.are_not.equal(first, pid(one))
    local highest, now, tasks = 0, 0, {}
    for i, database in ipairs { "app", "postgres", "template1", "app", "postgres" } do
      tasks[i] = task.spawn(function()
        pool.use(one, database, function(db)
          now = now + 1
          highest = math.max(highest, now)
          db:query "select pg_sleep(0.02)"
          now = now - 1
          return true
        end)
      end)
    end
    for _, each in ipairs(tasks) do assert.is_true(task.join(each)) end
    assert.equal(1, highest)
    pool.close(one)
  end)

  it("replaces a connection that was lost, and closes one that is left in a transaction or by an error", function()
    local one = target()
    local first = assert(pid(one))
    server:psql("select pg_terminate_backend(" .. first .. ")")
    timer.sleep "50ms"
    local second = assert(pid(one))
    assert.are_not.equal(first, second)
    pool.use(one, nil, function(db) return db:query "begin" end)
    local third = assert(pid(one))
    assert.are_not.equal(second, third)
    assert.has_error(function() pool.use(one, nil, function() error "oh" end) end)
    assert.are_not.equal(third, pid(one))
    pool.close(one)
  end)

  it("says why there is no connection, and tries again the next time", function()
    local one = target()
    one.parameters.password = "wrong"
    local result, cause, info = pid(one)
    assert.is_nil(result)
    assert.matches("28P01", cause)
    assert.equal("28P01", info.sqlstate)
    one.parameters.password = "monitor"
    assert(pid(one))
    pool.close(one)
  end)

  it("gives the turn on when the one who waits is cancelled", function()
    local one = target { connections = 1 }
    local holder = task.spawn(pool.use, one, nil, function(db) return db:query "select pg_sleep(0.2)" end)
    timer.sleep "50ms"
    local waiting = task.spawn(function() pcall(pid, one) end)
    timer.sleep "20ms"
    task.cancel(waiting)
    task.join(waiting)
    task.join(holder)
    assert(pid(one))
    pool.close(one)
  end)
end)
