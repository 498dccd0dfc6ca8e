local cjson = require "cjson"
local process = require "support.process"
local servers = require "support.servers"

describe("dbobs run --to stdout", function()
  local pg = servers.postgres()
  local given = { PGHOST = pg.host, PGPORT = pg.port, PGDATABASE = "postgres", MONITOR_USER = "dbobs_monitor",
    MONITOR_PASSWORD = "monitor" }
  local once = { "run", "--once", "--to", "stdout", "pipelines/pg.lua" }

  local function run(...)
    local words = { unpack(once) }
    for _, word in ipairs { ... } do words[#words + 1] = word end
    return process.run(words, given)
  end

  it("prints records decoded for people, with all points on a terminal", function()
    local code, stdout, stderr = run("--format", "text")
    assert.equal(0, code, stderr)
    assert.matches("%d+T%d+:%d+:%d+Z otel%-metrics 127.0.0.1:postgres %d+ resources?, %d+ points", stdout)
    assert.matches("raw%-logs 127.0.0.1:postgres info connection_stats total=%d+", stdout)
    local details
    code, details = run("--format", "details")
    assert.equal(0, code)
    assert.matches("\n%s+postgresql%.connection%.max %d+", details)
    local line = ("exec '%s' run --once --to stdout pipelines/pg.lua"):format(process.dbobs)
    local _, shown = process.run({}, given, { command = "script -qec " .. servers.quote(line) .. " /dev/null" })
    assert.matches("\n%s+postgresql%.connection%.max %d+", shown)
    code, _, stderr = process.run({ "run", "--once", "--format", "text", "pipelines/pg.lua" }, given)
    assert.equal(2, code)
    assert.matches("option %-%-format: it goes with %-%-to stdout", stderr)
  end)

  it("ends quietly when nobody reads on", function()
    for _, words in ipairs { "run --once --to stdout", "run --to stdout --for 10m" } do
      local line = ("{ '%s' %s pipelines/pg.lua; echo code=$? >&2; } | head -c 10"):format(process.dbobs, words)
      local code, _, stderr = process.run({}, given, { command = "bash -c " .. servers.quote(line) })
      assert.equal(0, code)
      assert.matches("code=0", stderr)
      assert.is_nil(stderr:find("ERROR", 1, true) or stderr:find("WARN", 1, true), stderr)
    end
  end)

  it("traces a collector's statements with time and rows", function()
    local code, stdout, stderr = run("--trace=metrics")
    assert.equal(0, code, stderr)
    assert.matches("^{", stdout)
    assert.matches("%d+:%d+:%d+%.%d+ metrics%s+127.0.0.1:%d+/postgres%s+%d+%.%d ms%s+1 rows  connection limit\n"
      .. "    select current_setting", stderr)
    assert.matches("0 rows  begin\n", stderr)
    assert.is_nil(stderr:find("logs ", 1, true))
    code, stdout, stderr = run("--trace", "all", "--log-format", "json")
    assert.equal(0, code)
    assert.matches("^{", stdout)
    local collectors = {}
    for line in stderr:gmatch "[^\n]+" do
      local event = cjson.decode(line)
      if event.msg == "statement" then
        assert.equal("number", type(event.ms))
        assert.equal("number", type(event.rows))
        collectors[event.collector] = true
      end
    end
    assert.same({ metrics = true, queries = true, logs = true }, collectors)
    code, stdout, stderr = run("--trace=metric")
    assert.equal("1 ", code .. " " .. stdout)
    assert.matches("no collector 'metric'; did you mean 'metrics'", stderr)
  end)

  it("traces what fails, and prints no password", function()
    local file = process.write(servers.directory() .. "/p.lua", ([[
      local dbobs = require "dbobs"
      dbobs.collect({ name = "own", collect = function(run)
        local failures, cause = run:snapshot(nil, {
          { name = "first", sql = "select 'password=s3cret'::text where 1 = 1" },
          { name = "wrong", sql = "select nothing" },
          { name = "last", sql = "select generate_series(1, 7)" },
        })
        return failures and failures.wrong and not failures.first and not failures.last or nil, cause
      end }, { host = %q, port = %q, user = "dbobs_monitor", password = "monitor", dbname = "postgres" },
        { to = dbobs.kafka {}:topic "t" })]]):format(pg.host, pg.port))
    local code, _, stderr = process.run { "run", "--once", "--to", "stdout", "--trace=own", file }
    assert.equal(0, code, stderr)
    assert.matches("wrong\n    select nothing\n    failed: .*column \"nothing\" does not exist", stderr)
    assert.matches("7 rows  last", stderr)
    assert.is_nil(stderr:find("s3cret", 1, true), stderr)
  end)

  it("traces the log over SQL", function()
    local file = process.write(servers.directory() .. "/p.lua", ([[
      local dbobs = require "dbobs"
      dbobs.collect(require "collectors.logs", { host = %q, port = %q, user = "postgres", password = "postgres",
        dbname = "postgres", log_source = "sql" }, { to = dbobs.kafka {}:topic "t" })]]):format(pg.host, pg.port))
    local one = process.start { "run", "--to", "stdout", "--trace=logs", file }
    one:says "rows  log\n    select name::text, size::bigint"
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
  end)
end)
