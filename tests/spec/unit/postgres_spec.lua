-- What dbobs.postgres knows without a server: its parameters, what they mean, how it tells what is wrong with them.
local errors = require "dbobs.postgres_error"
local postgres = require "dbobs.postgres"
local process = require "support.process"
local servers = require "support.servers"
local target = require "dbobs.target"

describe("parameters of PostgreSQL connections", function()
  it("refuses parameters that do not exist or have no sense, naming the nearest", function()
    local function misuse(parameters)
      local ok, cause = pcall(function() postgres.connect(parameters) end)
      assert.is_false(ok)
      return cause
    end
    assert.matches("postgres_spec.lua:%d+: postgres.connect: unknown parameter 'hots'; did you mean 'host'",
      misuse { hots = "x" })
    assert.matches("did you mean 'sslmode'", misuse { ssl_mode = "x" })
    assert.matches("did you mean 'password_command'", misuse { pasword_command = "x" })
    assert.matches("'host' must be a text or a number, got table", misuse { host = {} })
    assert.matches("'connect_timeout' must be a duration", misuse { connect_timeout = "soon" })
    assert.matches("'hots' %(did you mean 'host'%?%)", misuse "hots=x")
  end)

  it("never repeats a password of a malformed connection string", function()
    for _, text in ipairs {
      "host=x password='s3cret", "s3cret", "host=x s3cret", "postgres://u:s3cret@[::1/x", "postgres://u:s3cret%zz@h/x",
      "postgres://u:a@s3cret@h/x", "postgres://u:s3cret/y@h/x", "postgres://u:p@h:s3cret/x",
      'postgres://u:"s3cret@[h"/x', "s3cret=1",
    } do
      local ok, cause = pcall(postgres.connect, text)
      assert.is_false(ok)
      assert.is_nil(tostring(cause):find("s3cret", 1, true), text .. ": " .. tostring(cause))
    end
  end)

  it("tells what parameters mean, without connecting and without secrets", function()
    local given = { host = "a,b", port = "1,2", dbname = "d", user = "u", password = "s3cret" }
    local effective = assert(postgres.effective(given))
    assert.equal("a,b", effective.host)
    assert.equal("1,2", effective.port)
    assert.equal("d", effective.dbname)
    assert.equal("u", effective.user)
    assert.is_nil(effective.password)
    effective = assert(postgres.effective "postgresql://u@h/d")
    assert.equal("h", effective.host)
    assert.equal("5432", effective.port)
    assert.equal("x", assert(postgres.effective { host = "h", user = "x" }).dbname)
    assert.matches("^/", assert(postgres.effective { user = "x" }).host)
    assert.equal("9", assert(postgres.effective { connect_timeout = 3, password_command = "x", port = 9 }).port)
  end)

  it("says why they mean nothing", function()
    local effective, cause = postgres.effective { service = "none" }
    assert.is_nil(effective)
    assert.equal('postgres.effective: definition of service "none" not found', cause)
    effective, cause = postgres.effective { host = "a,b,c", port = "1,2" }
    assert.is_nil(effective)
    assert.matches("could not match 2 port numbers to 3 hosts", cause)
    effective, cause = postgres.effective { hsot = "a" }
    assert.is_nil(effective)
    assert.matches("unknown parameter 'hsot'; did you mean 'host'", cause)
  end)

  it("refuses a connection string in the place of a host or a database, without repeating it", function()
    for _, text in ipairs { "postgresql://u:s3cret@h/d", "host=h password=s3cret", "dbname=d PASSWORD = 's3cret'" } do
      for _, name in ipairs { "host", "hostaddr", "port", "dbname", "service" } do
        local ok, cause = pcall(function() postgres.connect { [name] = text } end)
        assert.is_false(ok)
        assert.matches(("postgres_spec.lua:%%d+: postgres.connect: parameter '%s' holds a connection string: write its "
          .. "parts as host, port, user, ... %%(or pass the whole text to dbobs.postgres.connect%%)$"):format(name),
          cause)
        local effective, why = postgres.effective { [name] = text }
        assert.is_nil(effective)
        assert.matches(("postgres.effective: parameter '%s' holds a connection string"):format(name), why)
        local _, problem = target.new { [name] = text }
        assert.matches("holds a connection string", problem)
        assert.is_nil((cause .. why .. problem):find("s3cret", 1, true))
      end
    end
    assert.equal("no_password", assert(postgres.effective { host = "h", dbname = "no_password" }).dbname)
  end)

  it("refuses one in the environment and in the service file as well", function()
    local directory = servers.directory()
    local script, services = directory .. "/script.lua", directory .. "/services"
    process.write(script, [[
      local postgres = require "dbobs.postgres"
      print(select(2, postgres.connect {}))
      print(select(2, postgres.effective {}))
    ]])
    process.write(services, "[mine]\nhost=postgresql://u:s3cret@h/d\n")
    local function both(environment)
      local run = "env %s PGSERVICEFILE=%s %s run %s 2>&1"
      local said = servers.shell(run:format(environment, services, process.dbobs, script))
      assert.is_nil(said:find("s3cret", 1, true), said)
      return said
    end
    for _, name in ipairs { "PGHOST", "PGDATABASE", "PGSERVICE" } do
      local said = both(name .. "=postgresql://u:s3cret@h/d")
      assert.matches(("postgres.connect: environment variable '%s' holds a connection string"):format(name), said)
      assert.matches(("postgres.effective: environment variable '%s' holds a connection string"):format(name), said)
    end
    local said = both "PGSERVICE=mine"
    assert.matches("postgres.connect: parameter 'host' holds a connection string", said)
    assert.matches("postgres.effective: parameter 'host' holds a connection string", said)
  end)

  it("keeps what a failing password command says to itself", function()
    local directory = servers.directory()
    local script = process.write(directory .. "/script.lua", [[
      local command = "echo s3cret; echo s3cret >&2; exit 3"
      print(select(2, require "dbobs.postgres".connect { host = "127.0.0.1", port = 1, password_command = command }))
    ]])
    local said = servers.shell(("%s run %s 2>&1"):format(process.dbobs, script))
    assert.matches("password_command failed with exit status 3 %(its own messages are not shown%); run the command by",
      said)
    assert.is_nil(said:find("s3cret", 1, true))
  end)

  it("lists what libpq knows", function()
    local known = {}
    for _, name in ipairs(postgres.parameters()) do known[name] = true end
    for _, name in ipairs { "host", "sslmode", "target_session_attrs", "passfile", "service", "require_auth" } do
      assert.is_true(known[name], name)
    end
  end)
end)

describe("errors of PostgreSQL", function()
  it("say which grant is missing", function()
    local function advice(message)
      return (errors.of_statement("query", { message = message, sqlstate = "42501" }, "watcher"))
    end
    assert.matches('GRANT pg_monitor TO "watcher"$', advice "permission denied for function pg_ls_waldir")
    assert.matches('EXECUTE ON FUNCTION pg_ls_dir TO "watcher"$', advice "permission denied for function pg_ls_dir")
    assert.matches('GRANT SELECT ON TABLE orders TO "watcher"$', advice "permission denied for table orders")
    assert.matches('GRANT USAGE ON SCHEMA s TO "watcher"$', advice "permission denied for schema s")
    assert.matches('GRANT pg_monitor TO "watcher"$', advice "keine Berechtigung")
  end)

  it("read as one line, with what to do", function()
    local text, info = errors.of_connect('connection to server at "h", port 5432 failed: FATAL:  57P03: the database '
      .. "system is starting up\nLOCATION:  ProcessStartupPacket, postmaster.c:2371", false)
    assert.equal('postgres.connect: connection to server at "h", port 5432 failed: FATAL: the database system is '
      .. "starting up (57P03); the server is starting, recovering or shutting down: it is worth trying again", text)
    assert.equal("57P03", info.sqlstate)
    assert.is_true(info.retryable)
  end)
end)
