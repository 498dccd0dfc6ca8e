-- lua/dbobs/log_position.lua: how far behind a log is, told while somebody else follows it; and what is at risk of it.
local log_position = require "dbobs.log_position"
local memory = require "dbobs.core.memory"
local process = require "support.process"
local servers = require "support.servers"
local sys = require "dbobs.core.sys"
local tail = require "dbobs.tail"
local timer = require "dbobs.timer"

local directory, path, checkpoint, open

local function write(name, text)
  local file = assert(io.open(name, "ab"))
  file:write(text)
  file:close()
end

local function line(seconds_ago, number)
  return ('{"timestamp":"%s","pid":1,"session_id":"a.1","line_num":%d,"error_severity":"LOG","message":"m"}\n'):format(
    timer.iso8601(sys.wall() - seconds_ago * 1e6):sub(1, 23):gsub("T", " ") .. " UTC", number)
end

local function describe_log(given)
  local all = { path = path, positions = log_position.of_checkpoint(checkpoint), format = "jsonlog",
    log_timezone = "UTC" }
  for name, value in pairs(given or {}) do all[name] = value end
  return log_position.describe(all)
end

local function follow(out)
  local object = assert(tail.server_log {
    path = path, checkpoint = checkpoint, timezone = "UTC", poll = "20ms", grace = "50ms", to = out,
    envelope = { host = "h", port = 1, database = "d", environment = "e", tags = {} },
  })
  open[#open + 1] = object
  return object
end

-- Sends all there is, and has it acknowledged and kept.
local function send(object, out)
  process.until_true(function()
    out:take()
    return assert(object:turn()) == "wait" and object.follower:progress().acknowledged > 0
      and object.follower:progress().saved
  end, "the lines to be sent")
end

before_each(function()
  directory = servers.directory()
  path, checkpoint, open = directory .. "/a.json", directory .. "/state/a.json", {}
end)

after_each(function()
  for _, object in ipairs(open) do object:close() end
end)

describe("how far behind a log is", function()
  it("is told before the first start", function()
    write(path, line(200.2, 1) .. line(10, 2))
    assert.matches("a%.json: %d+ B behind %(3 min 2%d s%), 1 file, read from the beginning at the first start$",
      describe_log())
  end)

  it("is told while another follows it, in bytes and by the oldest record's time", function()
    write(path, line(500, 1))
    local out = memory()
    send(follow(out), out)
    assert.matches("a%.json: nothing behind, 1 file$", describe_log())
    local kept = log_position.of_checkpoint(checkpoint)
    write(path, line(120.2, 2) .. line(5, 3))
    assert.matches(("a%%.json: %d B behind %%(2 min %%d+ s%%), 1 file$"):format(#line(0, 2) + #line(0, 3)),
      describe_log { positions = kept })
    os.rename(path, path .. ".1")
    write(path, line(1, 4))
    assert.matches(("behind %%(2 min %%d+ s%%), 2 files, %d B of it in rotated files"):format(#line(0, 2) * 2),
      describe_log { positions = kept })
    assert.equal(kept, log_position.of_checkpoint(checkpoint))
  end)

  it("goes by the file's time where a record has none", function()
    write(path, "no record\n")
    assert.matches("10 B behind %(%d+ s%), 1 file", describe_log())
  end)

  it("says what is wrong", function()
    local text, problem = describe_log()
    assert.is_nil(text)
    assert.matches("there is no file", problem)
    write(path, line(1, 1))
    text, problem = describe_log { positions = "{damaged" }
    assert.is_nil(text)
    assert.matches("it is damaged", problem)
  end)
end)

describe("bytes at risk", function()
  it("are those of files that are not the newest and not acknowledged", function()
    local out = memory()
    write(path, line(3, 1))
    local object = follow(out)
    local is_taking = false
    local function at_risk(bytes)
      process.until_true(function()
        assert(object:turn())
        if is_taking then out:take() end
        return object.follower:progress().at_risk == bytes
      end, bytes .. " bytes to be at risk")
    end
    at_risk(0)
    os.rename(path, path .. ".1")
    write(path, line(2, 2))
    at_risk(#line(3, 1))
    os.remove(path .. ".1")
    at_risk(#line(3, 1))
    is_taking = true
    at_risk(0)
    assert.is_true(object.follower:progress().delivered >= #line(3, 1))
  end)
end)
