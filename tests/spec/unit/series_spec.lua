local json = require "cjson"
local memory = require "dbobs.core.memory"
local otlp = require "dbobs.otlp"
local pgresult = require "dbobs.core.pgresult"

local TIME = 1700000000000000 -- microseconds
local SECOND = 1000000

local counter = { name = "done", kind = "counter" }
local other = { name = "other", kind = "counter" }
local sum = { name = "held", kind = "sum" }

describe("start times of rows", function()
  local series, now

  before_each(function() series, now = otlp.series(), TIME end)

  -- What `fill` puts into a request, as starts in seconds after TIME, by "metric{attributes}" of the point.
  local function starts(fill)
    local to = memory()
    local one = otlp.request { scope = "spec", key = "k", time = now, sink = to, series = series }
    fill(one)
    assert(one:finish())
    local found = {}
    for _, record in ipairs(to:take()) do
      for _, resource in ipairs(json.decode((assert(otlp.decode(record.value)))).resourceMetrics) do
        for _, metric in ipairs(resource.scopeMetrics[1].metrics) do
          for _, point in ipairs((metric.sum or metric.gauge).dataPoints) do
            local texts = {}
            for i, pair in ipairs(point.attributes or {}) do texts[i] = pair.value.stringValue end
            local name = metric.name .. (#texts > 0 and "{" .. table.concat(texts, ",") .. "}" or "")
            assert.is_nil(found[name])
            found[name] = (tonumber(point.startTimeUnixNano) - TIME * 1000) / 1e9
          end
        end
      end
    end
    now = now + 10 * SECOND
    return found
  end

  local columns = { "t", "done", "other", "held", "age" }
  local plan = otlp.plan { resource = { { "table", "t" } }, reset = "age", points = {
    { metric = counter, column = "done" }, { metric = sum, column = "held" }, { metric = other, column = "other" },
  } }

  local function row(done, others, held, age)
    return starts(function(one)
      assert(one:rows(pgresult.make(columns, { { "t", done, others, held, age or false } }), plan))
    end)
  end

  it("move for the counters that fell, and for no others", function()
    assert.same({ done = 0, other = 0, held = 0 }, row("5", "5", "5"))
    assert.same({ done = 0, other = 0, held = 0 }, row("6", "5", "4"))
    assert.same({ done = 10, other = 0, held = 0 }, row("1", "6", "5"))
    assert.same({ done = 10, other = 30 - 10, held = 0 }, row("2", "0", "5"))
    assert.same({ done = 10, other = 20, held = 0 }, row("2", "0", "5"))
  end)

  it("move to the last time that the series itself was seen", function()
    row("5", "5", "5")
    assert.same({ other = 0, held = 0 }, row(false, "6", "5"))
    assert.same({ done = 0, other = 0, held = 0 }, row("5", "6", "5"))
    row(false, "6", "5")
    assert.same({ done = 20, other = 0, held = 0 }, row("4", "6", "5"))
  end)

  it("of a column that was NULL at first are when it is first seen", function()
    assert.same({ other = 0 }, row(false, "6", false))
    assert.same({ done = 10, other = 0, held = 10 }, row("4", "6", "5"))
    assert.same({ done = 10, other = 0, held = 10 }, row("4", "6", "5"))
  end)

  it("move to a reset that is known, also when no counter fell, and sums stay", function()
    row("5", "5", "5", "3600000000")
    assert.same({ done = 0, other = 0, held = 0 }, row("6", "6", "6", "3610000000"))
    assert.same({ done = 16, other = 16, held = 0 }, row("7", "7", "7", "4000000"))
    assert.same({ done = 16, other = 16, held = 0 }, row("8", "8", "8", "14000000"))
    -- A number of any type, and a fraction.
    assert.same({ done = 37.5, other = 37.5, held = 0 }, row("1", "1", "8", "2500000.75"))
    assert.same({ done = 48, other = 48, held = 0 }, row("1", "1", "8", "2e+06"))
  end)

  it("take a reset before the last observation for an old one", function()
    row("5", "5", "5", "0")
    assert.same({ done = 0, other = 0, held = 0 }, row("6", "6", "6", "10000001"))
    -- Then a fall moves the start as without it.
    assert.same({ done = 10, other = 0, held = 0 }, row("0", "6", "6", "20000001"))
  end)

  it("do without an age that is NULL, negative or no number", function()
    row("5", "5", "5")
    for _, age in ipairs { false, "-1", "x", "NaN", "1e300", "" } do
      assert.same({ done = 0, other = 0, held = 0 }, row("5", "5", "5", age))
    end
  end)

  it("are never after the point when the clock was set back", function()
    row("5", "5", "5")
    now = TIME - 3600 * SECOND
    assert.same({ done = -3600, other = -3600, held = -3600 }, row("6", "6", "6", "1000000"))
    assert.same({ done = -3591, other = -3591, held = -3600 }, row("6", "6", "6", "1000000"))
  end)

  it("are the same for a series that comes another way", function()
    local way = {
      function(one)
        assert(one:rows(pgresult.make({ "t", "n", "m" }, { { "t", "5", "x" } }), otlp.plan {
          resource = { { "table", "t" } },
          points = { { metric = counter, column = "n", constants = { { "mode", "x" }, { "kind", "y" } } } },
        }))
      end,
      function(one)
        assert(one:resource { { "table", "t" } })
        assert(one:point(counter, 5, { { "kind", "y" }, { "mode", "x" } }))
      end,
      function(one)
        assert(one:resource { { "table", "t" } })
        assert(one:points(pgresult.make({ "n", "m" }, { { "5", "x" } }), otlp.plan {
          points = { { metric = counter, column = "n", constants = { { "kind", "y" } },
            columns = { { "mode", "m" } } } },
        }))
      end,
    }
    for _, order in ipairs { { 1, 2, 3 }, { 3, 2, 1 }, { 2, 3, 1 }, { 1, 3, 2 } } do
      series, now = otlp.series(), TIME
      for _ = 1, 2 do
        for _, each in ipairs(order) do
          local found = starts(way[each])
          for name, start in pairs(found) do assert.same({ name, 0 }, { name, start }) end
          assert.is_truthy(next(found))
        end
      end
      assert.equal(1, (series:count()))
    end
  end)

  it("are those of the row that a hidden column tells", function()
    local hidden = otlp.plan { identity = { "oid" }, resource = { { "table", "t" } },
      points = { { metric = counter, column = "n" } } }
    local function made(oid, n)
      return starts(function(one)
        assert(one:rows(pgresult.make({ "t", "oid", "n" }, { { "t", oid, n } }), hidden))
      end).done
    end
    assert.same({ 0, 0, 20, 0 }, { made("1", "5"), made("1", "6"), made("2", "7"), made("1", "8") })
  end)

  it("stay when a plan asks for more or fewer points", function()
    local function some(...)
      local points, values, names = {}, { "t" }, { "t" }
      for i, metric in ipairs { ... } do
        points[i] = { metric = metric, column = metric.name }
        values[i + 1], names[i + 1] = "5", metric.name
      end
      local compiled = otlp.plan { resource = { { "table", "t" } }, points = points }
      return starts(function(one) assert(one:rows(pgresult.make(names, { values }), compiled)) end)
    end
    assert.same({ done = 0 }, some(counter))
    assert.same({ other = 10, done = 0 }, some(other, counter))
    assert.same({ held = 20, other = 10 }, some(sum, other))
    assert.same({ done = 0, held = 20, other = 10 }, some(counter, sum, other))
    assert.equal(3, (series:count()))
  end)

  it("are forgotten one by one", function()
    row("5", "5", "5")
    row("5", false, "5")
    series:forget(now - 15 * SECOND)
    assert.equal(2, (series:count()))
    assert.same({ done = 0, held = 0, other = 20 }, row("5", "5", "5"))
    series:forget(now)
    assert.equal(0, (series:count()))
    assert.same({ done = 30, held = 30, other = 30 }, row("5", "5", "5"))
  end)

  it("take some ten bytes a series when rows have many", function()
    local points, names, rows = {}, { "t" }, {}
    for i = 1, 16 do
      points[i] = { metric = i > 12 and sum or counter, column = "v" .. i, constants = { { "n", tostring(i) } } }
      names[i + 1] = "v" .. i
    end
    for i = 1, 5000 do
      rows[i] = { "table " .. i }
      for n = 1, 16 do rows[i][n + 1] = tostring(n) end
    end
    local compiled, chunk = otlp.plan { resource = { { "table", "t" } }, points = points }, pgresult.make(names, rows)
    for round = 1, 2 do
      local one = otlp.request { scope = "spec", key = "k", time = now + round, sink = memory(), series = series }
      assert(one:rows(chunk, compiled))
      assert(one:finish())
    end
    local count, bytes = series:count()
    assert.equal(16 * 5000, count)
    assert.is_true(bytes / count < 12, bytes / count)
  end)
end)
