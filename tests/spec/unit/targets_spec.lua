local collect = require "dbobs.collect"
local counters = require "dbobs.counters"
local process = require "support.process"
local servers = require "support.servers"
local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"
local targets = require "dbobs.targets"
local timer = require "dbobs.timer"

local function fresh_collect()
  package.loaded["dbobs.collect"] = nil
  local module = require "dbobs.collect"
  package.loaded["dbobs.collect"] = collect
  return module
end

local function runs_of(collector)
  local runs = {}
  for _, one in ipairs(counters.all()) do
    if one[1] == collector and one[3] == "runs" then runs[one[2]] = one[4] end
  end
  return runs
end

local function names_of(module)
  local names = {}
  for _, job in ipairs(module.jobs()) do names[#names + 1] = job.target.name end
  table.sort(names)
  return table.concat(names, " ")
end

describe("lists of targets that are read again", function()
  local lines, original, module, dir, number = {}, nil, nil, nil, 0
  local collector

  before_each(function()
    lines, original = {}, sys.log
    sys.log = function(text) lines[#lines + 1] = text end
    module, dir, number = fresh_collect(), servers.directory(), number + 1
    collector = { name = "spec-list-" .. number, collect = function() end }
  end)

  after_each(function() sys.log = original end)

  local function said(pattern)
    for _, line in ipairs(lines) do
      if line:match(pattern) then return line end
    end
  end

  local function says(pattern)
    process.until_true(function() return said(pattern) end, pattern .. " in " .. table.concat(lines))
  end

  local function start()
    module.start()
    finally(function() module.stop(60) end)
  end

  local function follow(list, more)
    module.each(list, function(target)
      if more then more(target) end
      module.collect(collector, target, { every = "5ms", to = sink.discard() })
    end)
    start()
  end

  local function becomes(names)
    process.until_true(function() return names_of(module) == names end, names .. "; it is " .. names_of(module))
  end

  local function write(name, text) process.write(dir .. "/" .. name, text) end
  local function directory(more)
    local given = { directory = dir, every = "10ms" }
    for name, value in pairs(more or {}) do given[name] = value end
    return targets.new(given)
  end

  it("come from a directory: a target or several in a file, in Lua or JSON", function()
    write("a.lua", "return { host = 'a' }")
    write("b.lua", "return { { host = 'b1' }, { host = 'b2', port = 5433 } }")
    write("c.json", '{"host": "c", "port": 5432, "user": null, "tags": {"team": "x"}}')
    write("d.json", '[{"host": "d1"}, {"host": "d2"}]')
    write("empty.json", "[]")
    write(".hidden.lua", "return { host = 'hidden' }")
    write("notes.txt", "host")
    local given = {}
    follow(directory { defaults = { user = "u", host = "nowhere" } }, function(target) given[target.host] = target end)
    becomes "a b1 b2:5433 c d1 d2"
    assert.equal("u", given.a.user)
    assert.equal("x", given.c.tags.team)
    process.until_true(function()
      local runs = runs_of(collector.name)
      return runs.a and runs["b2:5433"] and runs.d2
    end, "all of them to be collected")
    assert.is_nil(said "ERROR")
  end)

  it("are taken up, changed and dropped as their files are", function()
    write("a.lua", "return { host = 'a' }")
    write("b.lua", "return { host = 'b' }")
    follow(directory())
    becomes "a b"
    local job_of_a = module.jobs()[1].target.name == "a" and module.jobs()[1] or module.jobs()[2]
    write("c.json", '{"host": "c"}')
    becomes "a b c"
    says "target taken up  target=c source=.*c.json"
    os.remove(dir .. "/c.json")
    becomes "a b"
    says "target dropped  target=c"
    process.until_true(function() return runs_of(collector.name).c == nil end, "its counters to go")
    write("b.lua", "return { host = 'b', tags = { team = 'x' } }")
    says "target changed  target=b"
    becomes "a b"
    for _, job in ipairs(module.jobs()) do
      if job.target.name == "b" then assert.equal("x", job.target.tags.team) end
      if job.target.name == "a" then assert.equal(job_of_a, job) end
    end
    local before = runs_of(collector.name)
    process.until_true(function()
      local now = runs_of(collector.name)
      return now.a > before.a + 3 and now.b > before.b + 3
    end, "both to go on")
  end)

  it("stay what they were while a file has an error, which is told with file and line, and no password", function()
    write("a.lua", "return { host = 'a', password = 'hunter2' }")
    write("b.json", '{"host": "b",\n "password": "hunter2"}')
    follow(directory())
    becomes "a b"
    for text, problem in pairs {
      ["return {\n host = 'a', password = 'hunter2 }"] = "a.lua:2: unfinished string",
      ["return {\n host = 'a', password = 2hunter2 }"] = "a.lua:2: malformed number",
      ["return {\n host = 'a', pasword = 'hunter2' }"] = "a.lua:2: target 'a': unknown option 'pasword'",
      ["return {\n { host = 'x' },\n { host = 'a', tags = 'hunter3' } }"] = "a.lua:3: target 'a': option 'tags'",
      ["return { { host = 'x', port = {} }, { host = 'x', port = 1 } }"] = "a.lua: entry 1: target 'x': option 'port'",
      ["local x\n\nreturn x.y"] = "a.lua:3: attempt to index local 'x'",
      ["-- nothing"] = "a.lua: the file returns nothing",
      ["return 1"] = "a.lua: a target or a list of targets expected, got number",
      ["return { 'hunter2' }"] = "a.lua: entry 1: a target must be a table, got string",
    } do
      write("a.lua", text)
      says(problem:gsub("[%.%-]", "%%%0"))
      assert.equal("a b", names_of(module))
      write("a.lua", "return { host = 'a', password = 'hunter2' }")
      says "over: targets with an error; those from before stay"
      assert.is_nil(said "hunter2")
      lines = {}
    end
    for text, problem in pairs {
      ['{"host": "b",\n "password" "hunter2"}'] = "b.json:2: this is no JSON: Expected colon",
      ['{"host": "b",\n "password": "hunter2'] = "b.json:2: this is no JSON",
      ['{"host": "b",\n "pasword": "hunter2"}'] = "b.json:2: target 'b': unknown option 'pasword'",
      [""] = "b.json:1: this is no JSON",
    } do
      write("b.json", text)
      says(problem:gsub("[%.%-]", "%%%0"))
      assert.equal("a b", names_of(module))
    end
    assert.is_nil(said "hunter2")
    -- A target that runs is not disturbed by any of it.
    assert.is_nil(said "target changed")
    servers.shell("chmod -x " .. dir .. "; mv " .. dir .. " " .. dir .. ".away")
    says "the list of targets cannot be read; the targets from before stay.*No such file"
    assert.equal("a b", names_of(module))
  end)

  it("go by their names: of two the first stays, and both sources are told", function()
    write("b.lua", "return { host = 'x' }")
    local fixed = { host = "fixed" }
    follow({ fixed, directory(), targets.new { every = "10ms", list = function()
      return { { host = "own" }, { host = "fixed" } }
    end } })
    becomes "fixed own x"
    says 'two targets have one name.*name=fixed first="the pipeline" source="function at .*_spec.lua:%d+, entry 2'
    -- The one that is taken up stays, although the other one's file comes first.
    write("a.lua", "return { host = 'x', tags = { from = 'a' } }")
    says "two targets have one name.*name=x first=.*b.lua source=.*a.lua"
    for _, job in ipairs(module.jobs()) do assert.is_nil(job.target.tags.from) end
    -- It takes over when the name is free.
    os.remove(dir .. "/b.lua")
    process.until_true(function()
      for _, job in ipairs(module.jobs()) do
        if job.target.tags.from == "a" then return true end
      end
    end, "the other one to be taken up")
    says "over: two targets have one name"
  end)

  it("come from a function, and stay when it fails or a single one is wrong", function()
    local answer = function() return { { host = "f1" }, { host = "f2" } } end
    follow(targets.new { every = "10ms", list = function() return answer() end })
    becomes "f1 f2"
    answer = function() error "no inventory" end
    says "the list of targets cannot be read.*no inventory"
    assert.equal("f1 f2", names_of(module))
    answer = function() return nil, "not now" end
    says "not now"
    answer = function() end
    says "it returned nothing"
    answer = function() return { { host = "f1", tags = 1 }, { host = "f3" } } end
    becomes "f1 f3"
    says "targets with an error.*source=\"function at .*, entry 1\" error=\"target 'f1': option 'tags' must be table"
    answer = function() return {} end
    becomes ""
  end)

  it("leave out a target that the pipeline's function fails for, and try it again", function()
    local refuse = true
    follow(targets.new { every = "10ms", list = function() return { { host = "g1" }, { host = "g2" } } end },
      function(target)
        if refuse and target.host == "g2" then error "not this one" end
      end)
    becomes "g1"
    says "the target cannot be taken up.*name=g2.*not this one"
    refuse = false
    becomes "g1 g2"
    says "over: the target cannot be taken up"
  end)

  it("end a collection under way when its target is dropped", function()
    local ended
    collector.collect = function()
      local ok, cause = pcall(timer.sleep, "1h")
      ended = tostring(cause)
      if not ok then error(cause, 0) end
    end
    write("a.lua", "return { host = 'a' }")
    module.each(directory(), function(target)
      module.collect(collector, target, { every = "1h", jitter = 0, to = sink.discard() })
    end)
    start()
    becomes "a"
    timer.sleep "20ms"
    os.remove(dir .. "/a.lua")
    becomes ""
    process.until_true(function() return ended end, "the collection to end")
    assert.matches("cancelled", ended)
    assert.is_nil(said "ERROR")
  end)

  it("tell wrong options where they were written", function()
    local function fails(pattern, given)
      local ok, cause = pcall(function() targets.new(given) end)
      assert.is_false(ok)
      assert.matches("^tests/spec/unit/targets_spec.lua:%d+: ", cause)
      assert.matches(pattern, cause)
    end
    fails("unknown option 'directry'; did you mean 'directory'", { directry = "x" })
    fails("one of the options directory, query or list is missing", {})
    fails("'directory' or 'list', not both", { directory = "x", list = function() end })
    fails("options 'query' and 'on' belong together", { query = "select 1" })
    fails("options 'query' and 'on' belong together", { directory = "x", on = {} })
    fails("'every' must be longer than 0", { directory = "x", every = 0 })
    local source = targets.new { directory = "x" }
    local ok, cause = pcall(function() module.collect(collector, source, { to = sink.discard() }) end)
    assert.is_false(ok)
    assert.matches("targets_spec.lua:%d+: .*write dbobs.each%(targets, function%(target%)", cause)
    assert.matches("must be a list", select(2, pcall(module.each, nil, function() end)))
    assert.matches("must be a function", select(2, pcall(module.each, {})))
  end)
end)

describe("the schedule", function()
  local supervisor = require "dbobs.supervisor"

  local function job(name, more)
    local given = { every = 30 }
    for option, value in pairs(more or {}) do given[option] = value end
    return { collector = { name = "metrics" }, target = { name = name }, options = given }
  end

  it("spreads the targets over as much of the period as they need, each always to the same place", function()
    for _, jobs in ipairs { 3, 200, 600, 5000 } do
      local window = math.min(30, math.max(3, jobs / 20))
      local slots = {}
      for i = 1, jobs do
        local offset = supervisor.offset(job("db" .. i .. ".example.org"), jobs)
        assert.equal(offset, supervisor.offset(job("db" .. i .. ".example.org"), jobs))
        assert.is_true(offset >= 0 and offset <= window)
        local slot = math.min(math.floor(offset / window * 10), 9)
        slots[slot] = (slots[slot] or 0) + 1
      end
      -- A tenth of the window has its tenth of the targets, more or less.
      for slot = 0, jobs >= 200 and 9 or -1 do
        assert.is_true(slots[slot] > jobs / 20 and slots[slot] < jobs / 5, jobs .. " jobs, slot " .. slot)
      end
    end
    assert.equal(0, supervisor.offset(job("x", { jitter = 0 }), 100))
    assert.is_true(supervisor.offset(job("x", { jitter = "1s" }), 5000) <= 1)
  end)

  it("neither skips nor repeats collections when the wall clock is set forth or back", function()
    local module = fresh_collect()
    local times = {}
    local hour = 3600 * 1e6
    module.collect({ name = "spec-clock", collect = function(run)
      times[#times + 1] = run.time
      if #times == 3 then sys.shift_wall(hour) end
      if #times == 6 then sys.shift_wall(-2 * hour) end
    end }, { host = "clock" }, { every = "100ms", jitter = 0, to = sink.discard() })
    local began = timer.monotonic()
    module.start()
    process.until_true(function() return #times >= 10 end, "ten collections")
    module.stop(60)
    local ticks = math.floor((timer.monotonic() - began) / 0.1) + 1
    sys.shift_wall(hour)
    local skipped = 0
    for _, one in ipairs(counters.all()) do
      if one[1] == "spec-clock" and one[3] == "ticks_skipped" then skipped = one[4] end
    end
    -- A busy machine may skip some; a schedule by the wall clock would skip an hour's, or repeat two.
    assert.is_true(skipped < 3600 / 0.1)
    assert.is_true(#times + skipped <= ticks + 1, ("%d + %d of %d"):format(#times, skipped, ticks))
    assert.is_true(times[4] - times[3] > hour and times[7] - times[6] < -hour)
  end)
end)
