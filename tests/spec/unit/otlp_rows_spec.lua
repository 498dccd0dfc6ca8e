local json = require "cjson"
local memory = require "dbobs.core.memory"
local otlp = require "dbobs.otlp"
local pgresult = require "dbobs.core.pgresult"
local task = require "dbobs.task"

local TIME = 1700000000000000 -- microseconds
local SECOND = 1000000

local function request(to, more)
  local options = { scope = "spec", scope_version = "1", key = "host:db", time = TIME, sink = to,
    resource = { { "host.name", "host" }, { "server.port", 5432 } } }
  for name, value in pairs(more or {}) do options[name] = value end
  return otlp.request(options)
end

-- The values of the records in a memory sink, decoded.
local function decoded(records)
  local list = {}
  for i, record in ipairs(records) do list[i] = json.decode((assert(otlp.decode(record.value)))) end
  return list
end

local function said(attributes)
  local texts = {}
  for i, pair in ipairs(attributes or {}) do
    texts[i] = ("%s=%s"):format(pair.key, pair.value.stringValue or pair.value.intValue)
  end
  return table.concat(texts, ",")
end

-- All that the records say of each point, a text for each, in order: however they were split.
local function flat(records)
  local list = {}
  for _, record in ipairs(decoded(records)) do
    for _, resource in ipairs(record.resourceMetrics) do
      local scope = resource.scopeMetrics[1]
      for _, metric in ipairs(scope.metrics) do
        local data = metric.sum or metric.gauge
        for _, point in ipairs(data.dataPoints) do
          list[#list + 1] = table.concat({ said(resource.resource.attributes), scope.scope.name, metric.name,
            metric.unit, tostring(metric.description), tostring(data.isMonotonic), said(point.attributes),
            tostring(point.startTimeUnixNano), point.timeUnixNano, tostring(point.asInt or point.asDouble) }, "|")
        end
      end
    end
  end
  table.sort(list)
  return list
end

-- Points of a plan: what each is, and its column.
local KINDS = {
  { name = "a.counter", unit = "1", kind = "counter", description = "Counts" },
  { name = "b.sum", unit = "By", kind = "sum" },
  { name = "c.gauge", unit = "s", kind = "gauge" },
  { name = "d.double", unit = "ms", kind = "counter", type = "double" },
}

local function planned(count, columns)
  local points = {}
  for i = 1, count do
    points[i] = {
      metric = KINDS[(i - 1) % #KINDS + 1], column = "v" .. i,
      constants = i % 3 > 0 and { { "number", tostring(i) }, { "odd", "caf\233" } } or nil,
      columns = columns,
    }
  end
  return points
end

-- The same rows point by point: what cannot be a point is left out.
local function by_points(one, plan, columns, rows)
  local place = {}
  for i, name in ipairs(columns) do place[name] = i end
  for _, row in ipairs(rows) do
    local attributes = {}
    for _, pair in ipairs(plan.resource or {}) do
      local text = row[place[pair[2]]]
      if text then attributes[#attributes + 1] = { pair[1], text } end
    end
    assert(one:resource(attributes))
    for _, point in ipairs(plan.points) do
      local value, own = row[place[point.column]], { unpack(point.constants or {}) }
      for _, pair in ipairs(point.columns or {}) do
        local text = row[place[pair[2]]]
        if text then own[#own + 1] = { pair[1], text } end
      end
      if value then pcall(one.point, one, point.metric, value, own) end
    end
  end
end

local VALUES = {
  false, "0", "1", "-1", "42.9", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "", "x", "NaN",
  "Infinity", "1e300", "123456789012345678", "-0", "  7",
}
local TEXTS = { false, "", "users", "caf\233 \237\160\128", "na\195\175ve \"q\" \240\159\152\128", ("x"):rep(200) }

-- A generator that gives the same numbers in each run.
local function dice(seed)
  return function(n)
    seed = (seed * 1103515245 + 12345) % 2 ^ 31
    return math.floor(seed / 2 ^ 16) % n + 1
  end
end

local function random_rows(roll, columns, count, first_value)
  local rows = {}
  for i = 1, count do
    local row = {}
    for c = 1, #columns do row[c] = c < first_value and TEXTS[roll(#TEXTS)] or VALUES[roll(#VALUES)] end
    rows[i] = row
  end
  return rows
end

local function names(count, ...)
  local list = { ... }
  for i = 1, count do list[#list + 1] = "v" .. i end
  return list
end

-- Takes the records of a sink that holds one, one by one, while fn runs; returns how many there were, and how many of
-- them before fn ended.
local function taken_during(to, fn, each)
  local count, before_end, ended = 0, 0, false
  local sender = task.spawn(function()
    local ok, cause = pcall(fn)
    ended = true
    if not ok then error(cause, 0) end
  end)
  repeat
    task.wait(nil, 0)
    local last = ended
    for _, record in ipairs(to:take()) do
      count, before_end = count + 1, last and before_end or before_end + 1
      if each then each(record) end
    end
  until last
  assert.is_true(task.join(sender))
  return count, before_end
end

describe("otlp rows", function()
  -- Sends rows both ways, three times, each with start times of its own; the records must say the same.
  local function compare(plan, columns, first_value, limit)
    local roll, compiled = dice(#columns + (limit or 0)), otlp.plan(plan)
    local stores, points = { otlp.series(), otlp.series() }, 0
    for round = 1, 3 do
      local rows = random_rows(roll, columns, 30, first_value)
      local sinks, requests = { memory(limit), memory(limit) }, {}
      for way = 1, 2 do
        requests[way] = request(sinks[way], { series = stores[way], time = TIME + round * SECOND })
      end
      assert(requests[1]:rows(pgresult.make(columns, rows), compiled))
      by_points(requests[2], plan, columns, rows)
      assert(requests[1]:finish())
      assert(requests[2]:finish())
      local records = { sinks[1]:take(), sinks[2]:take() }
      local resources, count = requests[1]:counts()
      local other_resources, other_count = requests[2]:counts()
      assert.same({ other_resources, other_count }, { resources, count })
      assert.same(flat(records[2]), flat(records[1]))
      if not limit then assert.same(decoded(records[2]), decoded(records[1])) end
      points = points + count
      if limit then
        for _, record in ipairs(records[1]) do assert.is_true(#record.key + #record.value <= limit) end
      end
    end
    assert.equal((stores[2]:count()), (stores[1]:count()))
    return points
  end

  it("say what points say one by one, whatever their values", function()
    local plan = { resource = { { "table", "t" }, { "index", "i" } }, points = planned(8) }
    assert.is_true(compare(plan, names(8, "t", "i"), 3) > 200)
  end)

  it("say it in records that the sink takes", function()
    local plan = { resource = { { "table", "t" } }, points = planned(6) }
    assert.is_true(compare(plan, names(6, "t"), 2, 900) > 200)
  end)

  it("are split when one row is larger than a record", function()
    local plan = { resource = { { "table", "t" } }, points = planned(60) }
    assert.is_true(compare(plan, names(60, "t"), 2, 800) > 1000)
  end)

  it("may have attributes of points in columns", function()
    local plan = { resource = { { "table", "t" } }, points = planned(5, { { "client", "c" }, { "mode", "m" } }) }
    assert.is_true(compare(plan, names(5, "t", "c", "m"), 4) > 100)
  end)

  it("may have more points than a row's bits", function()
    local plan = { resource = { { "table", "t" } }, points = planned(150) }
    assert.is_true(compare(plan, names(150, "t"), 2) > 3000)
  end)

  it("count what are no numbers, once, also when the sink was full", function()
    local to = memory(500, 1)
    local one, rows = request(to), {}
    for i = 1, 20 do rows[i] = { "t" .. i, i % 2 == 0 and tostring(i) or "x", "1" } end
    local plan = otlp.plan { resource = { { "table", "t" } }, points = planned(2) }
    local chunk = pgresult.make({ "t", "v1", "v2" }, rows)
    local records = taken_during(to, function()
      assert(one:rows(chunk, plan))
      assert(one:finish())
    end)
    assert.is_true(records > 2)
    local resources, points, _, unreadable, metric = one:counts()
    assert.same({ 20, 30, 10, "a.counter" }, { resources, points, unreadable, metric })
  end)

  it("name a column that is missing at the caller's line", function()
    local one = request(memory())
    local plan = otlp.plan { points = planned(1) }
    local line = debug.getinfo(1, "l").currentline + 1
    local ok, cause = pcall(function() one:rows(pgresult.make({ "x" }, {}), plan) end)
    assert.is_false(ok)
    assert.matches(("otlp_rows_spec.lua:%d: otlp.rows: .* no column 'v1'"):format(line), cause)
  end)
end)

describe("otlp points of a resource", function()
  -- The points of a resource that `fill` adds, as values by metric; how many records came before it had ended.
  local function drain(limit, fill)
    local to, values = memory(limit, 1), {}
    local one = request(to)
    local _, before_end = taken_during(to, function()
      assert(one:resource { { "table", "t" } })
      fill(one)
      assert(one:finish())
    end, function(record)
      assert.is_true(#record.key + #record.value <= limit)
      for _, resource in ipairs(json.decode(otlp.decode(record.value)).resourceMetrics) do
        assert.equal("t", resource.resource.attributes[3].value.stringValue)
        local seen = {}
        for _, metric in ipairs(resource.scopeMetrics[1].metrics) do
          assert.is_nil(seen[metric.name])
          seen[metric.name] = true
          local list = values[metric.name] or {}
          values[metric.name] = list
          for _, point in ipairs((metric.sum or metric.gauge).dataPoints) do list[#list + 1] = tonumber(point.asInt) end
        end
      end
    end)
    return values, before_end, one
  end

  it("of many rows go out in parts, and wait for room", function()
    local rows = {}
    for i = 1, 20000 do rows[i] = { "relation " .. i, tostring(i), tostring(-i) } end
    local plan = otlp.plan { points = {
      { metric = KINDS[3], column = "v1", columns = { { "relation", "r" } } },
      { metric = KINDS[2], column = "v2", columns = { { "relation", "r" } }, constants = { { "mode", "x" } } },
    } }
    local values, before_end, one = drain(100000, function(one)
      assert(one:points(pgresult.make({ "r", "v1", "v2" }, rows), plan))
    end)
    assert.is_true(before_end > 10)
    assert.same({ 20000, 20000 }, { #values["c.gauge"], #values["b.sum"] })
    for i = 1, 20000 do
      assert.equal(i, values["c.gauge"][i])
      assert.equal(-i, values["b.sum"][i])
    end
    assert.same({ 1, 40000 }, { one:counts(), (select(2, one:counts())) })
  end)

  it("that come one by one as well", function()
    local values, before_end = drain(5000, function(one)
      for i = 1, 2000 do assert(one:point(KINDS[i % 3 + 1], i, { { "number", tostring(i) } })) end
    end)
    assert.is_true(before_end > 10)
    assert.equal(2000, #values["a.counter"] + #values["b.sum"] + #values["c.gauge"])
  end)
end)

describe("otlp misuse is told at the caller's line", function()
  local one

  before_each(function() one = request(memory()) end)

  -- fn is one call, on the line after `told` was called.
  local function told(pattern, fn)
    local ok, cause = pcall(fn)
    assert.is_false(ok)
    assert.matches("otlp_rows_spec.lua:" .. debug.getinfo(fn, "S").linedefined .. ": otlp." .. pattern, cause)
  end

  it("when a point is none", function()
    assert(one:resource())
    told("point: .*number", function() one:point(KINDS[1], {}) end)
    told("point: .*integer", function() one:point(KINDS[1], 1.5) end)
    told("point: the metric has no name", function() one:point({}, 1) end)
    told("point: .*{ name, text }.*number", function() one:point(KINDS[1], 1, { { "a", 1 } }) end)
    told("point: .*{ name, text }.*number", function() one:point(KINDS[1], 1, { { 1, "a" } }) end)
    told("point: .*{ name, text }", function() one:point(KINDS[1], 1, { "a" }) end)
    told("point: table expected", function() one:point(KINDS[1], 1, "a") end)
  end)

  it("when a batch is none", function()
    told("request: .*batch", function() request(memory(), { batch = {} }) end)
  end)

  it("when a resource, a request or a plan is none", function()
    told("resource: .*{ name, text }", function() one:resource { { "a", 1 } } end)
    told("points: no resource", function() one:points(pgresult.make({}, {}), otlp.plan { points = {} }) end)
    told("request: .*sink", function() request(nil) end)
    told("plan: metric a.counter has no column", function() otlp.plan { points = { { metric = KINDS[1] } } } end)
    told("plan: option 'reset': string expected", function() otlp.plan { points = {}, reset = 1 } end)
  end)
end)
