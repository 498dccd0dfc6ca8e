local cjson = require "cjson"
local process = require "support.process"
local servers = require "support.servers"
local terminal = require "dbobs.terminal"

local SECRET = "wrong-secret"

-- The environment that points the shipped pipelines at a server.
local function environment(pg, more)
  local result = { PGHOST = pg.host, PGPORT = pg.port, PGDATABASE = "postgres", MONITOR_USER = "dbobs_monitor",
    MONITOR_PASSWORD = "monitor", KAFKA_BOOTSTRAP_SERVERS = "embedded" }
  for name, value in pairs(more or {}) do result[name] = value end
  return result
end

local function source_of(target)
  local parts = {}
  for name, value in pairs(target) do parts[#parts + 1] = ("%s = %q"):format(name, value) end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

-- A pipeline with one collector, which asks each target a question.
local function pipeline(targets)
  local list = {}
  for i, target in ipairs(targets) do list[i] = source_of(target) end
  return process.write(servers.directory() .. "/p.lua", ([[
    local dbobs = require "dbobs"
    local topic = dbobs.kafka { ["bootstrap.servers"] = "embedded" }:topic "t"
    local ask = { name = "ask", collect = function(run)
      local failures, cause = run:snapshot(nil, { { name = "one", sql = "select 1" } })
      if not failures then return nil, cause end
      return dbobs.send(run.sink, "k", "v", run.batch)
    end }
    for _, target in ipairs { %s } do dbobs.collect(ask, target, { to = topic }) end]])
    :format(table.concat(list, ",\n")))
end

local function json_by_target(text)
  local found = {}
  for line in text:gmatch "[^\n]+" do
    local one = cjson.decode(line)
    if one.kind == "collector" then found[one.target] = one end
  end
  return found
end

describe("dbobs check", function()
  local pg = servers.postgres()
  local bare = servers.postgres { name = "bare", "--bare" }

  it("prints a table of targets and collectors: what works", function()
    local code, stdout, stderr = process.run({ "check", "pipelines/pg.lua" }, environment(pg))
    assert.equal(0, code, stdout .. stderr)
    assert.matches("target%s+metrics%s+queries%s+logs\n127.0.0.1:%d+%s+ok %(%d+%)%s+ok %(%d+%)%s+ok %(%d+%)\n", stdout)
    assert.matches("brokers 127.0.0.1:%d+%s+ok", stdout)
    assert.is_nil(stdout:find("\27", 1, true))
  end)

  it("tells what is missing, and the SQL that mends it; the script of --sql gives all that is needed", function()
    bare:psql "drop role if exists nobody_special; create role nobody_special login password 'x'"
    local given = environment(bare, { MONITOR_USER = "nobody_special", MONITOR_PASSWORD = "x" })
    local code, stdout = process.run({ "check", "pipelines/pg.lua" }, given)
    assert.equal(1, code)
    assert.matches("127.0.0.1:%d+%s+FAILED%s+FAILED%s+FAILED\n", stdout)
    assert.matches("as superuser, in database postgres", stdout)
    assert.matches('\n    GRANT pg_monitor TO "nobody_special";\n', stdout)
    assert.matches("\n    CREATE EXTENSION IF NOT EXISTS pg_stat_statements;\n", stdout)
    assert.matches("ALTER SYSTEM SET shared_preload_libraries", stdout)

    pg:psql 'drop role if exists "of a \'script\'"'
    local user = "of a 'script'"
    given = environment(pg, { MONITOR_USER = user, MONITOR_PASSWORD = "of-a-script" })
    local sql
    code, sql = process.run({ "check", "--sql", "pipelines/pg.lua" }, given)
    assert.equal(0, code)
    assert.is_nil(sql:find("of-a-script", 1, true))
    local file = process.write(servers.directory() .. "/role.sql", sql)
    for _ = 1, 2 do
      pg:script("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-v", "password=of-a-script", "-f", file)
    end
    local stderr
    code, stdout, stderr = process.run({ "check", "pipelines/pg.lua" }, given)
    assert.equal(0, code, stdout .. stderr)
    pg:psql 'revoke connect on database postgres from "of a \'script\'"; drop role "of a \'script\'"'
  end)

  it("tells a log that could not be read", function()
    local code, stdout = process.run({ "check", "pipelines/pg.lua" },
      environment(pg, { POSTGRES_LOG_FILE = servers.directory() }))
    assert.equal(1, code)
    assert.matches("127.0.0.1:%d+%s+ok %(%d+%)%s+ok %(%d+%)%s+FAILED\n", stdout)
    assert.matches("logs: no file matches", stdout)
  end)

  it("tells how far behind a log is while another dbobs reads it", function()
    local given = environment(pg, { POSTGRES_LOG_FILE = pg.log, DBOBS_STATE_DIR = servers.directory() })
    local one = process.start({ "run", "pipelines/pg.lua" }, given)
    process.until_true(function()
      local text = servers.shell(("cat %s/*.logs.json 2>/dev/null"):format(given.DBOBS_STATE_DIR))
      return (tonumber(text:match '"offset":(%d+)') or 0) > 0
    end, "a position")
    one:signal "STOP"
    for _ = 1, 10 do pcall(pg.psql, pg, "select 1/0") end
    local code, stdout, stderr = process.run({ "check", "pipelines/pg.lua" }, given)
    one:signal "CONT"
    assert.equal(0, code, stdout .. stderr)
    assert.matches("postgresql%.json: [%d.]+ k?B behind %(%d+ s%), 1 file\n", stdout)
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
  end)

  it("tells a broker and a server that cannot be reached, and no password", function()
    local code, stdout, stderr = process.run({ "check", "pipelines/pg.lua" },
      environment(pg, { KAFKA_BOOTSTRAP_SERVERS = "127.0.0.1:1", PGPORT = "1", MONITOR_PASSWORD = SECRET }))
    assert.equal(1, code)
    assert.matches("brokers 127.0.0.1:1%s+FAILED", stdout)
    assert.matches("metrics, queries, logs: .*Connection refused", stdout)
    assert.is_nil((stdout .. stderr):find(SECRET, 1, true))
  end)

  it("goes through many targets while some hang, tells those, and stops at the first signal", function()
    local targets = {}
    for i = 1, 60 do targets[i] = pg:target { name = ("t%02d"):format(i) } end
    for _, i in ipairs { 1, 20, 40 } do
      targets[i] = { name = targets[i].name, host = bare.host, port = bare.port, user = "x", password = SECRET,
        connect_timeout = "5m" }
    end
    local file = pipeline(targets)
    bare:pause()
    local ok, problem = pcall(function()
      -- Within its time the others are done: nobody waited for those that hang.
      local code, stdout = process.run { "check", "--json", "--timeout", "5s", file }
      assert.equal(1, code)
      local found = json_by_target(stdout)
      for i, target in ipairs(targets) do
        local hangs = i == 1 or i == 20 or i == 40
        assert.equal(not hangs, found[target.name].ok, target.name)
        if hangs then assert.matches("5 s passed", found[target.name].problems[1]) end
      end
      local one = process.start { "check", "--timeout", "10m", file }
      one:says "embedded broker is running"
      one:signal "TERM"
      assert.equal(1, one:wait(), one:stderr())
      assert.matches("t01%s+stopped", one:stdout())
      assert.matches("stopped before everything was tried", one:stderr())
    end)
    bare:resume()
    assert.is_true(ok, problem)
  end)

  it("takes one target, and tells the nearest name of one that is not there", function()
    local file = pipeline { pg:target { name = "here" }, { name = "away", host = "127.0.0.1", port = "1" } }
    local code, stdout, stderr = process.run { "check", "--target", "here", file }
    assert.equal(0, code, stderr)
    assert.matches("\nhere%s+ok %(1%)\n", stdout)
    code, stdout, stderr = process.run { "check", "--target", "heer", file }
    assert.equal("", stdout)
    assert.equal(1, code)
    assert.matches("no target 'heer'; did you mean 'here'", stderr)
  end)

  it("fits a terminal of 40 columns, in colour unless NO_COLOR is set", function()
    local given = environment(bare, { MONITOR_USER = "nobody", TERM = "xterm" })
    local line = ("stty cols 40; '%s' check pipelines/pg.lua"):format(process.dbobs)
    local options = { command = "script -qec " .. servers.quote(line) .. " /dev/null" }
    local _, stdout = process.run({}, given, options)
    assert.matches("\27%[31mFAILED", stdout)
    given.NO_COLOR = "1"
    _, stdout = process.run({}, given, options)
    assert.is_nil(stdout:find("\27", 1, true))
    assert.matches("FAILED", stdout)
    local shown = stdout:match "\n(brokers .*)$" or stdout:match "(brokers .*)$"
    for one in shown:gmatch "[^\r\n]+" do
      -- SQL and names that cannot be broken stand as they are.
      local _, words = one:gsub("%S+", "")
      assert.is_true(terminal.width(one) <= 40 or words <= 1 or one:find "^    ", one)
    end
  end)

  it("ends quietly when nobody reads what it prints", function()
    local line = ("'%s' check pipelines/pg.lua 2>&1 >&3 3>&- | cat >&2"):format(process.dbobs)
    local script = ("exec 3> >(exec true); sleep 0.2; %s; exit ${PIPESTATUS[0]}"):format(line)
    local code, _, stderr = process.run({}, environment(pg), { command = "bash -c " .. servers.quote(script) })
    assert.equal(0, code, stderr)
    assert.is_nil(stderr:find("ERROR", 1, true), stderr)
  end)
end)
