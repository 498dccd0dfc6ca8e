local cjson = require "cjson"
local process = require "support.process"
local servers = require "support.servers"

describe("load tests, live", function()
  local pg, environment, dir

  setup(function()
    pg = servers.postgres { name = "load", "--bare", "--set", "max_connections=40" }
    environment = {
      PGHOST = pg.host, PGPORT = pg.port, PGUSER = pg.user, PGPASSWORD = pg.password, PGDATABASE = "postgres",
    }
    dir = servers.directory()
  end)

  -- Runs a workload file with its text; returns exit code, output, errors and the figures.
  local function run(text, options, command)
    local path = process.write(dir .. "/w.lua", text)
    local words = { "run", path, command or "run", "json=" .. dir .. "/figures.json" }
    for name, value in pairs(options or {}) do words[#words + 1] = name .. "=" .. value end
    os.remove(dir .. "/figures.json")
    local code, stdout, stderr = process.run(words, environment)
    local figures = process.read(dir .. "/figures.json")
    return code, stdout, stderr, figures and cjson.decode(figures)
  end

  local function workload(events, more)
    return ([[local dbobs = require "dbobs"
      return dbobs.load.workload { name = "test", targets = dbobs.load.targets_of_environment,
        %s events = { %s } }]]):format(
      more or "", events)
  end

  local function event(name, body, weight)
    return ("{ name = '%s', weight = %s, run = function(db, random, options) %s end },"):format(name, weight or 1, body)
  end

  it("chooses events by their weights, within statistical bounds", function()
    local select = "db:execute('select $1::int', random:uniform(1, 9))"
    local events = event("a", select, 6) .. event("b", select, 3) .. event("c", select, 1)
    local code, stdout, stderr, figures = run(workload(events),
      { duration = "2s", connections = 4 })
    assert.equal(0, code, stderr)
    assert.matches("4 connections, 1 threads, closed loop: each connection as fast as it can, for 2 s, seed 1", stdout)
    local n, chi = figures.total.events, 0
    for i, weight in ipairs { 0.6, 0.3, 0.1 } do
      local expected = n * weight
      chi = chi + (figures.events[i].events - expected) ^ 2 / expected
    end
    assert.is_true(n > 500)
    assert.is_true(chi < 18.4, ("chi square %.1f of %d events"):format(chi, n)) -- one in 10,000, two degrees of freedom
    assert.equal(n, figures.statements[1].count)
  end)

  it("starts at the rate that is set, in several threads, and counts what the server did", function()
    pg:psql "drop table if exists arrivals; create table arrivals (at timestamptz default clock_timestamp(), pid int)"
    local insert = "db:execute('insert into arrivals (pid) values (pg_backend_pid())')"
    local code, _, stderr, figures = run(workload(event("insert", insert)),
      { rate = 200, duration = "3s", connections = 6, threads = 2, interval = "500ms" })
    assert.equal(0, code, stderr)
    assert.equal(600, figures.total.events + figures.total.not_started + figures.total.unfinished)
    assert.equal(tostring(figures.total.events), pg:psql "select count(*) from arrivals")
    assert.equal("6", pg:psql "select count(distinct pid) from arrivals")
    assert.equal(6, #figures.timeline)
  end)

  it("has the percentiles of the raw timings of the same run", function()
    local raw = dir .. "/raw"
    local body = ([[local began = dbobs.monotonic()
      db:execute("select pg_sleep($1)", 0.001 + random:interval(0.005))
      local file = io.open(%q, "a")
      file:write(("%%.9f\n"):format(dbobs.monotonic() - began))
      file:close()]]):format(raw)
    local code, _, stderr, figures = run(workload(event("sleep", body)), { duration = "2s", connections = 4 })
    assert.equal(0, code, stderr)
    local values = {}
    for line in process.read(raw):gmatch "[^\n]+" do values[#values + 1] = tonumber(line) * 1e3 end
    table.sort(values)
    assert.equal(#values, figures.total.events)
    -- The event's own time contains the measured one and what writing the file takes.
    for name, share in pairs { p50_ms = 0.5, p90_ms = 0.9, p99_ms = 0.99 } do
      -- Between two neighbours either may be called the percentile.
      local exact, told = values[math.ceil(share * #values) - 1], figures.events[1].service[name]
      assert.is_true(told >= exact * 0.998, ("%s: %g, raw %g"):format(name, told, exact))
    end
    local statement = figures.statements[1]
    assert.near(values[math.ceil(0.5 * #values)], statement.p50_ms, 0.3)
  end)

  it("sees a stalled server in the corrected percentiles, which its own start would hide", function()
    local path = process.write(dir .. "/w.lua", workload(event("select", "db:execute('select 1')")))
    local one = process.start({
      "run", path, "rate=100", "duration=8s", "connections=2", "json=" .. dir .. "/stall.json",
    }, environment)
    one:says("1s +%d+", "out")
    pg:pause()
    require("dbobs.timer").sleep "2s"
    pg:resume()
    assert.equal(0, one:wait(), one:stderr())
    local total = cjson.decode(process.read(dir .. "/stall.json")).total
    assert.equal(800, total.events + total.not_started)
    -- Some 200 of 800 events should have started in the 2 s, and waited a second in the mean.
    assert.is_true(total.response.p90_ms > 500, ("corrected p90 %g ms"):format(total.response.p90_ms))
    assert.is_true(total.service.p90_ms < 500, ("p90 from the real start %g ms"):format(total.service.p90_ms))
    assert.is_true(total.response.max_ms > 1500)
  end)

  it("sends nothing twice: a failed event is rolled back, counted by SQLSTATE, retried when asked", function()
    pg:psql "drop table if exists t; create table t (id int primary key); insert into t values (1)"
    local body = [[db:begin()
      db:execute("insert into t values (1000 + $1)", random:unique())
      if random:real() < 0.5 then db:execute("insert into t values (1)") end
      db:commit()]]
    local code, stdout, stderr, figures = run(workload(event("insert", body)), { duration = "1s", connections = 2 })
    assert.equal(0, code, stderr)
    assert.is_true(figures.total.errors["23505"] > 0)
    assert.matches("23505 +%d+ +duplicate key value", stdout)
    assert.equal(tostring(figures.total.events + 1), pg:psql "select count(*) from t")
    code, stdout, stderr, figures = run(workload(event("insert", body), "retry_on = { '23505' },"),
      { duration = "1s", connections = 2, retries = 100 })
    assert.equal(0, code, stderr)
    assert.is_nil(stdout:match "\nerrors: ")
    assert.same({ 0, true }, { figures.total.failed, figures.total.retries > 0 })
  end)

  it("speaks each protocol, pipelines, copies, listens", function()
    pg:psql "drop table if exists copied; create table copied (a int, b text)"
    local body = [[
      local rows = db:rows("select $1::text as t, $2::int as n, $3::bool as b", "it's \\ $1", -5, true)
      assert(rows[1].t == "it's \\ $1" and rows[1].n == -5 and rows[1].b == true)
      assert(db:execute("select where $1 = 'it''s \\ \"$1' and 3 - $2 = 8 and $3::text is null -- $9", "it's \\ \"$1",
        -5, nil) == 1)
      assert(db:execute("select $1::text where $1 = '$1'", "$1") == 1)
      db:start_pipeline()
      for i = 1, 5 do db:execute("select $1::int", i) end
      db:end_pipeline()
      assert(db:copy("copy copied (a, b) from stdin", "1\tx\n2\ty\n") == 2)
      db:listen "bell"
      db:execute "notify bell, 'ding'"
      assert(db:notification("10s").payload == "ding")]]
    for _, protocol in ipairs { "prepared", "extended", "simple" } do
      local code, _, stderr, figures = run(workload(event("all", body)), { duration = "300ms", connections = 1,
        protocol = protocol })
      assert.equal(0, code, protocol .. ": " .. stderr)
      assert.is_true(figures.total.events > 0)
    end
    assert.is_true(tonumber((pg:psql "select count(*) from copied")) >= 6)
  end)

  it("goes on with its connection after a pipeline that failed, statement by statement", function()
    local body = [[
      db:start_pipeline()
      db:execute("select 1 / $1::int", 0)
      db:execute("select 2")
      local ok, failure = pcall(db.end_pipeline, db)
      assert(not ok and failure.sqlstate == "22012", tostring(failure))
      assert(not db.closed)
      assert(db:execute("select 1") == 1)
      db:begin()
      assert(db:execute("select $1::int from generate_series(1, 3)", 7) == 3)
      db:commit()]]
    local code, _, stderr, figures = run(workload(event("all", body)), { duration = "300ms", connections = 1 })
    assert.equal(0, code, stderr)
    assert.is_true(figures.total.events > 1)
    assert.equal(0, figures.total.failed + figures.total.unfinished)
  end)

  it("goes through a restart of the server: counted and reconnected", function()
    local path = process.write(dir .. "/w.lua", workload(event("select", "db:execute('select 1')")))
    local one = process.start({ "run", path, "rate=50", "duration=8s", "connections=3", "json=" .. dir .. "/r.json" },
      environment)
    one:says("1s +%d+", "out")
    pg:restart "immediate"
    assert.equal(0, one:wait(), one:stderr())
    local figures = cjson.decode(process.read(dir .. "/r.json"))
    assert.is_true(figures.total.reconnects >= 1)
    assert.is_true(figures.total.failed >= 1)
    local last = figures.timeline[#figures.timeline]
    assert.equal(3, last.connected)
    assert.is_true(last.rate > 0)
  end)

  it("reports what there is when it is interrupted", function()
    local path = process.write(dir .. "/w.lua", workload(event("select", "db:execute('select 1')")))
    local one = process.start({ "run", path, "duration=0s", "connections=2" }, environment)
    one:says("1s +%d+", "out")
    one:signal "INT"
    assert.equal(0, one:wait(), one:stderr())
    assert.matches("test: [%d%.]+ s, %d+ events", one:stdout())
  end)

  describe("ends with a clear error", function()
    local function fails(pattern, text, options)
      local code, stdout, stderr = run(text, options or { duration = "30s", connections = 2 })
      assert.equal(1, code, stdout)
      assert.matches(pattern, stderr)
      return stdout
    end

    it("when an event raises", function()
      fails("event 'a' raised an error: .*w.lua:%d+: oops", workload(event("a", "error 'oops'")))
    end)

    it("when an event always fails, unless it is told to count", function()
      local text = workload(event("a", "db:execute 'select 1/0'"))
      fails("event 'a' always fails: division by zero %(SQLSTATE 22012%)", text)
      local code, _, _, figures = run(text, { duration = "500ms", connections = 1, errors = "count" })
      assert.equal(0, code)
      assert.is_true(figures.total.errors["22012"] > 0)
    end)

    it("when a weight is wrong", function()
      fails("event 'a': the weight must be a number of 0 or more", workload(event("a", "", "-1")))
    end)

    it("when the tables are not prepared", function()
      local text = workload(event("a", "db:execute 'select * from missing'"), "prepare = function() end,")
      fails('relation "missing" does not exist: the tables are not prepared: dbobs run .*/w.lua prepare', text)
    end)

    it("when the server has not so many connections", function()
      fails("max_connections is 40, of which %d+ were in use", workload(event("a", "")), { connections = 60,
        duration = "1s" })
    end)

    it("when the server is not there, or none is named", function()
      fails("connection to server at .127.0.0.1., port 1 failed", workload(event("a", "")),
        { target = "host=127.0.0.1 port=1 dbname=x" })
      fails("no server is named", (workload(event("a", "")):gsub("dbobs.load.targets_of_environment", "{}")))
    end)

    it("when a limit is broken", function()
      local stdout
      local code
      code, stdout = run(workload(event("a", "db:execute 'select pg_sleep(0.01)'"),
        "limits = { p99 = '5ms', errors = 0 },"),
        { duration = "500ms", connections = 1 })
      assert.equal(1, code)
      assert.matches("LIMIT BROKEN: p99 is [%d%.]+ ms, over the limit of 5.000 ms", stdout)
    end)
  end)
end)
