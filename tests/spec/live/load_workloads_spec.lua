local cjson = require "cjson"
local process = require "support.process"
local servers = require "support.servers"

describe("workloads, live", function()
  local pg, environment, dir

  setup(function()
    pg = servers.postgres {
      name = "load_workloads", "--bare", "--set", "max_connections=80", "--set", "log_statement=all",
    }
    environment = {
      PGHOST = pg.host, PGPORT = pg.port, PGUSER = pg.user, PGPASSWORD = pg.password, PGDATABASE = "postgres",
    }
    dir = servers.directory()
  end)

  local function dbobs(...)
    local code, stdout, stderr = process.run({ ... }, environment)
    return code, stdout, stderr
  end

  -- Runs a workload that must go well, and returns its figures.
  local function figures(name, ...)
    local path = dir .. "/" .. name .. ".json"
    local code, stdout, stderr = dbobs("run", "pipelines/load/" .. name .. ".lua", "json=" .. path, ...)
    assert.equal(0, code, stdout .. stderr)
    return cjson.decode(process.read(path)), stdout
  end

  local function prepare(name, ...)
    local code, stdout, stderr = dbobs("run", "pipelines/load/" .. name .. ".lua", "prepare", ...)
    assert.equal(0, code, stdout .. stderr)
    return stdout
  end

  local function cleanup(name)
    local code, stdout, stderr = dbobs("run", "pipelines/load/" .. name .. ".lua", "cleanup")
    assert.equal(0, code, stdout .. stderr)
    return stdout
  end

  local function tables()
    return pg:psql [[select string_agg(relname, ' ' order by relname) from pg_class
      where relkind = 'r' and relnamespace = 'public'::regnamespace]]
  end

  it("oltp: every mix of sysbench, on its tables", function()
    local stdout = prepare("oltp", "tables=2", "table_size=500")
    assert.matches("sbtest1: 500 rows", stdout)
    assert.matches("ready: dbobs run pipelines/load/oltp.lua", stdout)
    assert.equal("500|500", pg:psql [[select count(*), max(id) from sbtest2
      where rtrim(c) ~ '^([0-9]{11}-){9}[0-9]{11}$']])
    for mix, statements in pairs { point_select = 1, read_only = 14 + 2, write_only = 4 + 2, read_write = 18 + 2 } do
      local all = figures("oltp", "mix=" .. mix, "duration=500ms", "tables=2", "table_size=500", "connections=3")
      assert.equal(mix, all.events[1].name)
      assert.same({}, all.total.errors)
      local count = 0
      for _, statement in ipairs(all.statements) do count = count + statement.count end
      assert.is_true(all.total.events > 0)
      assert.is_true(count >= all.total.events * statements)
    end
    assert.equal("1000", pg:psql "select (select count(*) from sbtest1) + (select count(*) from sbtest2)")
    assert.matches("dropped sbtest1, sbtest2", cleanup "oltp")
    assert.equal("", tables())
  end)

  it("prepare and cleanup leave tables alone that they did not make", function()
    pg:psql "create table sbtest1 (mine int)"
    local code, _, stderr = dbobs("run", "pipelines/load/oltp.lua", "prepare", "table_size=10")
    assert.equal(1, code)
    assert.matches("there is a table sbtest1 already, and it was not made by this workload", stderr)
    assert.matches("nothing to drop", cleanup "oltp")
    assert.equal("sbtest1", tables())
    pg:psql "drop table sbtest1"
    code, _, stderr = dbobs("run", "pipelines/load/oltp.lua", "duration=30s")
    assert.equal(1, code)
    assert.matches("the tables are not prepared: dbobs run pipelines/load/oltp.lua prepare", stderr)
  end)

  it("tpcb: pgbench's tables and the sums that it keeps", function()
    prepare "tpcb"
    local all = figures("tpcb", "duration=1s", "connections=4")
    assert.is_true(all.total.events > 0)
    local sums = [[select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
      and (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers),
      (select count(*) from pgbench_history), (select count(*) from pgbench_accounts)]]
    assert.equal(("t|%d|100000"):format(all.total.events), pg:psql(sums))
    for _, mix in ipairs { "simple_update", "select_only", "pipelined" } do
      assert.is_true(figures("tpcb", "mix=" .. mix, "duration=300ms", "connections=2").total.events > 0)
    end
    local theirs = servers.shell(("PGPASSWORD=%s pgbench -n -t 5 -h %s -p %s -U postgres postgres 2>&1"):format(
      pg.password, pg.host, pg.port))
    assert.matches("number of transactions actually processed: 5/5", theirs)
    cleanup "tpcb"
    assert.equal("", tables())
  end)

  it("simulator: reaches the rate that is set, with slow queries among the others", function()
    prepare("simulator", "users=50", "products=20", "orders=200")
    local all, stdout = figures("simulator", "rate=50", "slow=0.1", "write=0.5", "duration=4s", "interval=1s")
    assert.matches("open loop: 50 events a second, at random times", stdout)
    assert.equal(0, all.total.failed)
    local named = {}
    for _, event in ipairs(all.events) do named[event.name] = event end
    assert.is_true(all.total.events + all.total.unfinished > 130)
    assert.is_true(named.slow_query.events > 0)
    assert.is_true(named.slow_query.service.p50_ms > 1000)
    assert.is_true(named.user.response.p50_ms < 1000)
    assert.is_true(named.new_order.events + named.change_stock.events + named.change_user.events > 0)
    cleanup "simulator"
  end)

  it("simulator: is set by the environment", function()
    prepare("simulator", "users=50", "products=20", "orders=200")
    local own = { QUERY_RATE = "30", SLOW_QUERY_PROBABILITY = "0", WRITE_PROBABILITY = "0" }
    for name, value in pairs(environment) do own[name] = value end
    local code, stdout, stderr = process.run({ "run", "pipelines/load/simulator.lua", "duration=1s" }, own)
    assert.equal(0, code, stderr)
    assert.matches("open loop: 30 events a second", stdout)
    assert.matches("slow_query +0\n", stdout)
    cleanup "simulator"
  end)

  it("simulator: waits for a server that is away at its start", function()
    local away = servers.postgres { name = "load away", "--bare" }
    away:stop()
    local one = process.start({ "run", "pipelines/load/simulator.lua" }, { PGHOST = away.host, PGPORT = away.port,
      PGUSER = away.user, PGPASSWORD = away.password, PGDATABASE = "postgres" })
    one:says "a server is away; it is waited for.*nothing listens there"
    away:start()
    assert.equal(1, one:wait())
    assert.matches("the tables are not prepared", one:stderr())
    servers.drop(away)
  end)

  it("chaos: makes the trouble that it names", function()
    prepare "chaos"
    local all = figures("chaos", "duration=4s", "rate=40", "long=500ms", "storm=5", "connections=24")
    for _, state in ipairs { "42601", "42P01", "22012", "23505", "57014" } do
      assert.is_true((all.total.errors[state] or 0) > 0, state .. " is missing")
    end
    process.until_true(function() return (process.read(pg.log) or ""):find("deadlock detected", 1, true) end,
      "a deadlock in the log")
    local log = process.read(pg.log)
    for _, text in ipairs { "still waiting for", "temporary file: path" } do
      assert.is_truthy(log:find(text, 1, true), text)
    end
    cleanup "chaos"
  end)

  -- One line of a log, {seconds, session, message, detail}, in each of the server's formats.
  local LINES = {
    json = function(one)
      return cjson.encode { timestamp = ("2026-01-01 00:00:%06.3f UTC"):format(one[1]), session_id = one[2],
        message = one[3], detail = one[4] } .. "\n"
    end,
    csv = function(one)
      local function quoted(text) return text and '"' .. text:gsub('"', '""') .. '"' or "" end
      return (('2026-01-01 00:00:%06.3f UTC,"u","d",7,,%s,1,"",2026-01-01 00:00:00 UTC,1/1,0,LOG,00000,%s,%s,,,,,,,,'
        .. '"","",,0\n'):format(one[1], one[2], quoted(one[3]), quoted(one[4])))
    end,
    log = function(one)
      local prefix = ("2026-01-01 00:00:%06.3f UTC [7] <%s> "):format(one[1], one[2])
      return prefix .. "LOG:  " .. one[3] .. "\n" .. (one[4] and prefix .. "DETAIL:  " .. one[4] .. "\n" or "")
    end,
  }

  for suffix, line in pairs(LINES) do
    it("replay: sends a log's statements in order, sessions apart, faster when asked: ." .. suffix, function()
      pg:psql [[create table replayed (n serial, at timestamptz default clock_timestamp(),
        pid int default pg_backend_pid(), v text)]]
      local lines = {}
      for i = 0, 9 do
        lines[#lines + 1] = line { i * 0.4, i % 2 == 0 and "6740.a" or "6740.b",
          "execute <unnamed>: insert into replayed (v) values ($1)", ("Parameters: $1 = '%d'"):format(i) }
      end
      lines[#lines + 1] = line { 4, "6740.b",
        "statement: insert into replayed (v) values ('x'); insert into replayed (v) values ('y')" }
      local log = process.write(dir .. "/log." .. suffix, table.concat(lines))
      local all = figures("replay", "log=" .. log, "prefix=%m [%p] <%c> ", "speed=4")
      assert.equal(11, all.total.events)
      assert.same({}, all.total.errors)
      assert.equal("0123456789xy", pg:psql "select string_agg(v, '' order by at) from replayed")
      assert.equal("2|t",
        pg:psql "select count(distinct pid), max(at) - min(at) between '0.9 s' and '30 s' from replayed")
      assert.equal("1|1", pg:psql [[select count(distinct pid) filter (where v in ('0', '2')),
        count(distinct pid) filter (where v in ('1', 'y')) from replayed]])
      pg:psql "drop table replayed"
    end)
  end

  it("lists the options of a file with --help", function()
    local code, stdout = dbobs("run", "pipelines/load/oltp.lua", "--help")
    assert.equal(0, code)
    assert.matches("table_size=10000 +rows in each %(integer%)", stdout)
    assert.matches("Options of every load test", stdout)
  end)

  it("tells a word or an option that is none", function()
    local code, _, stderr = dbobs("run", "pipelines/load/oltp.lua", "tabels=3")
    assert.equal(1, code)
    assert.matches("unknown option tabels=3; did you mean 'tables'", stderr)
    code, _, stderr = dbobs("run", "pipelines/load/oltp.lua", "perpare")
    assert.equal(2, code)
    assert.matches("'perpare' is no option", stderr)
  end)

  it("compares two runs, writes the distribution, sends the figures to Kafka", function()
    local broker = process.start { "broker", "--address-file", dir .. "/address" }
    local address = process.until_true(function()
      local text = process.read(dir .. "/address")
      return text and text:match "^%S+"
    end, "the broker's address")
    environment.KAFKA_BOOTSTRAP_SERVERS = address
    prepare("oltp", "table_size=100")
    local all = figures("oltp", "mix=point_select", "table_size=100", "duration=1s", "connections=2", "interval=200ms",
      "kafka=load-results", "hgrm=" .. dir .. "/a.hgrm")
    environment.KAFKA_BOOTSTRAP_SERVERS = nil
    cleanup "oltp"
    local hgrm = process.read(dir .. "/a.hgrm")
    assert.matches("^ +Value +Percentile TotalCount 1/%(1%-Percentile%)\n\n", hgrm)
    assert.equal(all.total.events, tonumber(hgrm:match "Total count += +(%d+)"))
    local code, stdout = dbobs("run", "--compare", dir .. "/oltp.json", dir .. "/oltp.json")
    assert.equal(0, code)
    assert.matches("rate/s .*%+0.0 %%  within the noise", stdout)
    code, stdout = process.run { "consume", "load-results", "--brokers", address, "--from", "beginning" }
    assert.equal(0, code)
    assert.matches("load%-results oltp {", stdout)
    broker:signal "TERM"
    broker:wait()
  end)

  it("writes a page that a browser opens without an error and draws", function()
    prepare("oltp", "table_size=100")
    figures("oltp", "mix=point_select", "table_size=100", "duration=1s", "rate=100", "interval=200ms",
      "html=" .. dir .. "/page.html")
    cleanup "oltp"
    local dom, ok = servers.shell(([[chromium --headless --no-sandbox --disable-gpu --user-data-dir=%s/chromium \
      --enable-logging=stderr --dump-dom file://%s/page.html 2>%s/chromium.log]]):format(dir, dir, dir))
    assert.is_true(ok)
    assert.is_nil((process.read(dir .. "/chromium.log")):match "CONSOLE[^\n]*")
    for _, id in ipairs { "rate", "times", "distribution", "errors" } do
      local drawn = dom:match('<div id="' .. id .. '"><svg.-</svg>')
      assert.is_truthy(drawn, id .. " is not drawn")
      assert.matches('<path d="M[%d%.]+ [%d%.]+L', drawn)
      assert.is_nil(drawn:find("NaN", 1, true))
    end
    assert.matches("<td>point_select</td>", dom)
  end)
end)
