-- dbobs.pool and its guard: the few connections that collectors share, and that they stand in nobody's way.
local guest = require "dbobs.guest"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

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

  it("keeps the first connections to single databases, and opens and closes the others", function()
    local one = target { connections = 1 }
    local main, first = assert(pid(one)), assert(pid(one, "app"))
    local second = assert(pid(one, "template1"))
    for _ = 1, 3 do
      local again = assert(pid(one, "template1"))
      assert.are_not.equal(second, again)
      second = again
      assert.equal(first, pid(one, "app"))
      assert.equal(main, pid(one))
    end
    assert.same({ 2, 1 }, { pool.count(one) })
    pool.close(one)
    assert.same({ 0, 0 }, { pool.count(one) })
  end)

  it("keeps none of single databases where that is asked for", function()
    local one = target { connections = 0 }
    local main, first = assert(pid(one)), assert(pid(one, "app"))
    assert.are_not.equal(first, pid(one, "app"))
    assert.equal(main, pid(one))
    assert.same({ 1, 0 }, { pool.count(one) })
    pool.close(one)
  end)

  it("has two more than it keeps at most, and one for each database", function()
    local one = target { connections = 1 }
    local highest, now, tasks, of = 0, 0, {}, {}
    for i, database in ipairs { "app", "template1", "app", "template1", "app", "template1" } do
      tasks[i] = task.spawn(function()
        assert(pool.use(one, database, function(db)
          now = now + 1
          of[database] = (of[database] or 0) + 1
          assert.equal(1, of[database])
          highest = math.max(highest, (pool.count(one)))
          db:query "select pg_sleep(0.02)"
          now, of[database] = now - 1, of[database] - 1
          return true
        end))
      end)
    end
    for _, each in ipairs(tasks) do assert.is_true(task.join(each)) end
    assert.is_true(highest <= 4, highest)
    pool.close(one)
  end)

  it("does not keep what has seen very many relations", function()
    local one = target()
    local function scan(rows)
      return pool.use(one, "app", function(db)
        assert(guest.snapshot(db, { { name = "n", sql = "select generate_series(1, $1::int)", args = { rows } } }))
        return db.pid
      end)
    end
    local first = scan(10)
    assert.equal(first, scan(20000))
    assert.are_not.equal(first, scan(10))
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
    local one = target()
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

describe("a pool's connection to a database", function()
  local server, admin, one

  setup(function() server = servers.postgres() end)

  before_each(function()
    admin = assert(postgres.connect(server:parameters()))
    one = { parameters = server:target(), database = "postgres", options = {} }
  end)

  after_each(function()
    pool.close(one)
    for _, name in ipairs { "guarded", "renamed", "copy" } do
      assert(admin:query("drop database if exists " .. name))
    end
    admin:close()
  end)

  local function use(database)
    return pool.use(one, database, function(db) return db:query "select 1 as a" end)
  end

  -- Calls fn while two tasks use the database over and over; returns what else than rows they were given.
  local function under_use(database, fn)
    local ended, tasks, other = false, {}, {}
    for i = 1, 2 do
      tasks[i] = task.spawn(function()
        while not ended do
          local result, cause, info = use(database)
          if not result then other[#other + 1] = { cause = cause, info = info } end
          timer.sleep "20ms"
        end
      end)
    end
    timer.sleep "200ms"
    local ok, cause = pcall(fn)
    ended = true
    for _, each in ipairs(tasks) do task.join(each) end
    assert(ok, cause)
    return other
  end

  -- Each of them finds the database in use and must get it for itself within the server's five seconds.
  it("is let go for DROP DATABASE, RENAME and a template copy, again and again", function()
    for _ = 1, 2 do
      assert(admin:query "create database guarded")
      local other = under_use("guarded", function()
        assert(admin:query "create database copy template guarded")
        assert(admin:query "alter database guarded rename to renamed")
        assert(admin:query "alter database renamed rename to guarded")
        timer.sleep "300ms"
        assert(admin:query "drop database guarded")
        assert(admin:query "drop database copy")
      end)
      for _, each in ipairs(other) do
        assert.is_true(each.info.blocked or each.info.sqlstate == "3D000", each.cause)
      end
    end
  end)

  it("is closed in use, and none is begun, while somebody changes the database", function()
    assert(admin:query "create database guarded")
    local result, cause, info
    local long = task.spawn(function()
      result, cause, info = pool.use(one, "guarded", function(db) return db:query "select pg_sleep(120)" end)
    end)
    timer.sleep "200ms"
    assert(admin:query "drop database guarded")
    assert.is_true(task.join(long))
    assert.is_nil(result)
    assert.matches("'guarded' is being dropped, renamed or copied", cause)
    assert.is_true(info.blocked)

    assert(admin:query "create database guarded")
    assert(admin:query "begin")
    assert(admin:query "alter database guarded rename to renamed")
    timer.sleep "2100ms" -- so old a look is not trusted
    result, cause, info = use "guarded"
    assert.is_nil(result)
    assert.is_true(info.blocked, cause)
    assert(admin:query "rollback")
    local again = use "guarded"
    for _ = 1, 600 do
      if again then break end
      timer.sleep "100ms"
      again = use "guarded"
    end
    assert.equal(1, again[1].a)
  end)
end)
