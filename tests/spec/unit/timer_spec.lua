local sys = require "dbobs.core.sys"
local timer = require "dbobs.timer"

describe("timer", function()
  it("reads durations", function()
    assert.equal(0.25, timer.duration "250ms")
    assert.equal(30, timer.duration "30s")
    assert.equal(300, timer.duration "5m")
    assert.equal(7200, timer.duration "2h")
    assert.equal(604800, timer.duration "7d")
    assert.equal(1.5, timer.duration "1.5s")
    assert.equal(12, timer.duration "12")
    assert.equal(3, timer.duration(3))
    for _, wrong in ipairs { "", "s", "1e30d", "30 s", "-1s", "3w", "1e999s", "nan", -1, 0 / 0, 1 / 0 } do
      assert.has_error(function() timer.duration(wrong) end)
    end
    assert.has_error(function() timer.duration {} end)
  end)

  it("shows the forms of a duration, and the caller's line, for a wrong one", function()
    local ok, cause = pcall(function() timer.sleep "3 weeks" end)
    assert.is_false(ok)
    assert.matches('^tests/spec/unit/timer_spec.lua:%d+: .*"30s".*got 3 weeks', cause)
  end)

  it("sleeps at least as long as told", function()
    local before = timer.monotonic()
    timer.sleep "15ms"
    assert.is_true(timer.monotonic() - before >= 0.015)
  end)

  it("skips the ticks that fell due while one ran, and counts them", function()
    local due, skipped = timer.next_tick(100, 10, 103)
    assert.same({ 110, 0 }, { due, skipped })
    due, skipped = timer.next_tick(100, 10, 135)
    assert.same({ 140, 3 }, { due, skipped })
    local seen = 0
    timer.every("2ms", function(tick)
      if tick.number == 1 then timer.sleep "9ms" end
      seen = tick.skipped
      return tick.number < 3
    end, { jitter = 0 })
    assert.is_true(seen >= 3)
  end)

  it("says where a tick was asked for wrongly", function()
    local ok, cause = pcall(function() timer.every("1s", function() end, { jiter = "0s" }) end)
    assert.is_false(ok)
    assert.matches("^tests/spec/unit/timer_spec.lua:%d+: every: unknown option 'jiter'; did you mean 'jitter'", cause)
    ok, cause = pcall(function() timer.every "1s" end)
    assert.is_false(ok)
    assert.matches("the second argument must be a function", cause)
  end)

  it("spreads first ticks over the jitter", function()
    local task = require "dbobs.task"
    local begins, tasks = {}, {}
    local started = timer.monotonic()
    for i = 1, 50 do
      tasks[i] = task.spawn(timer.every, "10s", function()
        begins[#begins + 1] = timer.monotonic() - started
        return false
      end, { jitter = "50ms" })
    end
    for i = 1, 50 do task.join(tasks[i]) end
    assert.equal(50, #begins)
    assert.is_true(begins[50] - begins[1] > 0.005)
  end)

  it("has a wall clock that tests can move", function()
    local before = timer.wall()
    sys.shift_wall(3600e6)
    local after = timer.wall()
    sys.shift_wall(-3600e6)
    assert.is_true(after - before >= 3600e6)
  end)

  it("writes instants as ISO 8601 in UTC with microseconds", function()
    assert.equal("1970-01-01T00:00:00.000001Z", timer.iso8601(1))
    assert.equal("2026-03-29T01:30:00.123000Z", timer.iso8601(1774747800123000))
  end)
end)
