local json = require "cjson"
local memory = require "dbobs.core.memory"
local otlp = require "dbobs.otlp"
local sink = require "dbobs.sink"
local task = require "dbobs.task"

local TIME = 1700000000000000 -- microseconds
local SECOND = 1000000

local counter = { name = "app.done", unit = "{job}", kind = "counter", description = "Jobs done" }
local sum = { name = "app.waiting", unit = "{job}", kind = "sum" }
local gauge = { name = "app.load", unit = "1", kind = "gauge", type = "double" }

local function request(to, more)
  local options = { scope = "spec", scope_version = "1", key = "host:db", time = TIME, sink = to,
    resource = { { "host.name", "host" }, { "server.port", 5432 } } }
  for name, value in pairs(more or {}) do options[name] = value end
  return otlp.request(options)
end

-- The requests in a memory sink, decoded.
local function taken(to)
  local decoded = {}
  for i, record in ipairs(to:take()) do decoded[i] = json.decode((assert(otlp.decode(record.value)))) end
  return decoded
end

-- One request with one resource and the points that `fill` adds; returns its metrics.
local function metrics_of(fill, more)
  local to = memory()
  local one = request(to, more)
  one:resource()
  fill(one)
  assert(one:finish())
  return taken(to)[1].resourceMetrics[1].scopeMetrics[1].metrics
end

describe("otlp.request", function()
  it("makes a request that says all that was put in", function()
    local to = memory()
    local one = request(to)
    one:resource { { "table", "t" } }
    one:point(counter, 7, { { "kind", "a" } })
    one:point(gauge, 0.1)
    assert(one:finish())
    local records = to:take()
    assert.equal(1, #records)
    assert.equal("host:db", records[1].key)
    local start = ("%.0f"):format(TIME) .. "000"
    assert.same({
      resourceMetrics = { {
        resource = { attributes = {
          { key = "host.name", value = { stringValue = "host" } },
          { key = "server.port", value = { intValue = "5432" } },
          { key = "table", value = { stringValue = "t" } },
        } },
        scopeMetrics = { {
          scope = { name = "spec", version = "1" },
          metrics = {
            { name = "app.done", unit = "{job}", description = "Jobs done", sum = {
              aggregationTemporality = 2, isMonotonic = true,
              dataPoints = { { startTimeUnixNano = start, timeUnixNano = start, asInt = "7",
                attributes = { { key = "kind", value = { stringValue = "a" } } } } },
            } },
            { name = "app.load", unit = "1", gauge = { dataPoints = { { timeUnixNano = start, asDouble = 0.1 } } } },
          },
        } },
      } },
    }, json.decode(otlp.decode(records[1].value)))
  end)

  it("keeps integers exact to 64 bits, and zero", function()
    local values = { "9223372036854775807", "-9223372036854775808", "9007199254740993", "0" }
    local metrics = metrics_of(function(one)
      for _, value in ipairs(values) do one:point(sum, value) end
    end)
    for i, value in ipairs(values) do assert.equal(value, metrics[1].sum.dataPoints[i].asInt) end
  end)

  it("refuses what is no 64-bit integer or no number", function()
    local one = request(memory())
    one:resource()
    for _, value in ipairs { 1.5, 2 ^ 63, "9223372036854775808", "12x", "", "NaN" } do
      assert.is_false(pcall(one.point, one, counter, value), tostring(value))
    end
    assert.is_false(pcall(one.point, one, gauge, "NaN"))
    assert.is_false(pcall(one.point, one, { name = "x", kind = "counters" }, 1))
    assert.is_false(pcall(one.point, one, {}, 1))
  end)

  it("puts metrics in the order of their names and keeps their points together", function()
    local metrics = metrics_of(function(one)
      for i = 1, 3 do
        one:point(sum, i)
        one:point(counter, 10 * i)
      end
    end)
    assert.equal(2, #metrics)
    assert.equal("app.done", metrics[1].name)
    for i = 1, 3 do
      assert.equal(tostring(10 * i), metrics[1].sum.dataPoints[i].asInt)
      assert.equal(tostring(i), metrics[2].sum.dataPoints[i].asInt)
    end
    assert.is_nil(metrics[2].sum.isMonotonic)
  end)

  it("sends only valid UTF-8", function()
    local to = memory()
    local one = request(to)
    one:resource { { "table", "caf\233 \240\159\152\128 \237\160\128" } }
    one:point(counter, 1, { { "a\255", "\0b" } })
    assert(one:finish())
    local resource = taken(to)[1].resourceMetrics[1]
    local bad = "\239\191\189"
    assert.equal("caf" .. bad .. " \240\159\152\128 " .. bad:rep(3), resource.resource.attributes[3].value.stringValue)
    assert.same({ key = "a" .. bad, value = { stringValue = "\0b" } },
      resource.scopeMetrics[1].metrics[1].sum.dataPoints[1].attributes[1])
  end)

  it("leaves out resources without points, and sends nothing when there are none", function()
    local to = memory()
    local one = request(to)
    one:resource { { "table", "empty" } }
    assert(one:finish())
    assert.same({}, to:take())
    one:resource { { "table", "empty" } }
    one:resource { { "table", "full" } }
    one:point(counter, 1)
    assert(one:finish())
    assert.equal(1, #taken(to)[1].resourceMetrics)
    assert.same({ 1, 1, 1, 0 }, { one:counts() })
  end)

  it("splits at resources, before a record would be larger than the sink takes", function()
    local to = memory(1000)
    local one = request(to)
    for i = 1, 30 do
      one:resource { { "table", "table " .. i } }
      one:point(counter, i)
    end
    assert(one:finish())
    local records, tables = to:take(), 0
    assert.is_true(#records > 3)
    for i, record in ipairs(records) do
      assert.is_true(#record.key + #record.value <= 1000)
      if i < #records then assert.is_true(#record.value > 700) end
      for _, resource in ipairs(json.decode(otlp.decode(record.value)).resourceMetrics) do
        tables = tables + 1
        assert.equal("table " .. tables, resource.resource.attributes[3].value.stringValue)
      end
    end
    assert.equal(30, tables)
  end)

  it("splits a single resource that is too large, and loses no point", function()
    local to = memory(600)
    local one = request(to)
    one:resource { { "table", "t" } }
    for i = 1, 100 do one:point(i % 2 == 0 and counter or sum, i, { { "number", tostring(i) } }) end
    assert(one:finish())
    local seen, records = {}, to:take()
    assert.is_true(#records > 5)
    for _, record in ipairs(records) do
      assert.is_true(#record.key + #record.value <= 600)
      for _, resource in ipairs(json.decode(otlp.decode(record.value)).resourceMetrics) do
        assert.equal("t", resource.resource.attributes[3].value.stringValue)
        for _, metric in ipairs(resource.scopeMetrics[1].metrics) do
          for _, point in ipairs(metric.sum.dataPoints) do seen[tonumber(point.asInt)] = metric.name end
        end
      end
    end
    for i = 1, 100 do assert.equal(i % 2 == 0 and "app.done" or "app.waiting", seen[i]) end
  end)

  it("says so when not even one point fits, and goes on", function()
    local to = memory(300)
    local one = request(to)
    one:resource { { "table", ("x"):rep(400) } }
    one:point(counter, 1)
    one:resource { { "table", "t" } }
    one:point(counter, 2)
    local ok, cause = one:finish()
    assert.is_nil(ok)
    assert.matches("larger than the topic takes %(300%)", cause)
    assert.equal("2", taken(to)[1].resourceMetrics[1].scopeMetrics[1].metrics[1].sum.dataPoints[1].asInt)
  end)

  it("waits while the sink has no room", function()
    local to, done = memory(400, 1), false
    local one = request(to)
    local sender = task.spawn(function()
      for i = 1, 10 do
        one:resource { { "table", "t" .. i } }
        one:point(counter, i)
      end
      assert(one:finish())
      done = true
    end)
    local values = {}
    while not done do
      task.wait(nil, 0)
      local records = to:take()
      assert.is_true(#records <= 1)
      for _, record in ipairs(records) do
        for _, resource in ipairs(json.decode(otlp.decode(record.value)).resourceMetrics) do
          values[#values + 1] = tonumber(resource.scopeMetrics[1].metrics[1].sum.dataPoints[1].asInt)
        end
      end
    end
    for _, record in ipairs(taken(to)) do
      for _, resource in ipairs(record.resourceMetrics) do
        values[#values + 1] = tonumber(resource.scopeMetrics[1].metrics[1].sum.dataPoints[1].asInt)
      end
    end
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, values)
    assert.is_true(task.join(sender))
  end)

  it("counts its records in the batch", function()
    local to, batch = memory(), sink.batch()
    local one = request(to, { batch = batch })
    one:resource()
    one:point(counter, 1)
    assert(one:finish())
    assert.same({ 1, 1, 0 }, { sink.status(batch) })
    to:take()
    assert.same({ 1, 0, 0 }, { sink.status(batch) })
  end)

  it("drops what was discarded", function()
    local to = memory()
    local one = request(to)
    one:resource()
    one:point(counter, 1)
    one:discard()
    assert(one:finish())
    assert.same({}, to:take())
  end)

  it("raises for points outside of a resource", function()
    local one = request(memory())
    local ok, cause = pcall(one.point, one, counter, 1)
    assert.is_false(ok)
    assert.matches("no resource has been begun", cause)
  end)
end)

describe("otlp.series", function()
  local series, now

  before_each(function() series, now = otlp.series(), TIME end)

  -- Observes values ten seconds apart; returns how many seconds before each observation its start was.
  local function ages(metric, values)
    local list = {}
    for i, value in ipairs(values) do
      local metrics = metrics_of(function(one) one:point(metric, value) end, { series = series, time = now })
      local point = metrics[1].sum.dataPoints[1]
      list[i] = (tonumber(point.timeUnixNano) - tonumber(point.startTimeUnixNano)) / 1e9
      now = now + 10 * SECOND
    end
    return list
  end

  it("starts a series when it is first seen", function()
    assert.same({ 0, 10, 20 }, ages(counter, { 5, 5, 6 }))
  end)

  it("starts it anew at the last observation before its value fell", function()
    assert.same({ 0, 10, 10, 20, 10 }, ages(counter, { 5, 6, 0, 1, 0 }))
  end)

  it("compares integers as integers", function()
    assert.same({ 0, 10 }, ages(counter, { "9007199254740993", "9007199254740992" }))
    local other = { name = "other", kind = "counter" }
    assert.same({ 0, 10 }, ages(other, { "9223372036854775806", "9223372036854775807" }))
  end)

  it("lets sums fall", function()
    assert.same({ 0, 10, 20 }, ages(sum, { 5, 4, 3 }))
  end)

  it("never starts later than the point, also when the clock was set back", function()
    assert.same({ 0, 10 }, ages(counter, { 1, 2 }))
    now = TIME - 3600 * SECOND
    assert.same({ 0, 10, 10 }, ages(counter, { 3, 4, 0 }))
  end)

  it("tells series apart by key, resource, metric and attributes", function()
    local function start(key, resource, attribute)
      local to = memory()
      local one = request(to, { series = series, time = now, key = key })
      one:resource { { "table", resource } }
      one:point(counter, 1, { { "kind", attribute } })
      assert(one:finish())
      now = now + SECOND
      local point = taken(to)[1].resourceMetrics[1].scopeMetrics[1].metrics[1].sum.dataPoints[1]
      return (tonumber(point.timeUnixNano) - tonumber(point.startTimeUnixNano)) / 1e9
    end
    assert.equal(0, start("a", "t", "x"))
    assert.equal(0, start("b", "t", "x"))
    assert.equal(0, start("a", "u", "x"))
    assert.equal(0, start("a", "t", "y"))
    assert.equal(4, start("a", "t", "x"))
    assert.equal(4, (series:count()))
  end)

  it("forgets what has not been seen, in 72 bytes a series of its own", function()
    local to = memory()
    for round = 0, 1 do
      local one = request(to, { series = series, time = TIME + round })
      one:resource()
      for i = 1, 20000 do
        if round == 0 or i > 19000 then one:point(counter, i, { { "number", tostring(i) } }) end
      end
      assert(one:finish())
    end
    local count, bytes = series:count()
    assert.equal(20000, count)
    assert.is_true(bytes <= 20000 * 72)
    series:forget(TIME + 1)
    count, bytes = series:count()
    assert.equal(1000, count)
    assert.is_true(bytes <= 1000 * 96)
  end)
end)

describe("otlp.decode", function()
  local value

  before_each(function()
    local to = memory()
    local one = request(to)
    one:resource { { "table", "t" } }
    one:point(counter, 7, { { "kind", "a\27[31m" } })
    assert(one:finish())
    value = to:take()[1].value
  end)

  it("refuses what is no request", function()
    for _, bytes in ipairs { "", "{}", "text", value:sub(1, -2), value .. "x", ("\255"):rep(50), "\8\1" } do
      local text, cause = otlp.decode(bytes)
      assert.is_nil(text)
      assert.matches("^otlp.decode: %d+ bytes that are no OTLP metrics request$", cause)
      assert.is_nil((otlp.text(bytes)))
    end
  end)

  it("says it as text, and nothing in it steers the terminal", function()
    assert.equal('  host.name="host", server.port=5432, table="t"\n    app.done{kind="a\\u001b[31m"} 7 {job}\n',
      otlp.text(value))
  end)

  it("passes over kinds that it does not know", function()
    -- ResourceMetrics{ScopeMetrics{Metric{name "h", histogram (field 9) of two bytes}}}
    local metric = "\10\1h" .. "\74\2\16\2"
    local scope = "\18" .. string.char(#metric) .. metric
    local resource = "\18" .. string.char(#scope) .. scope
    local foreign = "\10" .. string.char(#resource) .. resource
    assert.same({ resourceMetrics = { { scopeMetrics = { { metrics = { { name = "h" } } } } } } },
      json.decode(otlp.decode(foreign)))
    assert.equal("  \n    h (a kind that is not shown here)\n", otlp.text(foreign))
  end)

  it("follows nested values, but not without end", function()
    local function varint(n)
      local bytes = ""
      while n > 127 do
        bytes, n = bytes .. string.char(n % 128 + 128), math.floor(n / 128)
      end
      return bytes .. string.char(n)
    end
    local function field(number, bytes) return string.char(number * 8 + 2) .. varint(#bytes) .. bytes end
    local function foreign(depth)
      local any = field(1, "x")
      for _ = 1, depth do any = field(5, field(1, any)) end -- AnyValue{ArrayValue{values}}
      return field(1, field(1, field(1, field(1, "k") .. field(2, any))))
    end
    local attribute = json.decode(otlp.decode(foreign(2))).resourceMetrics[1].resource.attributes[1]
    local inner = { arrayValue = { values = { { stringValue = "x" } } } }
    assert.same({ arrayValue = { values = { inner } } }, attribute.value)
    assert.is_string(otlp.decode(foreign(2000)))
    assert.is_nil(otlp.decode(foreign(2000)):find('"x"', 1, true))
  end)
end)

describe("otlp.format_record", function()
  it("embeds JSON as it is, on one line", function()
    local line = otlp.format_record { topic = "raw-logs", key = "h:d", partition = 3, offset = 12345678901,
      timestamp = 1700000000123, value = '{"n": 9007199254740993,\n "x": [1.50]}' }
    assert.equal('{"topic":"raw-logs","key":"h:d","value":{"n":9007199254740993,"x":[1.50]},"partition":3,'
      .. '"offset":12345678901,"timestamp":"2023-11-14T22:13:20.123000Z"}\n', line)
  end)

  it("embeds OTLP as OTLP/JSON and anything else as text", function()
    local to = memory()
    local one = request(to)
    one:resource()
    one:point(counter, 7)
    assert(one:finish())
    local value = to:take()[1].value
    assert.equal('{"topic":"m","key":null,"value":' .. otlp.decode(value) .. "}\n",
      otlp.format_record { topic = "m", value = value })
    assert.equal('{"topic":"m","key":"\239\191\189","value":"no \\u0000 json \239\191\189"}\n',
      otlp.format_record { topic = "m", key = "\255", value = "no \0 json \255" })
    assert.equal('{"topic":"m","key":null,"value":null}\n', otlp.format_record { topic = "m" })
  end)

  it("tells a record in one line", function()
    local statement = [[{"timestamp":"2026-03-29T00:30:00.123456Z","data_type":"query","payload":
      {"query":"select\n 1","calls":12,"mean_time_ms":0.5,"total_time_ms":6.0,"rows":12,"queryid":"7"}}]]
    assert.equal("2026-03-29T00:30:00Z raw-queries h:d "
      .. "query calls=12 total_time_ms=6.0 mean_time_ms=0.5 rows=12 select 1\n",
      otlp.format_record({ topic = "raw-queries", key = "h:d", value = statement }, "text"))
    local event = [[{"timestamp":"2026-03-29T00:30:00Z","data_type":"log","tags":{"log_level":"error"},"payload":
      {"event_type":"query_error","error_code":"42P01","error_message":"no such table","uid":"a/1",
      "record":{"pid":1}}}]]
    assert.equal("2026-03-29T00:30:00Z raw-logs - error query_error error_code=42P01 no such table\n",
      otlp.format_record({ topic = "raw-logs", value = event }, "text"))
  end)

  it("tells a request's most general points in one line, and all of them in detail", function()
    local to = memory()
    local one = request(to)
    one:resource { { "table", "t" } }
    one:point(counter, 7)
    one:resource()
    one:point(sum, 3)
    assert(one:finish())
    local record = { topic = "otel-metrics", key = "h:d", value = to:take()[1].value }
    local line = "2023-11-14T22:13:20Z otel-metrics h:d 2 resources, 2 points: app.waiting 3\n"
    assert.equal(line, otlp.format_record(record, "text"))
    assert.equal(line .. otlp.text(record.value), otlp.format_record(record, "details"))
  end)

  it("takes any bytes", function()
    local endless = "\10\255\255\255\255\255\255\255\255\255\1"
    for _, value in ipairs { "", "\0", "{", "[[", endless, '"\\ud800"', "\27[2J" } do
      for _, form in ipairs { "json", "text", "details" } do
        local line = otlp.format_record({ topic = "t", key = value, value = value }, form)
        assert.equal("\n", line:sub(-1))
        assert.is_nil(line:find("[%z\1-\9\11-\31]"))
      end
    end
  end)
end)
