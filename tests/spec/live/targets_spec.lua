local cjson = require "cjson"
local lfs = require "lfs"
local process = require "support.process"
local servers = require "support.servers"

local function json_lines(text)
  local lines = {}
  for line in text:gmatch "[^\n]+\n" do lines[#lines + 1] = cjson.decode(line) end
  return lines
end

-- A file of a directory that is being read: it comes at once, not first without its content.
local function put(path, text)
  assert(os.rename(process.write(path .. ".part", text), path))
end

-- How many records each target has sent, by its name.
local function records_of(one)
  local counts = {}
  for name in one:stdout():gmatch '"value":"([^"]*)"' do counts[name] = (counts[name] or 0) + 1 end
  return counts
end

-- A pipeline with one light collector, whose records are the targets' names.
local PIPELINE = [[
  local dbobs = require "dbobs"
  local out = dbobs.kafka { ["bootstrap.servers"] = "embedded" }
  local collector = { name = "light", collect = function(run)
    local failures, cause = run:snapshot(nil, { { name = "one", sql = "select 1" } })
    if not failures then return nil, cause end
    return dbobs.send(run.sink, run:key(), run.target.name)
  end }
  dbobs.each(%s, function(target)
    dbobs.collect(collector, target, { every = %q, to = out:topic "t", deadline = target.connect_timeout or "60s" })
  end)
]]

local function pipeline(list, every)
  return process.write(servers.directory() .. "/p.lua", PIPELINE:format(list, every or "1s"))
end

-- A target as Lua source.
local function source_of(target)
  local parts = {}
  for name, value in pairs(target) do parts[#parts + 1] = ("%s = %q"):format(name, tostring(value)) end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

describe("targets that come and go", function()
  local pg = servers.postgres()

  it("are taken up and dropped with their files, without a restart, and with their connections", function()
    local dir = servers.directory()
    local defaults = source_of(pg:target { application_name = "come_and_go" })
    put(dir .. "/a.lua", "return { name = 'a' }")
    local one = process.start { "run", "--to", "stdout",
      pipeline(("dbobs.targets { directory = %q, every = '50ms', defaults = %s }"):format(dir, defaults), "100ms") }
    local function connections()
      return pg:psql "select count(*) from pg_stat_activity where application_name = 'come_and_go'"
    end
    process.until_true(function() return (records_of(one).a or 0) >= 2 end, "a")
    put(dir .. "/b.json", '[{"name": "b1"}, {"name": "b2"}]')
    process.until_true(function() return records_of(one).b2 end, "b2")
    assert.equal("3", connections())
    os.remove(dir .. "/b.json")
    process.until_true(function() return connections() == "1" end, "the connections to go")
    local before = records_of(one)
    process.until_true(function() return records_of(one).a >= before.a + 3 end, "a to go on")
    assert.equal(before.b2, records_of(one).b2)
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
    assert.is_nil(one:stderr():match "ERROR")
  end)

  it("come from a query, whose last answer stays while it fails", function()
    pg:psql [[
      drop table if exists inventory;
      create table inventory (name text primary key, port int, tags jsonb, password_command text);
      grant select on inventory to dbobs_monitor]]
    local function add(name)
      pg:psql(("insert into inventory values ('%s', %s, '{\"team\": \"x\"}')"):format(name, pg.port))
    end
    add "q1"
    add "q2"
    local list = ("dbobs.targets { query = 'select * from inventory order by name', every = '50ms', "
      .. "on = %s, defaults = %s }"):format(source_of(pg:target()), source_of(pg:target { port = nil }))
    local file = pipeline(list, "100ms")
    local one = process.start { "run", "--to", "stdout", file }
    process.until_true(function()
      local counts = records_of(one)
      return counts.q1 and counts.q2
    end, "both")
    pg:psql "alter table inventory rename to hidden"
    one:says "the list of targets cannot be read; the targets from before stay.*inventory.*does not exist"
    local before = records_of(one)
    process.until_true(function() return records_of(one).q1 >= before.q1 + 3 end, "q1 to go on")
    pg:psql "alter table hidden rename to inventory"
    one:says "over: the list of targets cannot be read"
    pg:psql "delete from inventory where name = 'q2'"
    add "q3"
    process.until_true(function() return records_of(one).q3 end, "q3")
    one:says "target dropped  target=q2"
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
    assert.is_nil(one:stderr():match "password")

    -- Once and check take such lists once.
    local code, stdout, stderr = process.run { "run", "--once", "--to", "stdout", file }
    assert.equal(0, code, stderr)
    assert.equal(2, #json_lines(stdout))
    code, stdout, stderr = process.run { "check", file }
    assert.equal(0, code, stdout .. stderr)
    assert.matches("targets query on 127.0.0.1:%d+%s+ok\n%s+2 targets", stdout)
    assert.matches("target%s+light\n", stdout)
    assert.matches("q3%s+ok %(%d+%)\n", stdout)
    pg:psql "drop table inventory"
    code, stdout, stderr = process.run { "run", "--once", "--to", "stdout", file }
    assert.equal(1, code)
    assert.equal("", stdout)
    assert.matches("list of targets cannot be read", stderr)
    code, stdout = process.run { "check", file }
    assert.equal(1, code)
    assert.matches("targets query on 127.0.0.1:%d+%s+FAILED", stdout)
    assert.matches("query on 127.0.0.1:%d+: .*does not exist", stdout)
  end)

  it("stand in targets.lua, and the shipped pipeline takes them", function()
    local dir = servers.directory()
    lfs.mkdir(dir .. "/pipelines")
    lfs.mkdir(dir .. "/targets.d")
    process.write(dir .. "/targets.d/a.lua", "return " .. source_of(pg:target { name = "of-a-file" }))
    process.write(dir .. "/pipelines/targets.lua", ([[return { %s,
      require("dbobs").targets { directory = "targets.d" } }]]):format(source_of(pg:target { name = "fixed" })))
    process.write(dir .. "/pipelines/pg.lua", process.read "pipelines/pg.lua")
    local binary = process.dbobs:sub(1, 1) == "/" and process.dbobs or lfs.currentdir() .. "/" .. process.dbobs
    local code, stdout, stderr = process.run({ "run", "--once", "--to", "stdout", "pipelines/pg.lua" }, nil,
      { directory = dir, command = servers.quote(binary) })
    assert.equal(0, code, stderr)
    local topics = {}
    for _, line in ipairs(json_lines(stdout)) do topics[line.topic] = (topics[line.topic] or 0) + 1 end
    assert.is_true(topics["otel-metrics"] >= 4 and topics["raw-logs"] >= 2)
    assert.matches("targets taken up%s+source=\"directory targets.d\" targets=1", stderr)
  end)

  it("are all there after a reload, or the reload fails and the pipeline from before goes on", function()
    local dir = servers.directory()
    put(dir .. "/a.lua", "return { name = 'a' }")
    local file = pipeline(("dbobs.targets { directory = %q, every = '1h', defaults = %s }"):format(dir,
      source_of(pg:target())), "100ms")
    local one = process.start { "run", "--to", "stdout", file }
    process.until_true(function() return records_of(one).a end, "a")
    put(dir .. "/a.lua", "return { name = 'a', nothing = 1 }")
    one:signal "HUP"
    one:says "unknown option 'nothing'"
    one:says "the reload failed; the pipeline from before goes on"
    local before = records_of(one).a
    process.until_true(function() return records_of(one).a > before + 2 end, "a to go on")
    put(dir .. "/a.lua", "return { name = 'b' }")
    one:signal "HUP"
    process.until_true(function() return records_of(one).b end, "b")
    one:signal "TERM"
    assert.equal(0, one:wait())
  end)

  it("keep their position in a log when they are dropped and come back", function()
    local dir = servers.directory()
    local log = process.write(dir .. "/server.json", "")
    lfs.mkdir(dir .. "/targets")
    local function append(text)
      local file = assert(io.open(log, "ab"))
      file:write(cjson.encode { timestamp = "2026-01-01 00:00:00.000 UTC", message = text }, "\n")
      file:close()
    end
    local function come()
      put(dir .. "/targets/l.lua", "return " .. source_of(pg:target { name = "l", log_file = log,
        log_timezone = "UTC" }))
    end
    local one = process.start { "run", "--to", "stdout", process.write(dir .. "/p.lua", ([[
      local dbobs = require "dbobs"
      local out = dbobs.kafka {}
      local logs = require "collectors.logs"
      dbobs.each(dbobs.targets { directory = %q, every = "50ms" }, function(target)
        dbobs.collect({ name = "logs", follow = logs.follow, options = logs.options, kinds = logs.kinds }, target,
          { to = out:topic "logs" })
      end)]]):format(dir .. "/targets")) }
    append "before"
    come()
    one:says("before", "out")
    os.remove(dir .. "/targets/l.lua")
    one:says "target dropped  target=l"
    append "meanwhile"
    come()
    one:says("meanwhile", "out")
    append "afterwards"
    one:says("afterwards", "out")
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
    assert.equal(3, #json_lines(one:stdout()))
  end)
end)

describe("two hundred targets of which fifty hang", function()
  local pg = servers.postgres { name = "crowd" }
  local HEALTHY = 150

  -- A server that accepts and never answers, an address that never accepts, and a password command that never ends.
  local function list(hanging, connect_timeout)
    local targets = {}
    for i = 1, HEALTHY do targets[i] = source_of(pg:target { name = "well" .. i }) end
    for i = 1, 50 do
      local more = { name = "hangs" .. i, connect_timeout = connect_timeout }
      local target = hanging:target(more)
      if i % 5 == 0 then target.host = "192.0.2.1" end
      if i % 5 == 1 then target.password, target.password_command = nil, "sleep 3600" end
      table.insert(targets, i * 4, source_of(target))
    end
    return "{ " .. table.concat(targets, ",\n") .. " }"
  end

  local function slowest_and_fastest(counts, before)
    local slowest, fastest = math.huge, 0
    for i = 1, HEALTHY do
      local more = (counts["well" .. i] or 0) - (before and before["well" .. i] or 0)
      slowest, fastest = math.min(slowest, more), math.max(fastest, more)
    end
    return slowest, fastest
  end

  local function wait_for_all(one, more, before)
    local fastest
    process.until_true(function()
      local slowest
      slowest, fastest = slowest_and_fastest(records_of(one), before)
      return slowest >= more
    end, "each of the others to be collected; it said " .. one:stderr():sub(1, 2000))
    return fastest
  end

  local hanging = servers.postgres { name = "hangs" }

  it("collects the others at each tick, and ends at once when it is told to", function()
    hanging:pause()
    finally(function() hanging:resume() end)
    local one = process.start { "run", "--to", "stdout", pipeline(list(hanging, "1h"), "2s") }
    wait_for_all(one, 1)
    local before = records_of(one)
    local fastest = wait_for_all(one, 4, before)
    assert.is_true(fastest <= 8, "the fastest was collected " .. fastest .. " times")
    -- Of those that hang none has come to an end, unless this machine has no way to the address that never accepts.
    for target, why in one:stderr():gmatch "collector failed  target=(%S+)[^\n]*error=([^\n]*)" do
      assert.matches("^hangs%d*[05]$", target)
      assert.matches("192.0.2.1", why)
    end
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
  end)

  it("tells of each that hangs, as a lasting condition", function()
    hanging:pause()
    finally(function() hanging:resume() end)
    local one = process.start { "run", "--to", "stdout", pipeline(list(hanging, "1s"), "2s") }
    local told
    process.until_true(function()
      told = {}
      for target in one:stderr():gmatch "collector failed  target=(%S+)" do
        told[#told + 1], told[target] = target, (told[target] or 0) + 1
      end
      return #told >= 50
    end, "all that hang to be told")
    local before = records_of(one)
    wait_for_all(one, 3, before)
    for i = 1, 50 do assert.equal(1, told["hangs" .. i], "hangs" .. i) end
    assert.equal(50, #told)
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
  end)
end)
