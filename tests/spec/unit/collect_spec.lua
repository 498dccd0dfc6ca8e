local collect = require "dbobs.collect"
local counters = require "dbobs.counters"
local log = require "dbobs.log"
local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"
local timer = require "dbobs.timer"

-- Jobs stay registered in the module; each spec takes a fresh copy.
local function fresh_collect()
  package.loaded["dbobs.collect"] = nil
  local module = require "dbobs.collect"
  package.loaded["dbobs.collect"] = collect
  return module
end

local target = { host = "127.0.0.1", port = 1, dbname = "postgres", user = "x" }

local function counter(collector, name)
  for _, one in ipairs(counters.all()) do
    if one[1] == collector and one[3] == name then return one[4] end
  end
  return 0
end

describe("supervision", function()
  local lines, original

  before_each(function()
    lines, original = {}, sys.log
    sys.log = function(text) lines[#lines + 1] = text end
  end)

  after_each(function() sys.log = original end)

  local function run_until(module, done)
    module.start()
    while not done() do timer.sleep "2ms" end
    module.stop(60)
  end

  it("starts a collector that raised again, tells where, and leaves the others alone", function()
    local module = fresh_collect()
    local bad_runs, good_runs = 0, 0
    module.collect({ name = "spec-bad", collect = function()
      bad_runs = bad_runs + 1
      return ({}).nothing.field
    end }, target, { every = "5ms", to = sink.discard() })
    module.collect({ name = "spec-good", collect = function() good_runs = good_runs + 1 end }, target,
      { every = "5ms", to = sink.discard() })
    run_until(module, function() return bad_runs >= 3 and good_runs >= 3 end)
    assert.matches("collector raised an error; it is started again", lines[1])
    assert.matches("target=127.0.0.1:1 collector=spec%-bad", lines[1])
    assert.matches("nothing", lines[1])
    assert.matches("traceback=.*collect_spec.lua:%d+", lines[1])
    assert.is_true(counter("spec-bad", "errors") >= 3)
    assert.equal(0, counter("spec-good", "errors"))
  end)

  it("tells what can happen once while it lasts, and when it is over", function()
    local module = fresh_collect()
    local runs = 0
    module.collect({ name = "spec-away", collect = function()
      runs = runs + 1
      if runs <= 3 then return nil, "postgres.connect: refused" end
      return true
    end }, target, { every = "5ms", to = sink.discard() })
    run_until(module, function() return runs >= 5 end)
    assert.equal(2, #lines)
    assert.matches("collector failed.*refused", lines[1])
    assert.matches("over: collector failed", lines[2])
  end)

  it("ends a collection that takes longer than it may", function()
    local module = fresh_collect()
    local runs = 0
    module.collect({ name = "spec-slow", collect = function()
      runs = runs + 1
      timer.sleep "1h"
    end }, target, { every = "5ms", to = sink.discard() })
    run_until(module, function() return runs >= 2 end)
    assert.matches("it took longer than it may", lines[1])
  end)

  it("runs each once, and says whether all went well", function()
    local module = fresh_collect()
    local runs = 0
    local one = { name = "spec-once", options = { top = 3 }, collect = function(run)
      runs = runs + run.options.top
      return sink.send(run.sink, "k", "v", run.batch)
    end }
    module.collect(one, target, { to = sink.discard() })
    module.collect(one, target, { to = sink.discard(), top = 4 })
    assert.is_true(module.run_once())
    assert.equal(7, runs)
    assert.equal(2, counter("spec-once", "records_delivered"))
    module.collect({ name = "spec-fails", collect = function() return nil, "no" end }, target, { to = sink.discard() })
    assert.is_false(module.run_once())
    module = fresh_collect()
    local part = { name = "spec-part", collect = function(run) run:partial("part", "why") end }
    module.collect(part, target, { to = sink.discard() })
    assert.is_false(module.run_once())
  end)

  it("tells wrong options where they were written", function()
    local module = fresh_collect()
    local function fails(pattern, ...)
      local arguments = { ... }
      local ok, cause = pcall(function() module.collect(arguments[1], arguments[2], arguments[3]) end)
      assert.is_false(ok)
      assert.matches("^tests/spec/unit/collect_spec.lua:%d+: ", cause)
      assert.matches(pattern, cause)
    end
    local one = { name = "spec-x", options = { top = 3 }, collect = function() end }
    local to = sink.discard()
    fails("must be a collector", {}, target, { to = to })
    fails("must be a target", one, nil, { to = to })
    fails("unknown option 'evry'; did you mean 'every'", one, target, { to = to, evry = "5s" })
    fails("option 'top' must be number", one, target, { to = to, top = "many" })
    fails("option 'to' is missing", one, target, {})
    fails("unknown option 'hots'; did you mean 'host'", one, { hots = "x" }, { to = to })
    fails("needs the option 'name'", one, { host = "/run/postgresql" }, { to = to })
    fails("option 'tags' must map texts", one, { host = "x", tags = { "a" } }, { to = to })
    fails("'connections' must be a whole number from 0", one, { host = "x", connections = -1 }, { to = to })
    fails("'databases' must be a list of texts", one, { host = "x", databases = { 1 } }, { to = to })
    module.collect(one, { host = "twin", port = 1 }, { to = to })
    module.collect(one, { host = "twin", port = 2 }, { to = to })
    fails("two targets are called 'twin:2'", one, { host = "twin", port = 2, dbname = "x" }, { to = to })
  end)

  it("tells a follower's failure for as long as it lasts, whatever the collections do", function()
    local module = fresh_collect()
    local runs, follows = 0, 0
    module.collect({
      name = "spec-both",
      collect = function() runs = runs + 1 end,
      follow = function()
        follows = follows + 1
        return nil, "cannot be followed"
      end,
    }, target, { every = "5ms", to = sink.discard() })
    run_until(module, function() return runs >= 5 and follows >= 2 end)
    assert.equal(1, #lines)
    assert.matches("collector failed.*cannot be followed", lines[1])
  end)

  it("never starts a follower again that says that it is no use", function()
    local module = fresh_collect()
    local runs, follows = 0, 0
    module.collect({
      name = "spec-final",
      collect = function() runs = runs + 1 end,
      follow = function()
        follows = follows + 1
        return nil, "somebody else has taken over", true
      end,
    }, target, { every = "600ms", to = sink.discard() })
    run_until(module, function() return runs >= 5 end) -- longer than the first pause before another start
    assert.equal(1, follows)
    assert.equal(1, #lines)
    assert.matches("collector stopped for good.*somebody else has taken over", lines[1])
  end)
end)

describe("conditions of a run", function()
  it("count what failed in part", function()
    local run = require("dbobs.run").new({ collector = { name = "spec-run" }, target = { name = "t" }, options = {} })
    log.configure { level = "error" }
    run:partial("tables of app", "timeout")
    log.configure { level = "info" }
    assert.equal(1, run.failed_parts)
    assert.equal(1, counter("spec-run", "partial_errors"))
  end)
end)
