-- src/tail*.c, src/checkpoint.c, lua/dbobs/tail.lua: files of every kind, and what befalls them.
local cjson = require "cjson"
local core = require "dbobs.core.tail"
local lfs = require "lfs"
local log = require "dbobs.log"
local log_position = require "dbobs.log_position"
local memory = require "dbobs.core.memory"
local servers = require "support.servers"
local tail = require "dbobs.tail"
local task = require "dbobs.task"

local directory, path, checkpoint
local open = {}

local function write(name, text, mode)
  local file = assert(io.open(name, mode or "ab"))
  file:write(text)
  file:close()
end

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function follow(given)
  local options = { path = path, checkpoint = checkpoint, poll = "20ms", grace = "100ms" }
  for name, value in pairs(given or {}) do options[name] = value end
  local follower, cause
  repeat
    -- A write on the worker holds a checkpoint a little longer than the follower that was closed.
    if cause then task.wait(nil, 0.01) end
    follower, cause = tail(options)
  until follower or not cause:find("in use", 1, true)
  open[#open + 1] = assert(follower, cause)
  return follower
end

-- The next n lines, joined; fails when they do not come.
local function next_lines(follower, n)
  local seen = {}
  local _, late = task.deadline("10s", function()
    for i = 1, n do seen[i] = follower:next() end
    return true
  end)
  assert(not late, "only these lines came: " .. table.concat(seen, "|"))
  return table.concat(seen, "|")
end

-- Nothing comes within some looks at the file.
local function nothing(follower)
  local line = task.deadline("200ms", follower.next, follower)
  assert.is_nil(line)
end

-- Runs fn while the events of the log are kept; returns their messages.
local function told(fn)
  local event, messages = log.event, {}
  log.event = function(_, message) messages[#messages + 1] = message end
  local ok, cause = pcall(fn)
  log.event = event
  if not ok then error(cause, 0) end
  return table.concat(messages, "\n")
end

before_each(function()
  directory = servers.directory()
  path, checkpoint = directory .. "/a.log", directory .. "/state/a.json"
end)

after_each(function()
  for _, follower in ipairs(open) do follower:close() end
  open = {}
end)

describe("following a file", function()
  it("hands out lines with their places", function()
    write(path, "one\n\nthr\0ee\r\n")
    local seen = {}
    for line, at in follow() do
      seen[#seen + 1] = { line, at.path, at.offset, (at.uid:match "^%x+%.0:(%d+)$") }
      if #seen == 3 then break end
    end
    assert.same({ { "one", path, 0, "0" }, { "", path, 4, "4" }, { "thr\0ee", path, 5, "5" } }, seen)
  end)

  it("waits for the file and for the rest of half a line", function()
    local follower = follow()
    nothing(follower)
    write(path, "ha")
    nothing(follower)
    write(path, "lf\nan")
    assert.equal("half", next_lines(follower, 1))
    nothing(follower)
    write(path, "other\n")
    assert.equal("another", next_lines(follower, 1))
  end)

  it("goes on where it was", function()
    write(path, "one\ntwo\n")
    local first = follow()
    next_lines(first, 2)
    first:flush()
    first:close()
    write(path, "three\n")
    assert.equal("three", next_lines(follow(), 1))
  end)

  it("repeats the line that was not handled", function()
    write(path, "one\ntwo\nthree\n")
    local first = follow()
    next_lines(first, 2)
    first:close()
    assert.equal("two|three", next_lines(follow(), 2))
  end)

  it("begins at the end when asked, and at the beginning of files that come later", function()
    write(path, "old\nold\n")
    local follower = follow { from = "end" }
    nothing(follower)
    write(path, "new\n")
    assert.equal("new", next_lines(follower, 1))
    os.rename(path, path .. ".1")
    write(path, "later\n")
    assert.equal("later", next_lines(follower, 1))
  end)

  it("takes lines of a megabyte", function()
    local long = ("x"):rep(2 ^ 20 + 7)
    write(path, "a\n" .. long .. "\nb\n")
    local follower = follow()
    assert.equal("a|" .. long .. "|b", next_lines(follower, 3))
  end)

  it("leaves out the rest of a line above 6 MiB and says how much", function()
    local part = ("y"):rep(2 ^ 20)
    local file = io.open(path, "wb")
    for _ = 1, 20 do file:write(part) end
    file:write "\nnext\n"
    file:close()
    local follower = follow()
    local line, at = follower:next()
    assert.equal(20 * 2 ^ 20, #line + at.dropped)
    assert.is_true(#line >= 6 * 2 ^ 20)
    assert.equal("next", next_lines(follower, 1))
  end)
end)

describe("rotation", function()
  it("by rename is read to the last byte, also what is written late", function()
    write(path, "one\n")
    local follower = follow()
    next_lines(follower, 1)
    os.rename(path, path .. ".1")
    write(path .. ".1", "two\n")
    write(path, "three\n")
    assert.equal("two|three", next_lines(follower, 2))
    write(path .. ".1", "late\nlast without newline")
    assert.equal("late|last without newline", next_lines(follower, 2))
    write(path, "four\n")
    assert.equal("four", next_lines(follower, 1))
  end)

  it("by copytruncate loses nothing", function()
    write(path, "one\n")
    local follower = follow()
    next_lines(follower, 1)
    write(path, "two\nthree\n")
    write(path .. ".1", read_file(path))
    write(path, "", "wb")
    write(path, "four\n")
    assert.equal("two|three|four", next_lines(follower, 3))
    write(path, "five\n")
    assert.equal("five", next_lines(follower, 1))
    nothing(follower)
  end)

  it("by truncation counts in the lines' identity", function()
    write(path, "one\n")
    local follower = follow()
    local _, at = follower:next()
    local seen = told(function()
      write(path, "a longer line than before\n", "wb")
      assert.equal("a longer line than before", next_lines(follower, 1))
      nothing(follower)
    end)
    assert.matches("was truncated and begun anew when 4 bytes of it were read", seen, 1, true)
    assert.matches("^%x+%.0:0$", at.uid)
    write(path, "x\n", "wb")
    _, at = follower:next()
    assert.matches("^%x+%.2:0$", at.uid)
  end)

  it("goes on after deletion", function()
    write(path, "one\n")
    local follower = follow()
    next_lines(follower, 1)
    os.remove(path)
    nothing(follower)
    write(path, "two\n")
    assert.equal("two", next_lines(follower, 1))
  end)

  it("is understood when it happened while nobody read", function()
    write(path, "one\n")
    local first = follow()
    next_lines(first, 1)
    first:flush()
    first:close()
    write(path, "two\n")
    os.rename(path, path .. ".1")
    write(path, "three\n")
    assert.is_true(lfs.touch(path .. ".1", os.time() + 10, os.time() + 10))
    assert.is_true(lfs.touch(path, os.time() + 20, os.time() + 20))
    os.rename(path, path .. ".2")
    write(path, "four\n")
    assert.is_true(lfs.touch(path, os.time() + 30, os.time() + 30))
    local second = follow()
    assert.equal("two|three|four", next_lines(second, 3))
    second:flush()
    second:close()
    write(path, "five\n")
    write(path .. ".3", read_file(path))
    write(path, "six\n", "wb")
    assert.equal("five|six", next_lines(follow(), 2))
  end)

  it("tells what cannot be found any more", function()
    write(path, "one\n")
    local first = follow()
    next_lines(first, 1)
    first:flush()
    first:close()
    os.remove(path)
    local seen = told(function() nothing(follow()) end)
    assert.matches("is not there any more, under no name, while nobody read it: what it held behind byte 4, "
      .. "if anything, is lost", seen, 1, true)
  end)
end)

describe("a directory", function()
  local function logs(names)
    for _, name in ipairs(names) do write(("%s/%s"):format(path, name), name .. "\n") end
  end

  local function sorted(follower, n)
    local seen = {}
    for one in next_lines(follower, n):gmatch "[^|]+" do seen[#seen + 1] = one end
    table.sort(seen)
    return table.concat(seen, " ")
  end

  it("is followed like a pattern of all its files, also when it comes later", function()
    local seen = told(function()
      local follower = follow()
      nothing(follower)
      lfs.mkdir(path)
      logs { "a.json", "b.log", "c", ".hidden", "d.log.gz" }
      lfs.mkdir(path .. "/e")
      assert.equal("a.json b.log c", sorted(follower, 3))
      logs { "f", "a.json" }
      assert.equal("a.json f", sorted(follower, 2))
      nothing(follower)
    end)
    assert.equal(("there is no file %s yet: waiting for it\nover: there is no file %s yet: waiting for it"):format(
      path, path), seen)
  end)

  it("has logs of several formats, of which those of one are read", function()
    lfs.mkdir(path)
    for format, names in pairs { jsonlog = "a.json b.json", csvlog = "a.csv", stderr = "a.log a.log.1" } do
      logs { "a.json", "b.json", "a.csv", "a.log", "a.log.1" }
      local out = memory()
      local object = assert(tail.server_log { path = path .. "/", format = format, log_line_prefix = "%m ", to = out,
        envelope = { host = "h", port = 5432, database = "d", environment = "e", tags = {} }, poll = "20ms" })
      local seen = {}
      task.deadline("500ms", function() object:run() end)
      for _, one in ipairs(out:take()) do seen[cjson.decode(one.value).payload.text] = true end
      local read = {}
      for name in pairs(seen) do read[#read + 1] = name end
      table.sort(read)
      assert.equal(names, table.concat(read, " "))
      for _, name in ipairs { "a.json", "b.json", "a.csv", "a.log", "a.log.1" } do os.remove(path .. "/" .. name) end
    end
  end)

  it("without a log of the format says so", function()
    lfs.mkdir(path)
    logs { "a.log" }
    local function of(format)
      return log_position.describe { path = path, suffix = tail.suffix(format), positions = "", format = format,
        log_timezone = "UTC", log_line_prefix = "%m " }
    end
    local _, cause = of "jsonlog"
    assert.equal(("no log is in %s yet: waiting for one"):format(path), cause)
    assert.matches(" B behind %(.*%), 1 file,", (of "stderr"))
  end)

  it("can hold the checkpoint, which is no log", function()
    lfs.mkdir(path)
    checkpoint = path .. "/state"
    logs { "a" }
    local follower = follow()
    assert.equal("a", next_lines(follower, 1))
    follower:flush()
    nothing(follower)
  end)
end)

describe("a pattern", function()
  local pattern
  before_each(function() pattern = directory .. "/*.json" end)

  it("follows all files that match and those that come, each once", function()
    write(directory .. "/b.json", "b1\n")
    write(directory .. "/c.json", "c1\n")
    lfs.touch(directory .. "/b.json", os.time() - 50, os.time() - 50)
    local follower = follow { path = pattern }
    assert.equal("b1|c1", next_lines(follower, 2))
    write(directory .. "/a.json", "a1\n")
    assert.equal("a1", next_lines(follower, 1))
    write(directory .. "/b.json", "b2\n")
    assert.equal("b2", next_lines(follower, 1))
    os.rename(directory .. "/b.json", directory .. "/d.json")
    write(directory .. "/d.json", "b3\n")
    assert.equal("b3", next_lines(follower, 1))
    nothing(follower)
  end)

  it("does not read the copy that copytruncate makes, and reads a file that only begins like another", function()
    write(directory .. "/a.json", "head\na1\n")
    local follower = follow { path = pattern }
    next_lines(follower, 2)
    write(directory .. "/a-1.json", read_file(directory .. "/a.json"))
    nothing(follower)
    write(directory .. "/a.json", "head 2\n", "wb")
    assert.equal("head 2", next_lines(follower, 1))
    write(directory .. "/b.json", "head\nb1\n")
    assert.equal("head|b1", next_lines(follower, 2))
    nothing(follower)
  end)

  it("says when nothing matches", function()
    local seen = told(function() nothing(follow { path = pattern }) end)
    assert.matches("no file matches " .. pattern .. " yet", seen, 1, true)
  end)
end)

describe("a path that cannot be followed", function()
  it("is told once, and when it is over", function()
    local seen = told(function()
      local follower = follow()
      nothing(follower)
      nothing(follower)
      write(path, "one\n")
      next_lines(follower, 1)
      nothing(follower)
    end)
    assert.equal(("there is no file %s yet: waiting for it\nover: there is no file %s yet: waiting for it"):format(
      path, path), seen)
  end)

  it("can be a named pipe, whose writer is left waiting", function()
    servers.shell("mkfifo " .. path)
    servers.shell(("(echo >%s; echo written >%s.out) >/dev/null 2>&1 &"):format(path, path))
    assert.matches("it is no regular file", told(function() nothing(follow()) end), 1, true)
    assert.is_nil(lfs.attributes(path .. ".out"))
    servers.shell(("cat %s"):format(path))
  end)

  it("is misuse without a path or with a misspelt option", function()
    local function cause(given)
      local ok, text = pcall(function()
        local follower = tail(given)
        return follower
      end)
      assert.is_false(ok)
      return text
    end
    assert.matches("tail_spec.lua:%d+: dbobs.tail: option 'path' is missing", cause {})
    assert.matches("tail_spec.lua:%d+: .*did you mean 'checkpoint'", cause { path = path, checkpont = "x" })
    assert.matches("tail_spec.lua:%d+: .*option 'checkpoint' is empty", cause { path = path, checkpoint = "" })
    assert.matches("tail_spec.lua:%d+: .*'from'", cause { path = path, from = "middle" })
  end)
end)

describe("a checkpoint", function()
  it("has the position, and one that another reader wrote stays", function()
    write(path, "one\ntwo\n")
    lfs.mkdir(directory .. "/state")
    write(checkpoint, cjson.encode { version = 1, positions = { { source = "sql", path = "log/pg.json", device = 0,
      inode = 0,
      first_line = "00ff00ff00ff00ff", truncations = 1, offset = 9007199254740991 } } })
    local follower = follow()
    next_lines(follower, 2)
    follower:flush()
    local positions = cjson.decode(read_file(checkpoint)).positions
    assert.same({ "sql", 9007199254740991, 1 }, { positions[1].source, positions[1].offset, positions[1].truncations })
    assert.same({ "file", path, 8, 0, lfs.attributes(path, "ino") },
      { positions[2].source, positions[2].path, positions[2].offset, positions[2].truncations, positions[2].inode })
  end)

  it("that is damaged is kept aside and told", function()
    write(path, "one\n")
    lfs.mkdir(directory .. "/state")
    for i, text in ipairs { "no json", "{}", '{"version":1}', '{"version":1,"positions":[{"path":1}]}',
      '{"version":"1","positions":[]}' } do
      checkpoint = ("%s/state/%d.json"):format(directory, i)
      write(checkpoint, text)
      local seen = told(function()
        local follower = follow()
        assert.equal("one", next_lines(follower, 1))
        follower:close()
      end)
      assert.matches("is damaged: it is kept as " .. checkpoint .. ".damaged", seen, 1, true)
      assert.equal(text, read_file(checkpoint .. ".damaged"))
    end
  end)

  it("of a newer version is left alone", function()
    lfs.mkdir(directory .. "/state")
    write(checkpoint, '{"version":2,"positions":[]}')
    local follower, cause = tail { path = path, checkpoint = checkpoint }
    assert.is_nil(follower)
    assert.matches("it has version 2, this dbobs knows 1", cause, 1, true)
    assert.equal('{"version":2,"positions":[]}', read_file(checkpoint))
  end)

  it("serves one follower at a time", function()
    local first = follow()
    local second, cause = tail { path = path, checkpoint = checkpoint }
    assert.is_nil(second)
    assert.matches("is in use by another dbobs %(process %d+%): one of the two must stop", cause)
    -- A server's log waits for one that is ending, and is not begun again when it does not end.
    local handover = tail.HANDOVER
    finally(function() tail.HANDOVER = handover end)
    tail.HANDOVER = 0.1
    local log_of = { path = path, checkpoint = checkpoint, to = memory(),
      envelope = { host = "h", port = 5432, database = "d", environment = "e", tags = {} } }
    local final
    second, cause, final = tail.server_log(log_of)
    assert.is_nil(second)
    assert.matches("is in use by another dbobs", cause)
    assert.is_true(final)
    tail.HANDOVER = 60
    task.spawn(function()
      task.wait(nil, 0.1)
      first:close()
    end)
    tail.server_log(log_of):close()
    follow()
  end)

  it("that cannot be written is told, and written when that is over", function()
    write(path, "one\n")
    local follower = follow()
    next_lines(follower, 1)
    follower:flush()
    local state = directory .. "/state"
    local seen = told(function()
      servers.shell(("rm -f %s && mv %s %s.away && touch %s"):format(checkpoint, state, state, state))
      write(path, "two\nthree\n")
      next_lines(follower, 2)
      local _, late = task.deadline("10s", function()
        while not select(2, follower.core:conditions()) do task.wait(follower.core, 0.05) end
        follower:attend()
        return true
      end)
      assert.is_nil(late)
      servers.shell(("rm -f %s && mv %s.away %s"):format(state, state, state))
      follower:flush()
    end)
    assert.matches("cannot write the checkpoint " .. checkpoint .. ": Not a directory", seen, 1, true)
    assert.matches("over: cannot write the checkpoint", seen, 1, true)
    assert.equal(14, cjson.decode(read_file(checkpoint)).positions[1].offset)
  end)
end)

describe("acknowledgement", function()
  local out
  local function send(follower, n)
    for _ = 1, n do
      local line = follower:next()
      require("dbobs.sink").send(out, nil, line, follower:batch())
    end
  end

  before_each(function() out = memory() end)

  it("holds the checkpoint back until records are delivered", function()
    write(path, "one\ntwo\nthree\n")
    local follower = follow()
    send(follower, 3)
    nothing(follower)
    assert.equal(0, follower:progress().acknowledged)
    assert.equal(3, #out:take())
    follower:flush()
    assert.equal(14, follower:progress().acknowledged)
  end)

  it("moves over the contiguous prefix only", function()
    local later = memory()
    write(path, "one\ntwo\nthree\n")
    local follower = follow()
    send(follower, 2)
    follower:next()
    require("dbobs.sink").send(later, nil, "three", follower:batch())
    nothing(follower)
    later:take()
    nothing(follower)
    assert.equal(0, follower:progress().acknowledged)
    out:take()
    follower:flush()
    assert.equal(14, follower:progress().acknowledged)
  end)

  it("that fails sends the reader back to the checkpoint, and says so", function()
    write(path, "one\ntwo\nthree\n")
    local follower = follow()
    send(follower, 1)
    out:take()
    follower:flush()
    local seen = told(function()
      send(follower, 2)
      nothing(follower)
      out:take "broker said no"
      assert.equal("two|three", next_lines(follower, 2))
    end)
    assert.matches("lines were not delivered: reading goes back to the checkpoint and sends them again", seen, 1, true)
  end)
end)

describe("a server log", function()
  local out
  local envelope = { host = "h", port = 5432, database = "postgres", environment = "test", tags = {} }

  local function server_log(given)
    local options = { path = path, checkpoint = checkpoint, poll = "20ms", grace = "100ms", envelope = envelope,
      to = out }
    for name, value in pairs(given or {}) do options[name] = value end
    local object = assert(tail.server_log(options))
    open[#open + 1] = object
    return object
  end

  -- Turns until n records are there.
  local function records(object, n)
    local seen = {}
    local _, late = task.deadline("10s", function()
      while #seen < n do
        local outcome, cause = object:turn()
        assert(outcome, cause)
        for _, one in ipairs(out:take()) do seen[#seen + 1] = cjson.decode(one.value) end
        if #seen < n and outcome == "wait" then task.wait(object.follower.core) end
      end
      return true
    end)
    assert(not late, ("only %d records came"):format(#seen))
    return seen
  end

  -- The first turn that sends something.
  local function turn(object)
    while true do
      local outcome, lines = object:turn()
      if outcome ~= "wait" or lines > 0 then return outcome end
      task.wait(object.follower.core, 10)
    end
  end

  before_each(function() out = memory() end)

  it("goes line by line to the topic, in order, once", function()
    local text = {}
    for i = 1, 20000 do text[i] = ('{"session_id":"s","line_num":%d,"message":"m%d"}\n'):format(i, i) end
    write(path, table.concat(text))
    local counted = 0
    local object = server_log { count = function(n) counted = counted + n end }
    local seen = records(object, 20000)
    for i, one in ipairs(seen) do
      if one.payload.uid ~= "s/" .. i then error(("record %d is %s"):format(i, one.payload.uid)) end
    end
    assert.equal(20000, #seen)
    assert.equal(20000, counted)
    object:flush()
    assert.equal(lfs.attributes(path, "size"), object.follower:progress().acknowledged)
    assert.equal("wait", (object:turn()))
  end)

  it("waits while the topic is full, and loses nothing", function()
    out = memory(0, 3)
    write(path, "1\n2\n3\n4\n5\n6\n7\n")
    local object = server_log()
    assert.equal("full", turn(object))
    assert.equal("full", (object:turn()))
    local texts = {}
    for _, one in ipairs(records(object, 7)) do texts[#texts + 1] = one.payload.text end
    assert.equal("1 2 3 4 5 6 7", table.concat(texts, " "))
  end)

  it("sends half a line that nobody completes once, and the whole when it is completed", function()
    write(path, '{"message":"one"}\n{"mess')
    local object = server_log()
    assert.equal("one", records(object, 1)[1].payload.record.message)
    local half = records(object, 1)[1].payload
    assert.same({ true, '{"mess' }, { half.unparsed, half.text })
    for _ = 1, 10 do
      object:turn()
      task.wait(object.follower.core, 0.05)
    end
    assert.same({}, out:take())
    write(path, 'age":"two"}\n{"message":"three"}\n{')
    local rest = records(object, 3)
    assert.equal("two", rest[1].payload.record.message)
    assert.equal("three", rest[2].payload.record.message)
    assert.equal("{", rest[3].payload.text)
    assert.equal((half.uid:gsub("%d+$", 18)), rest[1].payload.uid)
    assert.equal(half.uid, rest[1].payload.uid)
    -- The position is that of the half line: the next run has it whole.
    object:flush()
    object:close()
    write(path, '"message":"four"}\n')
    assert.equal("four", records(server_log(), 1)[1].payload.record.message)
  end)

  it("is sent again from the checkpoint when records are not delivered", function()
    write(path, "1\n2\n3\n")
    local object = server_log()
    turn(object)
    out:take "no"
    local seen = told(function() assert.equal(3, #records(object, 3)) end)
    assert.matches("lines were not delivered", seen, 1, true)
    object:flush()
    assert.equal(6, object.follower:progress().acknowledged)
  end)

  it("cuts what the topic does not take and says so", function()
    out = memory(20000)
    local message = ("é\n"):rep(200000)
    write(path, cjson.encode { message = message, error_severity = "ERROR", statement = "select 1",
      state_code = "22000" } .. "\n"
      .. ("x"):rep(100000) .. "\n")
    local seen = records(server_log(), 2)
    assert.same({ ["payload.error_message"] = 600000, ["payload.record.message"] = 600000 }, seen[1].payload.truncated)
    assert.is_true(#seen[1].payload.error_message > 3000 and #seen[1].payload.error_message < 20000)
    assert.equal("select 1", seen[1].payload.query)
    assert.matches("^é\n.*….*é\n$", seen[1].payload.error_message)
    assert.same({ ["payload.text"] = 100000 }, seen[2].payload.truncated)
  end)

  it("says when the times of its lines cannot be told", function()
    write(path, '{"timestamp":"2026-03-29 12:00:00.000 CEST"}\n')
    local seen = told(function() records(server_log(), 1) end)
    assert.matches("a time like '2026-03-29 12:00:00.000 CEST'", seen, 1, true)
    assert.matches("set log_timezone of the target", seen, 1, true)
  end)

  it("says once when it is no jsonlog", function()
    write(path, "2026-03-29 12:00:00.000 UTC [1] LOG:  a line of stderr\nanother\n")
    local seen = told(function() records(server_log(), 2) end)
    local _, count = seen:gsub("is the file written with log_destination = 'jsonlog'", "")
    assert.equal(1, count)
  end)

  it("sends the last record of each file of a pattern, whatever comes in the others", function()
    for i = 1, 3 do
      write(("%s/%d.log"):format(directory, i), ("2026-03-29 12:00:00.000 UTC LOG:  first of %d\n"
        .. "2026-03-29 12:00:00.000 UTC LOG:  last of %d\n\tits second line\n"):format(i, i))
    end
    local object = server_log { path = directory .. "/*.log", format = "stderr", log_line_prefix = "%m " }
    local texts = {}
    for _, one in ipairs(records(object, 6)) do texts[#texts + 1] = one.payload.record.message end
    table.sort(texts)
    assert.same({ "first of 1", "first of 2", "first of 3", "last of 1\nits second line", "last of 2\nits second line",
      "last of 3\nits second line" }, texts)
  end)

  it("needs a zone that exists", function()
    local object, cause = tail.server_log { path = path, envelope = envelope, to = out, timezone = "Nowhere" }
    assert.is_nil(object)
    assert.matches("no time zone 'Nowhere'", cause, 1, true)
  end)
end)

describe("a closed follower", function()
  it("is said to be closed, and closing twice is fine", function()
    local follower = follow()
    follower:close()
    follower:close()
    assert.error_matches(function() follower:progress() end, "this follower is closed")
    assert.error_matches(function() core.open() end, "table expected")
  end)

  it("lets its parser go, which serves one follower at a time", function()
    local record = require "dbobs.core.record"
    local parser = core.pglog(record.writer { data_type = "log", host = "", port = 0, database = "", environment = "",
      tags = {} })
    local first, second = follow(), follow { checkpoint = checkpoint .. "2" }
    pcall(first.core.pump, first.core, parser, nil)
    assert.error_matches(function() second.core:pump(parser, nil) end, "this parser belongs to another follower")
    first:close()
    assert.error_matches(function() second.core:pump(parser, nil) end, "a topic %(and not closed%)")
  end)

  it("is told to the task that waits for it", function()
    write(path, "one\n")
    local follower = follow { poll = "1h" }
    next_lines(follower, 1)
    local cause
    task.spawn(function() cause = select(2, pcall(follower.next, follower)) end)
    task.wait(nil, 0.05)
    follower:close()
    task.wait(nil, 0.05)
    assert.matches("this follower is closed", cause, 1, true)
  end)
end)
