local task = require "dbobs.task"
local timer = require "dbobs.timer"

describe("task", function()
  it("runs side by side and joins with its results", function()
    local order = {}
    local first = task.spawn(function() timer.sleep("20ms") order[#order + 1] = "first" return 1, nil, 3 end)
    local second = task.spawn(function() order[#order + 1] = "second" end)
    local results = { task.join(first) }
    task.join(second)
    assert.same({ "second", "first" }, order)
    assert.equal(true, results[1])
    assert.equal(1, results[2])
    assert.equal(3, results[4])
  end)

  it("is started with arguments", function()
    local _, sum = task.join(task.spawn(function(a, b) return a + b end, 2, 3))
    assert.equal(5, sum)
  end)

  it("waits inside pcall and inside a user's own coroutine, at any depth", function()
    local inner = coroutine.wrap(function()
      local deeper = coroutine.wrap(function()
        timer.sleep("1ms")
        coroutine.yield "deep"
        timer.sleep("1ms")
        return "end"
      end)
      coroutine.yield(deeper())
      coroutine.yield(select(2, pcall(deeper)))
    end)
    assert.equal("deep", inner())
    assert.equal("end", inner())
  end)

  it("says clearly that a wait below a C function is not possible", function()
    local ok, cause = pcall(table.sort, { 3, 2, 1 }, function(a, b) timer.sleep("1ms") return a < b end)
    assert.is_false(ok)
    assert.matches("waiting is not possible here: below a C function", cause)
  end)

  describe("after a refused wait", function()
    local latch = require "dbobs.core.latch"

    -- Waits below a C function, with a coroutine in between: only the outer yield is refused.
    local function refused(on)
      return pcall(string.gsub, "a", "a", function() coroutine.wrap(function() task.wait(on) end)() end)
    end

    it("is not woken by what it had waited for", function()
      local first, second = latch(), latch()
      local reason
      local one = task.spawn(function()
        assert.is_false(refused(first))
        reason = task.wait(second, 0.05)
      end)
      timer.sleep "5ms"
      first:signal()
      task.join(one)
      assert.is_false(reason)
    end)

    it("ends well, and a later signal finds nobody", function()
      local on = latch()
      task.join(task.spawn(function() refused(on) end))
      collectgarbage()
      collectgarbage()
      on:signal()
      assert.is_true(task.wait(on, 0))
    end)

    it("goes on when the signal comes while it runs, and after many", function()
      local on = latch()
      local ended = task.join(task.spawn(function()
        assert.is_false(refused(on))
        on:signal()
        for _ = 1, 40 do
          on:signal()
          refused(on)
        end
        timer.sleep "1ms"
      end))
      assert.is_true(ended)
    end)
  end)

  it("cancels a task that waits, and one that is about to", function()
    local cause
    local waiting = task.spawn(function() local _, raised = pcall(timer.sleep, "1h") cause = raised end)
    timer.sleep(0)
    task.cancel(waiting)
    task.join(waiting)
    assert.equal(task.CANCELLED, cause)

    local about_to = task.spawn(function() cause = select(2, pcall(timer.sleep, "1h")) end)
    cause = nil
    task.cancel(about_to)
    task.join(about_to)
    assert.equal(task.CANCELLED, cause)
  end)

  it("lets several tasks join one", function()
    local one = task.spawn(function() timer.sleep("5ms") return "x" end)
    local seen = 0
    local joiners = {}
    for i = 1, 3 do joiners[i] = task.spawn(function() if task.join(one) then seen = seen + 1 end end) end
    for i = 1, 3 do task.join(joiners[i]) end
    assert.equal(3, seen)
  end)

  it("does not let a task that never parks hold up the others", function()
    local stop = false
    local ended = task.spawn(function() end)
    task.join(ended)
    local spinner = task.spawn(function()
      while not stop do task.wait(nil, 0) end
    end)
    local other = task.spawn(function() stop = true end)
    task.join(other)
    task.join(spinner)
    assert.is_true(stop)
  end)

  it("refuses to wait for what cannot be waited for", function()
    assert.has_error(function() task.wait(io.stdout) end)
    assert.has_error(function() task.wait(42) end)
  end)
end)

describe("deadline", function()
  it("ends what takes too long", function()
    local result, cause = task.deadline("10ms", function() timer.sleep("1h") end)
    assert.is_nil(result)
    assert.equal("deadline: 0.01 s passed", cause)
  end)

  it("hands results and errors on", function()
    assert.same({ 1, 2 }, { task.deadline("1h", function() return 1, 2 end) })
    local ok, cause = pcall(task.deadline, "1h", error, "x", 0)
    assert.is_false(ok)
    assert.equal("x", cause)
  end)

  it("is the nearer of two when they are nested, and the outer one stays in force", function()
    local inner, outer
    outer = select(2, task.deadline("1s", function()
      inner = select(2, task.deadline("5ms", timer.sleep, "1h"))
      timer.sleep "1h"
    end))
    assert.equal("deadline: 0.005 s passed", inner)
    assert.equal("deadline: 1 s passed", outer)
    outer = select(2, task.deadline("5ms", function() task.deadline("1h", timer.sleep, "1h") end))
    assert.equal("deadline: 0.005 s passed", outer)
  end)
end)
