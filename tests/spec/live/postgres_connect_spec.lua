-- dbobs.postgres while it connects: where parameters come from, what can go wrong, how it is told, what is left behind.
local postgres = require "dbobs.postgres"
local servers = require "support.servers"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local directory = servers.directory()

local function write(name, text, mode)
  local path = directory .. "/" .. name
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  servers.shell(("chmod %s %s"):format(mode or "600", path))
  return path
end

-- Runs a script in a dbobs of its own, with an environment; returns what it prints.
local function run_script(environment, text)
  local script = write("script.lua", 'local postgres = require "dbobs.postgres"\n' .. text)
  return (servers.shell(("env %s %s run %s 2>&1"):format(environment, os.getenv "DBOBS" or "build/dbobs", script)))
end

describe("connecting to PostgreSQL", function()
  local server

  setup(function() server = servers.postgres() end)

  local function connects(parameters)
    local db = assert(postgres.connect(parameters))
    local user = assert(db:query("select current_user u"))[1].u
    db:close()
    return user
  end

  local function fails(parameters)
    local db, cause, info = postgres.connect(parameters)
    if db then db:close() end
    assert.is_nil(db)
    return cause, info
  end

  it("takes a table, a connection string or a URI", function()
    local port = server.port
    assert.equal("postgres", connects(server:parameters()))
    local text = "host=127.0.0.1 port=%s user=postgres password=postgres dbname=postgres"
    assert.equal("postgres", connects(text:format(port)))
    local uri = "postgresql://postgres:postgres@127.0.0.1:%s/postgres?connect_timeout=5"
    assert.equal("postgres", connects(uri:format(port)))
  end)

  it("goes through a Unix socket", function()
    local db = assert(postgres.connect(server:parameters { host = server.socket }))
    assert.equal(server.socket, db.host)
    db:close()
  end)

  it("looks a host name up without holding the loop up", function()
    assert.equal("postgres", connects(server:parameters { host = "localhost" }))
  end)

  it("reads the environment, the service file and the password file", function()
    local print_user = 'local db = assert(postgres.connect {}) print(db:query("select current_user u")[1].u, db.dbname)'
    local host = ("PGHOST=127.0.0.1 PGPORT=%s"):format(server.port)
    assert.equal("postgres\tapp\n",
      run_script(host .. " PGUSER=postgres PGPASSWORD=postgres PGDATABASE=app", print_user))
    local passfile = write("passfile", "127.0.0.1:*:*:dbobs_monitor:monitor\n")
    assert.equal("dbobs_monitor\tapp\n",
      run_script(("%s PGPASSFILE=%s PGUSER=dbobs_monitor PGDATABASE=app"):format(host, passfile), print_user))
    local text = "[mine]\nhost=127.0.0.1\nport=%s\nuser=dbobs_monitor\npassword=monitor\ndbname=app\n"
    local service = write("services", text:format(server.port))
    assert.equal("dbobs_monitor\tapp\n", run_script(("PGSERVICEFILE=%s PGSERVICE=mine"):format(service), print_user))
    assert.equal("127.0.0.1\tdbobs_monitor\tapp\tnil\n", run_script("PGSERVICEFILE=" .. service,
      'local e = assert(postgres.effective { service = "mine" }) print(e.host, e.user, e.dbname, e.password)'))
  end)

  it("reads a password file anew at each connect", function()
    local passfile = write("changing", "*:*:*:postgres:wrong\n")
    local parameters = server:parameters { passfile = passfile }
    parameters.password = nil
    assert.matches("28P01", (fails(parameters)))
    write("changing", "*:*:*:postgres:postgres\n")
    assert.equal("postgres", connects(parameters))
  end)

  it("runs the password command at each connect", function()
    local parameters = server:parameters { password_command = ("cat %s"):format(write("secret", "wrong")) }
    parameters.password = nil
    assert.matches("28P01", (fails(parameters)))
    write("secret", "postgres\n")
    assert.equal("postgres", connects(parameters))
  end)

  it("says why a password command failed, without showing it", function()
    local function with(command, timeout)
      return (fails(server:parameters { password_command = command, connect_timeout = timeout }))
    end
    assert.matches("failed with exit status 3 %(its own messages are not shown%); run the command by hand",
      with "echo hidden; exit 3")
    assert.matches("password_command printed nothing", with "true")
    assert.matches("no answer within 0.2 s", with("sleep 20", "200ms"))
    assert.is_nil(with("echo hidden; exit 3"):find "hidden")
    timer.sleep "300ms"
    assert.equal("", (servers.shell "pgrep -x -f 'sleep 20' || true"))
  end)

  it("logs in with passwords of any length, and with no other", function()
    local admin = assert(postgres.connect(server:parameters()))
    assert(admin:query "create role long_password login")
    for _, password in ipairs { "x", ("p"):rep(63), ("p"):rep(64), ("p"):rep(65), ("long "):rep(60), "ключ 🔑 'q'" } do
      assert(admin:query("alter role long_password password '" .. password:gsub("'", "''") .. "'"))
      assert.matches("^SCRAM%-SHA%-256", admin:query([[select rolpassword as verifier from pg_authid
        where rolname = 'long_password']])[1].verifier)
      local db = assert(postgres.connect(server:parameters { user = "long_password", password = password }))
      assert.equal("long_password", db.user)
      db:close()
      local _, _, info = postgres.connect(server:parameters { user = "long_password", password = password .. "p" })
      assert.equal("28P01", info.sqlstate)
    end
    assert(admin:query "drop role long_password")
    admin:close()
  end)

  it("says what is wrong when the server refuses", function()
    local cause, info = fails(server:parameters { password = "s3cret" })
    assert.matches("password authentication failed for user \"postgres\" %(28P01%); check user and password", cause)
    assert.is_nil(cause:find "s3cret")
    assert.is_false(info.retryable)
    assert.equal("28P01", info.sqlstate)
    local parameters = server:parameters()
    parameters.password = nil
    assert.matches("no password supplied; .*password_command", (fails(parameters)))
    assert.matches('database "none" does not exist %(3D000%); check the option dbname',
      (fails(server:parameters { dbname = "none" })))
    assert.matches("role .*28000", (fails(server:parameters { host = server.socket, user = "none" })))
  end)

  it("says what is wrong when there is no server", function()
    local cause, info = fails { host = "127.0.0.1", port = 1 }
    assert.matches('server at "127.0.0.1", port 1 failed: Connection refused; nothing listens there', cause)
    assert.is_true(info.retryable)
    assert.matches("no server has its socket there", (fails { host = directory, port = 5 }))
    assert.matches("could not translate host name .*; check the option host",
      (fails { host = "no-such-host.invalid", connect_timeout = "20s" }))
  end)

  it("gives up on a server that hangs when the time is over", function()
    local frozen = servers.postgres { name = "frozen" }
    frozen:pause()
    local cause, info = fails(frozen:parameters { connect_timeout = "300ms" })
    frozen:resume()
    assert.matches("it accepts the connection, but has not answered within 0.3 s; the server hangs", cause)
    assert.is_true(info.timeout)
  end)

  it("tries the next host when one refuses or hangs", function()
    assert.equal("postgres", connects(server:parameters { host = "127.0.0.1,127.0.0.1", port = "1," .. server.port }))
    local frozen = servers.postgres { name = "frozen" }
    frozen:pause()
    local db, cause = postgres.connect(server:parameters {
      host = "127.0.0.1,localhost", port = frozen.port .. "," .. server.port, connect_timeout = "300ms",
    })
    frozen:resume()
    assert(db, cause)
    assert.equal("localhost", db.host)
    db:close()
    assert.matches("port 1 failed.*port 2 failed",
      (fails(server:parameters { host = "127.0.0.1,127.0.0.1", port = "1,2" })))
  end)

  it("tells a primary from a standby", function()
    local cause = fails(server:parameters { target_session_attrs = "standby" })
    assert.matches("server is not in hot standby mode", cause)
    assert.equal("postgres", connects(server:parameters { target_session_attrs = "prefer-standby" }))
  end)

  it("speaks TLS and checks the certificate", function()
    local tls = servers.postgres { name = "tls", "--tls" }
    local db = assert(postgres.connect(tls:parameters {
      host = "localhost", sslmode = "verify-full", sslrootcert = tls.cert, statement_timeout = "200ms",
    }))
    assert.is_true(db.ssl)
    assert.is_true(assert(db:query "select ssl from pg_stat_ssl where pid = pg_backend_pid()")[1].ssl)
    local _, cause = db:query "select pg_sleep(10)"
    assert.matches("57014", cause)
    local rows = 0
    for chunk in db:stream "select repeat('x', 100) from generate_series(1, 50000)" do rows = rows + chunk:count() end
    assert.equal(50000, rows)
    db:close()
    assert.matches("certificate verify failed",
      (fails(tls:parameters { sslmode = "verify-full", sslrootcert = "system" })))
    assert.matches("server does not support SSL", (fails(server:parameters { sslmode = "require" })))
  end)

  it("says that a server is restarting, and connects when it is back", function()
    local other = servers.postgres { name = "restarted" }
    local db = assert(postgres.connect(other:parameters()))
    other:kill()
    timer.sleep "50ms"
    local _, cause, info = db:query "select 1"
    assert.matches("postmaster exit %(57P01%)", cause)
    assert.is_true(info.lost)
    assert.is_true(info.retryable)
    assert.matches("Connection refused", (fails(other:parameters())))
    other:start()
    db = assert(postgres.connect(other:parameters()))
    servers.shell("kill -TERM " .. other.pid) -- which waits for its clients to leave
    timer.sleep "100ms"
    cause, info = fails(other:parameters())
    assert.matches("shutting down %(57P03%); the server is starting, recovering or shutting down", cause)
    assert.is_true(info.retryable)
    db:close()
    servers.drop(other)
  end)

  it("stops when its task is cancelled, at any moment", function()
    local frozen = servers.postgres { name = "frozen" }
    frozen:pause()
    for _, pause in ipairs { "0ms", "1ms", "5ms", "50ms" } do
      local connecting = task.spawn(pcall, postgres.connect, frozen:parameters { connect_timeout = "30s" })
      timer.sleep(pause)
      task.cancel(connecting)
      task.join(connecting)
    end
    frozen:resume()
    for _ = 1, 20 do
      task.join(task.spawn(function() task.deadline("1ms", postgres.connect, server:parameters()) end))
    end
  end)

  it("leaves nothing behind when a connection is forgotten", function()
    local function files()
      local count = 0
      for _ in require("lfs").dir "/proc/self/fd" do count = count + 1 end
      return count
    end
    local before = files()
    for i = 1, 10 do
      local db = assert(postgres.connect(server:parameters()))
      if i % 2 == 0 then db:stream("select generate_series(1, 1000000)")() end
    end
    collectgarbage()
    collectgarbage()
    timer.sleep "300ms"
    assert.is_true(files() <= before)
  end)

  -- Connects so often at the same time; returns how many did.
  local function side_by_side(count, parameters)
    local done, tasks = 0, {}
    for i = 1, count do
      tasks[i] = task.spawn(function()
        local db = assert(postgres.connect(parameters))
        assert(db:query "select 1")
        done = done + 1
        timer.sleep "50ms"
        db:close()
      end)
    end
    for _, one in ipairs(tasks) do task.join(one) end
    return done
  end

  it("opens two hundred connections side by side", function()
    assert.equal(200, side_by_side(200, server:parameters()))
  end)

  it("encrypts many connections side by side", function()
    local tls = servers.postgres { name = "tls", "--tls" }
    for _ = 1, 3 do assert.equal(60, side_by_side(60, tls:parameters { sslmode = "require" })) end
  end)
end)
