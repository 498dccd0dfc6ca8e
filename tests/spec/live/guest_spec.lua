-- dbobs.guest: statements in somebody's database.
local guest = require "dbobs.guest"
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
        current_setting('max_parallel_workers_per_gather') as workers,
        (select query from pg_stat_activity where pid = pg_backend_pid()) as query]]),
    }, { statement_timeout = "7s" }))
    local settings = rows.settings[1]
    assert.equal("on", settings.read_only)
    assert.equal("7s", settings.statement_timeout)
    assert.equal("100ms", settings.lock_timeout)
    assert.equal("UTC", settings.timezone)
    assert.equal("ISO, YMD", settings.datestyle)
    assert.equal("0", settings.workers)
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
