-- src/pglog*.c, src/tz.c, src/mask.c: a line of a server log to a record of raw-logs.
local cjson = require "cjson"
local core = require "dbobs.core.tail"
local record = require "dbobs.core.record"

local ENVELOPE = { data_type = "log", host = "db1", port = 5433, database = "postgres", environment = "test",
  tags = { team = "a", log_level = "mine" } }

local function read(fields, zone)
  local parser = assert(core.pglog(record.writer(ENVELOPE), zone))
  local line = type(fields) == "table" and cjson.encode(fields) or fields
  local key, value = parser:read(line, "00112233445566aa", 2, 77)
  return cjson.decode(value), key, value, parser
end

local function event(fields)
  return read(fields).payload
end

describe("a record of a server log", function()
  it("has the contract's envelope", function()
    local seen, key = read { timestamp = "2026-03-29 00:30:00.123 UTC", dbname = "app", error_severity = "WARNING",
      message = "m" }
    assert.equal("db1:app", key)
    local payload = seen.payload
    seen.payload = nil
    assert.same({
      timestamp = "2026-03-29T00:30:00.123000Z", source = "postgresql", data_type = "log", host = "db1", port = 5433,
      database = "app", environment = "test", tags = { team = "a", log_level = "warning" },
    }, seen)
    assert.equal("log", payload.event_type)
  end)

  it("has the maintenance database when the line names none, and an empty object for no tags", function()
    local parser = core.pglog(record.writer { data_type = "log", host = "h", database = "postgres",
      environment = "test" })
    local key, value = parser:read "nothing"
    assert.equal("h:postgres", key)
    assert.matches('"tags":{"log_level":"info"},"payload":{', value, 1, true)
  end)

  it("carries the server's object as it stands", function()
    local object = '{"timestamp":"2026-03-29 00:30:00.123 UTC","message":"a\\u00e9\\/",'
      .. '"query_id":-9223372036854775807,"new":[1.50,{}]}'
    local _, _, value = read(object)
    assert.truthy(value:find('"record":' .. object .. "}}", 1, true))
  end)

  it("turns bytes that are no UTF-8 into U+FFFD", function()
    local seen, _, value = read '{"error_severity":"LOG","message":"bad \233 \255","dbname":"d\200"}'
    assert.equal("bad \239\191\189 \239\191\189", seen.payload.record.message)
    assert.equal("d\239\191\189", seen.database)
    assert.is_nil(value:find "[\233\255\200]")
  end)

  it("is sent for a line that is no JSON object, too", function()
    for _, line in ipairs { "", "no json \1\2\0 \"x\"", "[1]", "3", '{"a":1', '{"a":1} x', "\255\254" } do
      local seen = read(line)
      assert.equal("log", seen.payload.event_type)
      assert.is_true(seen.payload.unparsed)
      assert.equal((line:gsub("[\254\255]", "\239\191\189")), seen.payload.text)
      assert.equal("00112233445566aa.2:77", seen.payload.uid)
      assert.is_nil(seen.payload.record)
    end
  end)

  it("is identified by session and line number, else by its place", function()
    assert.equal("65a.1f/12", event { session_id = "65a.1f", line_num = 12 }.uid)
    assert.equal("00112233445566aa.2:77", event { session_id = "65a.1f" }.uid)
  end)

  it("has the level of the contract", function()
    local levels = { DEBUG1 = "debug", DEBUG5 = "debug", LOG = "info", INFO = "info", NOTICE = "info",
      WARNING = "warning",
      ERROR = "error", FATAL = "critical", PANIC = "critical" }
    for severity, level in pairs(levels) do
      assert.equal(level, read({ error_severity = severity }).tags.log_level)
    end
  end)
end)

describe("the event of a server log line", function()
  local function check(expected, fields)
    local seen = event(fields)
    seen.record, seen.uid = nil, nil
    assert.same(expected, seen)
  end

  it("is an authentication failure for class 28, whatever else it is", function()
    check({ event_type = "authentication_failure", error_code = "28P01", error_message = "no", user = "u",
      client_addr = "10.0.0.1" },
      { error_severity = "FATAL", state_code = "28P01", message = "no", user = "u", remote_host = "10.0.0.1",
        statement = "s" })
  end)

  it("is a deadlock for 40P01", function()
    check({ event_type = "deadlock", error_message = "deadlock detected", detail = "Process 1 waits",
      query = "update t" },
      { error_severity = "ERROR", state_code = "40P01", message = "deadlock detected", detail = "Process 1 waits",
        statement = "update t" })
  end)

  it("is a query error for an error with a statement only", function()
    check({ event_type = "query_error", error_code = "42P01", error_message = "no t", query = "select" },
      { error_severity = "ERROR", state_code = "42P01", message = "no t", statement = "select" })
    check({ event_type = "log" }, { error_severity = "ERROR", state_code = "42P01", message = "no t" })
    check({ event_type = "log" }, { error_severity = "WARNING", state_code = "01000", message = "w",
      statement = "select" })
  end)

  it("is a plan in each of auto_explain's formats", function()
    local function plan(format, text, expected)
      check({ event_type = "plan", duration_ms = 3.014, format = format, plan = expected or text },
        { error_severity = "LOG", message = "duration: 3.014 ms  plan:\n" .. text })
    end
    plan("text", "Query Text: select 1\nResult  (cost=0.00..0.01 rows=1 width=4)")
    plan("json", '{\n  "Query Text": "select  1",\n  "Plan": { "Rows": 1 }\n}',
      { ["Query Text"] = "select  1", Plan = { Rows = 1 } })
    plan("json", "{ broken")
    plan("xml", '<explain xmlns="http://www.postgresql.org/2009/explain">\n</explain>')
    plan("yaml", 'Query Text: "select 1"\nPlan: \n  Node Type: "Result"')
  end)

  it("is a slow query, also when the statement was logged before", function()
    check({ event_type = "slow_query", error_message = "duration: 1234.5 ms  statement: select 1",
      duration_ms = 1234.5 },
      { error_severity = "LOG", message = "duration: 1234.5 ms  statement: select 1" })
    check({ event_type = "slow_query", error_message = "duration: 12.000 ms", duration_ms = 12 },
      { error_severity = "LOG", message = "duration: 12.000 ms" })
  end)

  it("is a connection's step", function()
    local function step(action, message, more)
      local expected = { event_type = "connection", action = action }
      for name, value in pairs(more.seen) do expected[name] = value end
      more.fields.message, more.fields.error_severity = message, "LOG"
      check(expected, more.fields)
    end
    step("received", "connection received: host=10.1.1.1 port=4000",
      { fields = {}, seen = { client_addr = "10.1.1.1" } })
    step("authenticated", 'connection authenticated: identity="u" method=md5 (f:1)',
      { fields = { user = "u", remote_host = "[local]" }, seen = { user = "u" } })
    step("authorized", "connection authorized: user=u database=d", { fields = {}, seen = { user = "u" } })
    step("authorized", "replication connection authorized: user=r", { fields = { user = "r" }, seen = { user = "r" } })
    step("closed", "disconnection: session time: 1:01:02.345 user=u database=d host=::1 port=1",
      { fields = { user = "u", remote_host = "::1" }, seen = { user = "u", client_addr = "::1",
        duration_ms = 3662345 } })
  end)

  it("has the figures of a checkpoint", function()
    local message = "checkpoint complete: wrote 56 buffers (0.3%), wrote 2 SLRU buffers; "
      .. "0 WAL file(s) added, 1 removed, 33 recycled; "
      .. "write=5.511 s, sync=0.010 s, total=5.530 s; sync files=12, longest=0.004 s, average=0.001 s; "
      .. "distance=267 kB, estimate=1024 kB"
    check({ event_type = "checkpoint", error_message = message, buffers_written = 56, slru_buffers_written = 2,
      wal_files_added = 0,
      wal_files_removed = 1, wal_files_recycled = 33, write_ms = 5511, sync_ms = 10, total_ms = 5530, sync_files = 12,
      longest_sync_ms = 4, average_sync_ms = 1, distance_bytes = 273408, estimate_bytes = 1048576 },
      { error_severity = "LOG", message = message })
    check({ event_type = "checkpoint", error_message = "checkpoint starting: time" },
      { error_severity = "LOG", message = "checkpoint starting: time" })
  end)

  it("has the figures of a vacuum, in the order of any version", function()
    local head = 'automatic vacuum of table "d.public.t": index scans: 1\n'
      .. 'pages: 3 removed, 45 remain, 45 scanned (100.00% of total)\n'
      .. "tuples: 10000 removed, 7 remain, 2 are dead but not yet removable\n"
    local new = head .. "I/O timings: read: 0.017 ms, write: 0.500 ms\nbuffer usage: 116 hits, 5 reads, 4 dirtied\n"
      .. "WAL usage: 100 records, 1 full page images, 12345 bytes\n"
      .. "system usage: CPU: user: 0.01 s, system: 0.02 s, elapsed: 0.33 s"
    local old = head .. "buffer usage: 116 hits, 5 misses, 4 dirtied\n"
      .. "system usage: CPU: user: 0.01 s, system: 0.02 s, elapsed: 0.33 s\n"
      .. "WAL usage: 100 records, 1 full page images, 12345 bytes"
    local expected = { event_type = "vacuum", action = "vacuum", table = "d.public.t", index_scans = 1,
      pages_removed = 3, pages_remain = 45,
      tuples_removed = 10000, tuples_remain = 7, tuples_dead = 2, buffers_hit = 116, buffers_read = 5,
        buffers_dirtied = 4,
      wal_records = 100, wal_full_page_images = 1, wal_bytes = 12345, cpu_user_ms = 10, cpu_system_ms = 20,
        elapsed_ms = 330 }
    expected.error_message = old
    check(expected, { error_severity = "LOG", message = old })
    expected.error_message, expected.read_ms, expected.write_ms = new, 0.017, 0.5
    check(expected, { error_severity = "LOG", message = new })
    assert.equal("analyze", event({ message = 'automatic analyze of table "d.s.t"\nx' }).action)
  end)

  it("has the figures of lock waits and temporary files", function()
    for _, verb in ipairs { "still waiting for", "acquired" } do
      local message = ("process 123 %s ShareLock on transaction 5 after 1000.123 ms"):format(verb)
      check({ event_type = "lock_wait", error_message = message, pid = 123, duration_ms = 1000.123 },
        { error_severity = "LOG", message = message })
    end
    local message = 'temporary file: path "base/pgsql_tmp/pgsql_tmp1.0", size 1400000000'
    check({ event_type = "temp_file", error_message = message, path = "base/pgsql_tmp/pgsql_tmp1.0",
      size_bytes = 1400000000 },
      { error_severity = "LOG", message = message })
  end)
end)

describe("the time of a server log line", function()
  local function instant(text, zone)
    local seen, _, _, parser = read({ timestamp = text }, zone)
    return seen.timestamp, (parser:problems())
  end

  it("is exact in the hour that comes twice", function()
    assert.equal("2026-10-25T00:30:00.123000Z", instant("2026-10-25 02:30:00.123 CEST", "Europe/Berlin"))
    assert.equal("2026-10-25T01:30:00.123000Z", instant("2026-10-25 02:30:00.123 CET", "Europe/Berlin"))
    assert.equal("2026-04-04T14:45:00.000000Z", instant("2026-04-05 01:45:00.000 +11", "Australia/Lord_Howe"))
    assert.equal("2026-04-04T15:15:00.000000Z", instant("2026-04-05 01:45:00.000 +1030", "Australia/Lord_Howe"))
  end)

  it("needs no zone for UTC and for offsets", function()
    assert.equal("2026-10-25T02:30:00.000000Z", instant "2026-10-25 02:30:00.000 UTC")
    assert.equal("2026-10-24T23:30:00.000000Z", instant "2026-10-25 02:30:00.000 +03")
    assert.equal("2099-07-01T10:00:00.000000Z", instant("2099-07-01 12:00:00.000 CEST", "CET-1CEST,M3.5.0,M10.5.0/3"))
  end)

  it("is when it was read, and told, where the zone does not explain it", function()
    for _, text in ipairs { "2026-10-25 02:30:00.123 PST", "2026-07-25 02:30:00.123 CET",
      "2026-03-29 02:30:00.000 CEST", "yesterday" } do
      local seen, undated = instant(text, "Europe/Berlin")
      assert.equal(1, undated)
      assert.matches("^%d%d%d%d%-.*Z$", seen)
      assert.is_nil(seen:find("2026-10-25T0", 1, true))
    end
  end)

  it("needs a zone that exists", function()
    for _, zone in ipairs { "Europe/Atlantis", "../../etc/passwd", "" } do
      local parser, cause = core.pglog(record.writer(ENVELOPE), zone)
      assert.is_nil(parser)
      assert.matches("no time zone", cause)
    end
  end)
end)

describe("masking of passwords", function()
  local mask = record.mask_passwords
  it("takes out each literal after the word", function()
    for sql, expected in pairs {
      ["ALTER ROLE a PASSWORD 'x'"] = "ALTER ROLE a PASSWORD '***'",
      ["create user b encrypted password E'a\\'b''c' valid until 'y'"] =
        "create user b encrypted password '***' valid until 'y'",
      ["OPTIONS (user 'u', password 'p', \"password\" 'q')"] = "OPTIONS (user 'u', password '***', \"password\" '***')",
      ["PASSWORD /* ' */ $t$x$y$t$ LOGIN"] = "PASSWORD /* ' */ '***' LOGIN",
      ["password U&'d\\0061' -- x"] = "password '***' -- x",
      ["password 'not closed"] = "password '***'",
      ["create subscription s connection 'host=a password=x dbname=b' publication p"] =
        "create subscription s connection 'host=a password=***' publication p",
      ["connection 'password = ''a b'' host=c', password 'd'"] = "connection 'password = ***', password '***'",
      ["set primary_conninfo = E'password=\\'a b\\' x'; select 1"] =
        "set primary_conninfo = E'password=***'; select 1",
      ["'postgresql://a/b?password=--x' /* */"] = "'postgresql://a/b?password=***' /* */",
      ["connection 'password=not closed"] = "connection 'password=***",
      ["/* it's */ password = E'x' -- y"] = "/* it's */ password = '***' -- y",
    } do
      assert.equal(expected, mask(sql))
    end
  end)

  it("takes a statement of megabytes that only repeats the word", function()
    local quoted, commented = ("'password'"):rep(2 ^ 18), ("password /*"):rep(2 ^ 18)
    assert.equal(quoted, mask(quoted))
    assert.equal(commented .. "*/ '***'", mask(commented .. "*/ 'x'"))
    local lines = ("password --"):rep(2 ^ 18) .. "\n"
    assert.equal(lines .. "'***' x", mask(lines .. "'x' x"))
    local nested = ("password /* "):rep(2 ^ 16) .. ("*/ /* "):rep(2 ^ 16) .. "*/ 'secret'"
    assert.is_nil(mask(nested):find("secret", 1, true))
  end)

  it("leaves all else alone", function()
    for _, sql in ipairs { "", "password", "password NULL", "password $1", "my_password 'x'",
      "set password_encryption = 'md5'", "select 'password'",
      "set password = crypt($1)" } do
      assert.equal(sql, mask(sql))
    end
  end)
end)
