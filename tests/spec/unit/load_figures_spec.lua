local compare = require "dbobs.load.compare"
local core = require "dbobs.core.histogram"
local limits = require "dbobs.load.limits"
local random = require "dbobs.core.random"
local replay = require "dbobs.load.replay"
local result = require "dbobs.load.result"
local schedule = require "dbobs.load.schedule"
local stages = require "dbobs.load.stages"

describe("histogram", function()
  -- Times as servers have them: most short, some long.
  local function sample()
    local one, values = random.new(11, 1, 1), {}
    for i = 1, 20000 do values[i] = 1e-4 + one:interval(0.001) ^ 1.5 end
    return values
  end

  local function filled(values)
    local histogram = core.new()
    for _, value in ipairs(values) do histogram:record(value) end
    return histogram
  end

  it("has the percentiles of the raw values, to three digits", function()
    local values = sample()
    local histogram = filled(values)
    table.sort(values)
    local sum = 0
    for _, value in ipairs(values) do sum = sum + value end
    for _, percentile in ipairs { 50, 75, 90, 95, 99, 99.9, 99.99 } do
      local exact = values[math.ceil(percentile / 100 * #values)]
      assert.near(exact, histogram:percentile(percentile), exact * 0.002)
    end
    assert.equal(#values, histogram:count())
    assert.near(sum / #values, histogram:mean(), sum / #values * 0.002)
    assert.near(values[#values], histogram:max(), 1e-9)
    assert.near(values[1], histogram:min(), 1e-7)
  end)

  it("goes to another thread as text without a change", function()
    local a, b = filled(sample()), core.new()
    b:add(a:encode())
    assert.same(result.times(a, 1), result.times(b, 1))
    b:add(a)
    assert.equal(2 * a:count(), b:count())
    b:reset()
    assert.equal(0, b:count())
    b:add(core.new():encode())
    assert.same({ 0, 0, 0, 0 }, { b:count(), b:mean(), b:max(), b:percentile(99) })
  end)

  it("refuses a text that is none", function()
    for _, text in ipairs { "", "x", "1:2", "1:2 ", "ffffff:1 0-0", "1:-1 0-0", "1:2 0-0x" } do
      assert.error_matches(function() core.new():add(text) end, "not the text of a histogram")
    end
  end)

  it("takes what is too long or negative", function()
    local histogram = core.new()
    histogram:record(1e9)
    histogram:record(-1)
    assert.equal(2, histogram:count())
    assert.equal(3600, histogram:max())
  end)
end)

describe("schedule", function()
  local function new(given)
    given.start, given.index, given.threads = 100, given.index or 1, given.threads or 1
    given.random = random.new(5, 1, 1)
    return schedule.new(given)
  end

  it("spreads a constant rate evenly over the threads", function()
    local times = {}
    for index = 1, 3 do
      local one = new { rate = 30, index = index, threads = 3 }
      for _ = 1, 10 do times[#times + 1] = one:take() end
    end
    table.sort(times)
    for i, time in ipairs(times) do assert.near(100 + (i - 1) / 30, time, 1e-9) end
  end)

  it("counts what is left, and takes it", function()
    local one = new { rate = 100 }
    for _ = 1, 25 do one:take() end
    assert.equal(75, one:left(101))
    assert.near(101, one:take(), 1e-9)
    local poisson = new { rate = 100, poisson = true }
    assert.near(1000, poisson:left(110), 110)
  end)

  it("comes at random with the rate's mean: intervals that vary as much as their mean", function()
    local one = new { rate = 50, poisson = true }
    local n, sum, squares, last = 5000, 0, 0, 100
    for _ = 1, n do
      local due = one:take()
      sum, squares, last = sum + due - last, squares + (due - last) ^ 2, due
    end
    local mean = sum / n
    assert.near(0.02, mean, 0.001)
    assert.near(0.02, math.sqrt(squares / n - mean * mean), 0.002)
  end)

  it("follows a function of time, also through a pause", function()
    local one = new { rate = function(t) return t < 1 and 10 or t < 2 and 0 or 100 end }
    local counts = { 0, 0, 0 }
    for _ = 1, 90 do
      local second = math.floor(one:take() - 100) + 1
      counts[second] = counts[second] + 1
    end
    assert.near(10, counts[1], 1)
    assert.near(0, counts[2], 1)
    assert.is_true(counts[3] > 70)
  end)
end)

describe("stages", function()
  it("ramp the rate", function()
    local list = assert(stages.parse "10s:500,1m:500,10s:0")
    local rate = stages.ramp(list, "rate")
    assert.equal(80, stages.duration(list))
    assert.same({ 0, 250, 500, 500, 250, 0 }, { rate(0), rate(5), rate(10), rate(70), rate(75), rate(90) })
    assert.is_nil(stages.ramp(list, "connections"))
    assert.equal(50, stages.ramp(stages.parse "10s:100c", "connections")(5))
  end)

  it("tell what is wrong", function()
    for _, text in ipairs { "10s", "10s:", ":5", "10s:5x", "soon:5" } do
      local list, problem = stages.parse(text)
      assert.is_nil(list)
      assert.matches("write 10s:500", problem)
    end
  end)
end)

describe("limits", function()
  it("of the command line win over the workload's", function()
    assert.same({ p99 = 0.02, errors = 0, rate = 900 }, limits.settle({ p99 = "1s", errors = 0 }, "p99=20ms,rate=900"))
  end)

  it("tell what is wrong", function()
    assert.matches("did you mean 'p9%d'", select(2, limits.settle({}, "p98=1s")))
    assert.matches("a duration expected, got 'soon'", select(2, limits.settle({ p99 = "soon" }, "")))
    assert.matches("'p99' is none", select(2, limits.settle({}, "p99")))
  end)

  it("say which of them are broken", function()
    local times = core.new()
    for _ = 1, 100 do times:record(0.05) end
    local total = { rate = 100, errors = 2, not_started = 0, times = times }
    assert.same({}, limits.broken({ p99 = 0.06, errors = 2, rate = 100, not_started = 0 }, total))
    local broken = table.concat(limits.broken({ p99 = 0.02, errors = 0, rate = 200, max = 0.01 }, total), "; ")
    assert.matches("errors: 2, over the limit of 0", broken)
    assert.matches("p99 is 50.%d+ ms, over the limit of 20.000 ms", broken)
    assert.matches("the rate is 100.0/s, under the limit of 200/s", broken)
    assert.matches("max is", broken)
  end)
end)

describe("comparison of two runs", function()
  local function run(rate, noise)
    local timeline = {}
    for i = 1, 20 do
      timeline[i] = { rate = rate + (i % 2 == 0 and noise or -noise), p50_ms = 1, p99_ms = 2, errors = {} }
    end
    return { timeline = timeline }
  end

  it("calls a difference within the ticks' own noise none", function()
    assert.matches("within the noise", compare.verdict(run(1000, 200), run(1050, 200), "rate", 1000, 1050))
  end)

  it("calls a larger one better or worse", function()
    assert.equal("BETTER", compare.verdict(run(1000, 20), run(1200, 20), "rate", 1000, 1200))
    assert.equal("WORSE", compare.verdict(run(1200, 20), run(1000, 20), "rate", 1200, 1000))
    assert.equal("WORSE", compare.verdict(run(1, 0), run(1, 0), "p99_ms", 2, 3))
  end)

  it("does not judge what was measured too shortly", function()
    assert.matches("too short", compare.verdict({ timeline = {} }, run(1, 0), "rate", 1, 2))
  end)
end)

describe("replay", function()
  local function records(list)
    local i = 0
    return function()
      i = i + 1
      return list[i]
    end
  end

  it("reads the arguments of a statement", function()
    local arguments = replay.arguments "Parameters: $1 = '42', $2 = NULL, $3 = 'it''s, $4 = ''x''', $4 = ''"
    assert.same({ n = 4, [1] = "42", [3] = "it's, $4 = 'x'", [4] = "" }, arguments)
    assert.same({ n = 0 }, replay.arguments(nil))
  end)

  it("sorts statements into sessions, by when they started", function()
    local sessions = replay.sessions(records {
      { session_id = "a", timestamp = "2026-02-28 23:59:59.500 UTC", message = "statement: begin" },
      { session_id = "b", timestamp = "2026-03-01 00:00:01.500 UTC",
        message = "duration: 2000.0 ms  statement: select 1" },
      { session_id = "a", timestamp = "2026-03-01 00:00:00.000 UTC", message = "execute s1: update t set a = $1",
        detail = "parameters: $1 = '5'" },
      { session_id = "a", timestamp = "2026-03-01 00:00:00.100 UTC", message = "duration: 0.1 ms  bind s1: update t" },
      { session_id = "a", timestamp = "2026-03-01 00:00:00.200 UTC", message = "statement: copy t from stdin" },
      { session_id = "c", timestamp = "2026-03-01 00:00:00.200 UTC", message = "checkpoint starting: time" },
    }, 2)
    assert.equal(2, #sessions)
    assert.same({ "other", "update" }, { sessions[1][1].event, sessions[1][2].event })
    assert.near(0, sessions[1][1].at, 1e-6)
    assert.near(0.25, sessions[1][2].at, 1e-6)
    assert.near(0, sessions[2][1].at, 1e-6)
    assert.same({ n = 1, [1] = "5" }, sessions[1][2].arguments)
  end)
end)
