local load = require "dbobs.load"
local options = require "dbobs.load.options"
local setup = require "dbobs.load.setup"

describe("workload", function()
  local function event(name, weight) return { name = name, weight = weight, run = function() end } end

  local function workload(more)
    local spec = { name = "w", events = { event "a" }, targets = { { host = "h" } } }
    for name, value in pairs(more or {}) do spec[name] = value end
    return load.workload(spec)
  end

  it("raises what is wrong with it", function()
    local cases = {
      { { events = { event("a", -1) } }, "event 'a': the weight must be a number of 0 or more, got %-1" },
      { { events = { event("a", "many") } }, "event 1: option 'weight' must be number or function" },
      { { events = { event("a", 0) } }, "every event has the weight 0" },
      { { events = { event "a", event "a" } }, "two events are called 'a'" },
      { { events = {} }, "there are no events" },
      { { events = { { name = "a" } } }, "has no run function" },
      { { evnts = {} }, "unknown option 'evnts'; did you mean 'events'" },
      { { options = { { name = "rate", help = "x", type = "number", default = 1 } } }, "'rate' is there already" },
      { { options = { { name = "x", type = "number", default = 1 } } }, "'x' has no help" },
      { { options = { { name = "x", help = "x", type = "number", default = "y" } } }, "the default is no number" },
    }
    for _, case in ipairs(cases) do
      local ok, cause = pcall(workload, case[1])
      assert.is_false(ok)
      assert.matches("^workload w: ", cause)
      assert.matches(case[2], cause)
    end
  end)

  it("settles options: the command line over the workload's defaults over everybody's", function()
    local one = workload {
      options = { { name = "size", type = "integer", default = 5, help = "x" } },
      defaults = { duration = "5s", connections = function(o) return o.size * 2 end },
    }
    local values = assert(options.settle(one, { size = "7", rate = "10" }))
    assert.same({ 7, 10, 5, 14 }, { values.size, values.rate, values.duration, values.connections })
    local wrong = { sise = "did you mean 'size'", size = "an integer expected", connections = "1 to 10000" }
    for given, pattern in pairs(wrong) do
      local _, problem = options.settle(one, { [given] = given == "connections" and "0" or "1.5" })
      assert.matches(pattern, problem)
    end
  end)

  it("lists its options", function()
    local size = { name = "size", type = "integer", default = 5, help = "rows" }
    local text = options.help(workload { options = { size } }, "w.lua")
    assert.matches("size=5 +rows %(integer%)", text)
    assert.matches("rate=0 +events a second", text)
  end)

  it("runs against no server that nobody named", function()
    local test, problem = setup.settle(workload { targets = function() return {} end }, {})
    assert.is_nil(test)
    assert.matches("no server is named", problem)
    test = assert(setup.settle(workload { targets = function() return {} end }, { target = "host=x dbname=y" }))
    assert.equal("x", test.targets[1].parameters.host)
  end)

  it("says which function of it raised", function()
    local _, problem = setup.settle(workload { targets = function() error "no file" end }, {})
    assert.matches("workload w: .*no file", problem)
    _, problem = setup.settle(workload { events = function() return { event("a", 0 / 0) } end }, {})
    assert.matches("the weight must be", problem)
  end)

  it("spreads connections over targets by their weights", function()
    local assigned = setup.assign({ { weight = 3 }, { weight = 1 } }, 8)
    assert.same({ 1, 1, 2, 1, 1, 1, 2, 1 }, assigned)
  end)
end)
