-- src/pglog_filter.c, src/luax_event.c, lua/dbobs/log_filter.lua: which records of a server log are sent, and what a
-- function of the pipeline makes of them.
local cjson = require "cjson"
local collect = require "dbobs.collect"
local core = require "dbobs.core.tail"
local log_filter = require "dbobs.log_filter"
local logs = require "collectors.logs"
local memory = require "dbobs.core.memory"
local process = require "support.process"
local record = require "dbobs.core.record"
local schema = require "support.schema"
local servers = require "support.servers"
local tail = require "dbobs.tail"
local task = require "dbobs.task"

local ENVELOPE = { data_type = "log", host = "h", port = 1, database = "d", environment = "e", tags = { a = "b" } }

local function given_of(changes)
  local given = {}
  for name, value in pairs(logs.options) do given[name] = value end
  for name, value in pairs(changes) do given[name] = value end
  return given
end

local function parser_of(changes)
  local parser = assert(core.pglog(record.writer(ENVELOPE), "UTC"))
  local given = given_of(changes)
  assert.is_nil(log_filter.problem(given))
  local filter = log_filter.filter(given)
  if filter then parser:filter(filter) end
  return parser
end

local number = 0
local function line(fields)
  number = number + 1
  local all = { timestamp = "2026-01-31 12:00:00.000 UTC", session_id = "s", line_num = number, error_severity = "LOG",
    message = "m" }
  for name, value in pairs(fields) do all[name] = value end
  return cjson.encode(all)
end

-- The event types that pass.
local function passing(changes, lines)
  local parser, types = parser_of(changes), {}
  for _, one in ipairs(lines) do
    local _, value = parser:read(one)
    if value then types[#types + 1] = cjson.decode(value).payload.event_type end
  end
  return table.concat(types, " ")
end

describe("the filter of a server log", function()
  local LINES = {
    line { error_severity = "DEBUG1" }, line { message = "connection received: host=x" },
    line { error_severity = "WARNING" }, line { error_severity = "ERROR", statement = "select", state_code = "22000" },
    line { error_severity = "FATAL", state_code = "28P01" }, "no JSON",
  }

  it("lets lines pass that are no records, as their JSON Schema has them", function()
    local _, value = parser_of({}):read "no JSON"
    assert.is_true(cjson.decode(value).payload.unparsed)
    assert.equal("", schema.problems("raw-logs", { value }))
  end)

  it("is none when nothing is left out", function()
    assert.is_nil(log_filter.filter(given_of {}))
    assert.equal("log connection log query_error authentication_failure log", passing({}, LINES))
  end)

  it("leaves out what is less severe, under the contract's names of levels and PostgreSQL's", function()
    assert.equal("connection log query_error authentication_failure log", passing({ min_level = "info" }, LINES))
    assert.equal("connection log query_error authentication_failure log", passing({ min_level = "LOG" }, LINES))
    assert.equal("log query_error authentication_failure log", passing({ min_level = "warning" }, LINES))
    assert.equal("query_error authentication_failure log", passing({ min_level = "error" }, LINES))
    assert.equal("authentication_failure log", passing({ min_level = "PANIC" }, LINES))
  end)

  it("leaves out types, or sends only some", function()
    assert.equal("connection query_error authentication_failure", passing({ event_types = { log = false } }, LINES))
    assert.equal("connection query_error", passing({ event_types = { "connection", "query_error" } }, LINES))
  end)

  it("sends records of the databases that are wanted, and those of none", function()
    local lines = { line { dbname = "app" }, line { dbname = "shop_1" }, line { dbname = "x" }, line {} }
    assert.equal("log log log", passing({ log_databases = { "app", "shop_*" } }, lines))
  end)

  it("sends a share of the sessions, all of one or none of it", function()
    local lines = {}
    for session = 1, 2000 do
      for _, message in ipairs { "connection received: host=x", "disconnection: session time: 0:00:00.001 user=u" } do
        lines[#lines + 1] = line { session_id = ("%x.%x"):format(1700000000 + session * 3, session), message = message }
      end
    end
    lines[#lines + 1] = line { message = "another" }
    local parser, seen, count, others = parser_of { sample = { connection = 0.1 } }, {}, 0, 0
    for _, one in ipairs(lines) do
      local _, value = parser:read(one)
      if value then
        local payload = cjson.decode(value).payload
        if payload.event_type == "log" then others = others + 1
        else seen[payload.record.session_id] = (seen[payload.record.session_id] or 0) + 1 end
      end
    end
    for _, times in pairs(seen) do
      assert.equal(2, times)
      count = count + 1
    end
    assert.equal(1, others)
    -- Five standard deviations of a tenth of 2,000.
    assert.is_true(count > 130 and count < 270, count)
    assert.equal("", passing({ sample = { connection = 0 } }, { LINES[2] }))
  end)

  it("says what is wrong with an option", function()
    local wrong = {
      [{ min_level = "warn" }] = "option 'min_level' must be one of debug, info, warning, error, critical",
      [{ event_types = { "deadlok" } }] = "there is no event type 'deadlok' in a server log; did you mean 'deadlock'?",
      [{ event_types = { deadlock = true } }] = "event_types: 'deadlock' must be false",
      [{ sample = { connection = 10 } }] = "sample: 'connection' must be a share from 0 to 1",
      [{ sample = { conection = 1 } }] = "did you mean 'connection'?",
      [{ rate = -1 }] = "option 'rate' must be a number of events a second",
      [{ log_databases = { 1 } }] = "option 'log_databases' must be a list of texts",
    }
    for changes, text in pairs(wrong) do assert.matches(text, log_filter.problem(given_of(changes)), 1, true) end
    assert.error_matches(function()
      collect.collect(logs, { host = "h" }, { to = memory(), event = "x" })
    end, "option 'event' must be function")
  end)
end)

describe("a server log with a filter or a function", function()
  local directory, path

  before_each(function()
    directory = servers.directory()
    path = directory .. "/a.json"
  end)

  -- What comes of lines; the follower is at the end of them then.
  local function records(lines, options, given)
    local file = assert(io.open(path, "ab"))
    for _, one in ipairs(lines) do file:write(one, "\n") end
    file:close()
    local out = memory()
    local object
    local all = { path = path, checkpoint = directory .. "/position", poll = "20ms", timezone = "UTC", to = out,
      envelope = { host = "h", port = 1, database = "d", environment = "e", tags = { a = "b" } },
      filter = log_filter.filter(given_of(options)) }
    for name, value in pairs(given or {}) do all[name] = value end
    object = assert(tail.server_log(all))
    local seen = {}
    process.until_true(function()
      local outcome, cause = object:turn()
      assert(outcome, cause)
      for _, one in ipairs(out:take()) do
        seen[#seen + 1] = one.value
        seen.keys = (seen.keys or "") .. one.key .. " "
      end
      return outcome == "wait" and object.follower:progress().acknowledged == object.follower:progress().size
    end, "the end of the file")
    object:flush()
    object:close()
    return seen
  end

  it("moves its position over what is left out", function()
    local lines = {}
    for i = 1, 5000 do lines[i] = line {} end
    assert.same({}, records(lines, { min_level = "error" }))
    assert.same({}, records({}, {}))
  end)

  it("drops what comes faster than the rate, errors last, and tells how many", function()
    local lines = {}
    for second = 0, 29 do
      for i = 1, 20 do
        lines[#lines + 1] = line { timestamp = ("2026-01-31 12:00:%02d.%03d UTC"):format(second, i * 40),
          error_severity = i == 20 and "ERROR" or "LOG" }
      end
    end
    local kept, errors, dropped, told, texts = 0, 0, 0, 0, {}
    for _, value in ipairs(records(lines, { rate = 10 })) do
      local one = cjson.decode(value)
      if one.payload.dropped_events then
        told = told + 1
        texts[told] = value
        dropped = dropped + one.payload.dropped_events
        assert.equal("log", one.payload.event_type)
        assert.matches("^s/%d+/dropped$", one.payload.uid)
        assert.matches("^2026%-01%-31T12:00:%d%d%.%d+Z$", one.payload.dropped_since)
        assert.equal(10, one.payload.events_per_second)
      else
        kept = kept + 1
        errors = errors + (one.tags.log_level == "error" and 1 or 0)
      end
    end
    assert.equal("", schema.problems("raw-logs", texts))
    assert.equal(30, errors)
    -- Ten a second of 29.8 seconds and five seconds' worth of burst: of 600.
    assert.is_true(kept >= 330 and kept <= 350, kept)
    assert.is_true(told >= 2)
    assert.is_true(dropped > 100 and dropped <= 600 - kept, dropped)
  end)

  it("lets the function see, change and leave out records", function()
    local big = "9223372036854775807"
    local lines = {
      '{"timestamp":"2026-01-31 12:00:00.000 UTC","session_id":"s","line_num":1,"message":"keep","query_id":' .. big
        .. "}",
      '{"timestamp":"2026-01-31 12:00:00.000 UTC","session_id":"s","line_num":2,"message":"drop"}',
      '{"timestamp":"2026-01-31 12:00:00.000 UTC","session_id":"s","line_num":3,"message":"change","query_id":' .. big
        .. ',"x":[1,{"y":null}]}',
      '{"timestamp":"2026-01-31 12:00:00.000 UTC","session_id":"s","line_num":4,"message":"keep"}',
    }
    local plain = records(lines, {})
    os.remove(directory .. "/position")
    local seen = records({}, {}, { event = function(event)
      local message = event.payload.record and event.payload.record.message
      if message == "drop" then return false end
      if message ~= "change" then return end
      event.tags.team, event.database = "é\n", "other"
      event.payload.record.message = nil
      event.payload.count, event.payload.share, event.payload.list = 7, 0.5, { "a", true }
    end })
    assert.equal(plain[1], seen[1])
    local one = cjson.decode(seen[2])
    assert.same({ a = "b", log_level = "info", team = "é\n" }, one.tags)
    assert.same({ "other", "h:d h:other h:d " }, { one.database, seen.keys })
    assert.same({ 7, 0.5, { "a", true } }, { one.payload.count, one.payload.share, one.payload.list })
    assert.is_nil(one.payload.record.message)
    assert.matches('"query_id":' .. big .. ',"x":%[1,{"y":null}%]', seen[2])
    assert.same({ plain[4] }, { seen[3], seen[4] })
  end)

  it("sends a record unchanged when the function fails on it, and says so", function()
    local lines = {}
    for i = 1, 5 do lines[i] = line { message = "m" .. i } end
    local calls = 0
    local log = require "dbobs.log"
    local told, condition = {}, log.condition
    log.condition = function(_, active, _, text) told[#told + 1] = active and text or nil end -- luacheck: ignore 122
    finally(function() log.condition = condition end) -- luacheck: ignore 122
    local seen = records(lines, {}, { event = function(event)
      calls = calls + 1
      event.tags.changed = "yes"
      if calls == 1 then error "boom" end
      if calls == 2 then event.tags.team = 5 end
      if calls == 3 then event.payload = "text" end
      if calls == 4 then task.wait(nil, 1) end
      if calls == 5 then event.payload.fn = print end
    end })
    assert.equal(5, #seen)
    for i, value in ipairs(seen) do
      assert.equal("m" .. i, cjson.decode(value).payload.record.message)
      assert.is_nil(cjson.decode(value).tags.changed)
    end
    assert.matches("the function 'event' of the pipeline fails, its events are sent unchanged: .*boom",
      table.concat(told, "|"))
  end)
end)
