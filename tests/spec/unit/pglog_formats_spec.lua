-- src/pglog_csv.c, pglog_stderr.c, pglog_prefix.c, pglog_runtime.c: csvlog and stderr become the records of jsonlog.
local cjson = require "cjson"
local core = require "dbobs.core.tail"
local record = require "dbobs.core.record"

local ENVELOPE = { data_type = "log", host = "db1", port = 5432, database = "postgres", environment = "test" }

local function parser_of(format, prefix)
  return assert(core.pglog(record.writer(ENVELOPE), "Europe/Berlin", format, prefix))
end

-- The records of a log; nothing more is being written unless `growing`. Also what is left.
local function records(parser, text, growing)
  local list = {}
  while #text > 0 do
    local len = parser:cut(text, not growing)
    if len == 0 then break end
    local _, value = parser:read((text:sub(1, len):gsub("\n$", "")), "00112233445566aa", 0, 0)
    list[#list + 1] = cjson.decode(value)
    text = text:sub(len + 1)
  end
  return list, text
end

local CSV = '2026-03-29 03:30:00.123 CEST,"bob","app",77,"10.0.0.1:5000",65f.4d,3,"SELECT",2026-03-29 03:00:00 CEST,'
  .. '4/12,0,ERROR,22012,"division by ""zero""\nin two lines","detail, with comma",,,,,"select 1/0",8,'
  .. '"int4div, int.c:872","psql","client backend",,-3203612266058153933\n'

describe("csvlog", function()
  it("becomes what jsonlog would say", function()
    local list = records(parser_of "csvlog", CSV)
    assert.equal(1, #list)
    local one = list[1]
    assert.equal("2026-03-29T01:30:00.123000Z", one.timestamp)
    assert.equal("app", one.database)
    assert.equal("query_error", one.payload.event_type)
    assert.equal("65f.4d/3", one.payload.uid)
    assert.same({
      timestamp = "2026-03-29 03:30:00.123 CEST", user = "bob", dbname = "app", pid = 77, remote_host = "10.0.0.1",
      remote_port = 5000, session_id = "65f.4d", line_num = 3, ps = "SELECT",
      session_start = "2026-03-29 03:00:00 CEST", vxid = "4/12", txid = 0, error_severity = "ERROR",
      state_code = "22012", message = 'division by "zero"\nin two lines', detail = "detail, with comma",
      statement = "select 1/0", cursor_position = 8, func_name = "int4div", file_name = "int.c", file_line_num = 872,
      application_name = "psql", backend_type = "client backend", query_id = -3203612266058153933,
    }, one.payload.record)
  end)

  it("has 23 to 26 columns by version, and perhaps more one day", function()
    local columns = CSV:gsub(",[^,]*,[^,]*,[^,]*\n$", "")
    for _, rest in ipairs { "", ',"client backend"', ',"client backend",,7', ',"client backend",,7,"new",8' } do
      local list = records(parser_of "csvlog", columns .. rest .. "\n")
      assert.equal(1, #list)
      assert.equal("psql", list[1].payload.record.application_name, rest)
    end
    assert.is_true(records(parser_of "csvlog", (columns:gsub(',"psql"$', "")) .. "\n")[1].payload.unparsed)
  end)

  it("waits for the end of a record, also within quotes", function()
    for len = 1, #CSV - 1 do
      local list, rest = records(parser_of "csvlog", CSV:sub(1, len), true)
      assert.equal(0, #list)
      assert.equal(len, #rest)
    end
  end)

  it("finds the next record behind half of one", function()
    for _, len in ipairs { 60, 150, 185, 230 } do
      local list = records(parser_of "csvlog", CSV:sub(1, len) .. "\n" .. CSV .. CSV)
      local whole = 0
      for _, one in ipairs(list) do whole = whole + (one.payload.record and 1 or 0) end
      assert.equal(2, whole, len)
      assert.is_true(list[1].payload.unparsed)
    end
  end)

  it("does not take a log line that a message quotes for a record", function()
    local quoted = CSV:gsub('"', '""')
    local list = records(parser_of "csvlog", (CSV:gsub("detail, with comma", function() return "a\n" .. quoted end)))
    assert.equal(1, #list)
    assert.equal("a\n" .. CSV, list[1].payload.record.detail)
  end)

  it("tells severities of every language", function()
    for word, english in pairs { FEHLER = "ERROR", ["ОШИБКА"] = "ERROR", ["致命错误"] = "FATAL", LOGG = "LOG",
      DEBUG = "DEBUG" } do
      local one = records(parser_of "csvlog", (CSV:gsub(",ERROR,", "," .. word .. ",")))[1]
      assert.equal(english, one.payload.record.error_severity)
    end
  end)
end)

local PREFIX = "%m [%p] %q%u@%d/%a %e %c/%l "

describe("stderr", function()
  local REPORT = table.concat({
    "2026-03-29 03:30:00.123 CEST [77] bob@app/my app 22012 65f.4d/3 ERROR:  division by zero at character 8",
    "\tin two lines",
    "2026-03-29 03:30:00.123 CEST [77] bob@app/my app 22012 65f.4d/4 DETAIL:  one",
    "\t",
    "\t\tthree",
    "2026-03-29 03:30:00.123 CEST [77] bob@app/my app 22012 65f.4d/5 HINT:  do not",
    "2026-03-29 03:30:00.123 CEST [77] bob@app/my app 22012 65f.4d/6 CONTEXT:  here",
    "2026-03-29 03:30:00.123 CEST [77] bob@app/my app 22012 65f.4d/7 STATEMENT:  select 1/0",
  }, "\n") .. "\n"

  it("becomes what jsonlog would say", function()
    local list = records(parser_of("stderr", PREFIX), REPORT)
    assert.equal(1, #list)
    assert.equal("2026-03-29T01:30:00.123000Z", list[1].timestamp)
    assert.equal("query_error", list[1].payload.event_type)
    assert.equal("65f.4d/3", list[1].payload.uid)
    assert.same({
      timestamp = "2026-03-29 03:30:00.123 CEST", pid = 77, user = "bob", dbname = "app", application_name = "my app",
      state_code = "22012", session_id = "65f.4d", line_num = 3, error_severity = "ERROR",
      message = "division by zero at character 8\nin two lines", detail = "one\n\n\tthree", hint = "do not",
      context = "here", statement = "select 1/0",
    }, list[1].payload.record)
  end)

  it("is complete when another report begins or nothing more is written", function()
    local list, rest = records(parser_of("stderr", PREFIX), REPORT, true)
    assert.equal(0, #list)
    assert.equal(REPORT, rest)
    list, rest = records(parser_of("stderr", PREFIX), REPORT .. REPORT, true)
    assert.equal(1, #list)
    assert.equal(REPORT, rest)
  end)

  it("reads what background processes write, who stop at %q", function()
    local one = records(parser_of("stderr", PREFIX),
      "2026-03-29 03:30:00.123 CEST [7] LOG:  checkpoint starting: time\n")[1]
    assert.equal("checkpoint", one.payload.event_type)
    assert.same({ timestamp = "2026-03-29 03:30:00.123 CEST", pid = 7, error_severity = "LOG",
      message = "checkpoint starting: time" }, one.payload.record)
  end)

  it("knows every escape and padding", function()
    local prefix = "%a|%u|%d|%r|%h|%b|%-7p|%P|%t|%n|%i|%e|%c|%5l|%s|%v|%x|%Q|100%%|"
    local line = "psql|bob|app|10.0.0.1(5000)|10.0.0.1|client backend|77     |76|2026-03-29 03:30:00 CEST|"
      .. "1774747800.123|idle in transaction|00000|65f.4d|    3|2026-03-29 03:00:00 CEST|4/12|9|-5|100%|"
    local one = records(parser_of("stderr", prefix), line .. "LOG:  hello\n")[1]
    assert.same({
      timestamp = "2026-03-29 03:30:00 CEST", user = "bob", dbname = "app", pid = 77, remote_host = "10.0.0.1",
      remote_port = 5000, session_id = "65f.4d", line_num = 3, ps = "idle in transaction",
      session_start = "2026-03-29 03:00:00 CEST", vxid = "4/12", txid = 9, error_severity = "LOG", message = "hello",
      application_name = "psql", backend_type = "client backend", leader_pid = 76, query_id = -5,
    }, one.payload.record)
    one = records(parser_of("stderr", "%n "), "1774747800.123 LOG:  hello\n")[1]
    assert.equal("2026-03-29T01:30:00.123000Z", one.timestamp)
  end)

  it("is not led astray by names that look like the prefix", function()
    local prefix = "%m [%p] %u@%d app=%a "
    local line = "2026-03-29 03:30:00.123 CEST [77] odd@name@app app=x ERROR:  y app=LOG:  z LOG:  the message\n"
    local one = records(parser_of("stderr", prefix), line)[1]
    -- The shortest reading: nobody can tell more.
    assert.equal("odd", one.payload.record.user)
    assert.equal("ERROR", one.payload.record.error_severity)
  end)

  it("sends lines of others as they are, one by one", function()
    local list = records(parser_of("stderr", PREFIX), "cp: cannot stat 'x'\n" .. REPORT .. "cp: again\n\n")
    assert.equal(4, #list)
    assert.equal("cp: cannot stat 'x'", list[1].payload.text)
    assert.equal("query_error", list[2].payload.event_type)
    assert.equal("cp: again", list[3].payload.text)
    assert.equal("", list[4].payload.text)
  end)

  it("understands the words of every language", function()
    local one = records(parser_of("stderr", "%m "), "2026-03-29 03:30:00.123 CEST FEHLER:  Division durch Null\n"
      .. "2026-03-29 03:30:00.123 CEST TIPP:  nicht tun\n2026-03-29 03:30:00.123 CEST ANWEISUNG:  select 1/0\n")[1]
    assert.equal("query_error", one.payload.event_type)
    assert.equal("error", one.tags.log_level)
    assert.equal("nicht tun", one.payload.record.hint)
    assert.equal("ERROR", one.payload.record.error_severity)
  end)

  it("reads what log_error_verbosity = verbose adds", function()
    local one = records(parser_of("stderr", "%m "), "2026-03-29 03:30:00.123 CEST ERROR:  42601: syntax error at "
      .. 'or near "selec" at character 1\n2026-03-29 03:30:00.123 CEST LOCATION:  scanner_yyerror, scan.l:1248\n'
      .. "2026-03-29 03:30:00.123 CEST STATEMENT:  selec 1\n")[1]
    local seen = one.payload.record
    assert.same({ "42601", 'syntax error at or near "selec"', 1, "scanner_yyerror", "scan.l", 1248, "selec 1" },
      { seen.state_code, seen.message, seen.cursor_position, seen.func_name, seen.file_name, seen.file_line_num,
        seen.statement })
  end)

  it("tells deadlocks and failed logins by their text where the prefix has no %e", function()
    local function type_of(text)
      return records(parser_of("stderr", "%m "), "2026-03-29 03:30:00.123 CEST " .. text .. "\n")[1].payload.event_type
    end
    assert.equal("deadlock", type_of "ERROR:  deadlock detected")
    assert.equal("authentication_failure", type_of 'FATAL:  password authentication failed for user "x"')
    assert.equal("authentication_failure", type_of 'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "x"')
  end)

  it("is read out of what container runtimes make of it", function()
    local plain = "2026-03-29 03:30:00.123 CEST [77] bob@app/x 22012 65f.4d/3 ERROR:  division by zero"
    local statement = "2026-03-29 03:30:00.123 CEST [77] bob@app/x 22012 65f.4d/4 STATEMENT:  select 1/0"
    local stamp = "2026-03-29T01:30:00.123456789Z"
    local texts = {
      cri = ("%s stderr P %s\n%s stderr F %s\n%s stderr F \tmore\n%s stderr F %s\n"):format(stamp, plain:sub(1, 40),
        stamp, plain:sub(41), stamp, stamp, statement),
      docker = "",
      stamped = ("%s %s\n%s \tmore\n%s %s\n"):format(stamp, plain, stamp, stamp, statement),
    }
    for _, line in ipairs { plain .. "\n", "\tmore\n", statement:sub(1, 30), statement:sub(31) .. "\n" } do
      texts.docker = texts.docker .. cjson.encode { log = line, stream = "stderr", time = stamp } .. "\n"
    end
    texts.docker = texts.docker:gsub('{[^\n]*}', function(object)
      local decoded = cjson.decode(object)
      return ('{"log":%s,"stream":"stderr","time":"%s"}'):format(cjson.encode(decoded.log), stamp)
    end)
    for runtime, text in pairs(texts) do
      local list = records(parser_of("stderr", PREFIX), text .. text)
      assert.equal(2, #list, runtime)
      assert.equal("division by zero\nmore", list[1].payload.record.message, runtime)
      assert.equal("select 1/0", list[1].payload.record.statement, runtime)
    end
    local foreign = records(parser_of("stderr", PREFIX), stamp .. " stderr F hello\n")[1]
    assert.equal("hello", foreign.payload.text)
    assert.equal("2026-03-29T01:30:00.123456Z", foreign.timestamp)
  end)
end)
