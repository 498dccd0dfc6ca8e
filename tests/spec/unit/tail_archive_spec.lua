-- src/tail_archive.c, src/tail_restore.c: logs that were rotated and compressed while nobody read them.
local log = require "dbobs.log"
local process = require "support.process"
local servers = require "support.servers"
local tail = require "dbobs.tail"
local task = require "dbobs.task"

describe("a log that was compressed while nobody read it", function()
  local directory, path, checkpoint, told, event

  before_each(function()
    directory = servers.directory()
    path, checkpoint = directory .. "/a.log", directory .. "/state/a.position"
    told, event = {}, log.event
    log.event = function(_, message) told[#told + 1] = message end
  end)

  after_each(function() log.event = event end)

  local function write(name, text, mode)
    local file = assert(io.open(name, mode or "ab"))
    file:write(text)
    file:close()
  end

  local function shell(command, ...)
    return servers.shell(("cd %s && "):format(directory) .. command:format(...))
  end

  local function follow(given)
    local options = { path = path, checkpoint = checkpoint, poll = "20ms", grace = "100ms" }
    for name, value in pairs(given or {}) do options[name] = value end
    local follower
    process.until_true(function() follower = tail(options) return follower end, "the checkpoint to be free")
    finally(function() follower:close() end)
    return follower
  end

  -- n lines, or what comes within some looks at the files, joined.
  local function lines_of(follower, n)
    local lines = {}
    task.deadline(n and "60s" or "300ms", function()
      while not n or #lines < n do lines[#lines + 1] = follower:next() end
      return true
    end)
    return table.concat(lines, "|")
  end

  local function read_and_stop(n, given)
    local follower = follow(given)
    local lines = lines_of(follower, n)
    follower:flush()
    follower:close()
    return lines
  end

  local function numbered(from, to)
    local lines = {}
    for i = from, to do lines[#lines + 1] = ("line %d of a log that is worth being compressed"):format(i) end
    return table.concat(lines, "\n") .. "\n"
  end

  for _, tool in ipairs { { "gzip -q", ".gz" }, { "zstd -q --rm", ".zst" } } do
    it("is read on behind its position, whatever its name is then: " .. tool[1], function()
      write(path, "one\ntwo\n")
      read_and_stop(1)
      write(path, "three\n")
      shell("mv a.log a.log.1 && %s a.log.1 && mv a.log.1%s a.log.2%s", tool[1], tool[2], tool[2])
      write(path, "four\n")
      local follower = follow()
      assert.equal("two|three|four", lines_of(follower, 3))
      follower:flush()
      -- It is let go like any other.
      process.until_true(function() follower:attend() return follower:progress().files == 1 end, "the archive to go")
      follower:close()
      assert.equal("", lines_of(follow()))
      assert.same({}, told)
    end)
  end

  it("has a position that holds over restarts, while it is compressed and behind", function()
    write(path, numbered(1, 5000))
    read_and_stop(10)
    shell "mv a.log a.log.1 && gzip a.log.1"
    assert.equal((numbered(11, 3000):gsub("\n", "|"):sub(1, -2)), read_and_stop(2990))
    shell "mv a.log.1.gz a.log.2.gz"
    write(path, "new\n")
    assert.equal((numbered(3001, 5000):gsub("\n", "|") .. "new"), lines_of(follow(), 2001))
    assert.equal(1, #told)
    assert.matches("there is no file", told[1])
  end)

  it("is followed by those that came and were compressed since, in their order", function()
    write(path, "1\n")
    read_and_stop(1)
    write(path, "2\n")
    shell "mv a.log a.log.3 && touch -d '10 seconds' a.log.3 && gzip a.log.3"
    shell "echo 3 >a.log.2 && touch -d '20 seconds' a.log.2 && gzip a.log.2"
    shell "echo 4 >a.log.1 && touch -d '30 seconds' a.log.1"
    shell "echo 5 >a.log && touch -d '40 seconds' a.log"
    -- What was there before is read no more.
    shell "echo 0 >a.log.4 && touch -d '1 hour ago' a.log.4 && gzip a.log.4"
    local follower = follow()
    assert.equal("2|3|4|5", lines_of(follower, 4))
    follower:flush()
    follower:close()
    assert.equal("", lines_of(follow()))
    assert.same({}, told)
  end)

  it("is found by its number when the clock was set back", function()
    write(path, "1\n")
    read_and_stop(1)
    shell "mv a.log a.log.2 && gzip a.log.2"
    shell "echo 2 >a.log.1 && touch -d '1 hour ago' a.log.1 && gzip a.log.1"
    write(path, "3\n")
    assert.equal("2|3", lines_of(follow(), 2))
  end)

  it("is found with a pattern of time-named files, also one that nobody saw", function()
    local pattern = { path = directory .. "/pg-*.json" }
    write(directory .. "/pg-01.json", "1\n")
    write(directory .. "/pg-00.json", "0\n")
    shell "touch -d '1 hour ago' pg-00.json && gzip pg-00.json"
    assert.equal("1", read_and_stop(1, pattern))
    write(directory .. "/pg-01.json", "2\n")
    shell "gzip pg-01.json && touch -d '10 seconds' pg-01.json.gz"
    shell "echo 3 >pg-02.json && touch -d '20 seconds' pg-02.json && gzip pg-02.json"
    shell "echo 4 >pg-03.json && touch -d '30 seconds' pg-03.json"
    local follower = follow(pattern)
    assert.equal("2|3|4", lines_of(follower, 3))
    -- Meanwhile another is compressed, which is known.
    shell "gzip -k pg-03.json"
    assert.equal("", lines_of(follower))
    follower:flush()
    follower:close()
    assert.equal("", lines_of(follow(pattern)))
    assert.same({}, told)
  end)

  it("is no log for a pattern that matches it", function()
    write(directory .. "/a.json", "1\n")
    write(directory .. "/b.json", "2\n")
    shell "gzip b.json"
    assert.equal("1", lines_of(follow { path = directory .. "/*" }))
  end)

  it("reads an archive as one after a follower that had only found it", function()
    write(path, numbered(1, 3))
    read_and_stop(3)
    shell "mv a.log a.log.2"
    write(path, numbered(4, 6))
    shell "mv a.log a.log.1 && gzip a.log.1 a.log.2"
    write(path, numbered(7, 9))
    follow():close()
    assert.equal((numbered(4, 9):gsub("\n$", ""):gsub("\n", "|")), read_and_stop(6))
  end)

  it("takes the rest from an archive of a copy, when it was truncated", function()
    write(path, "1\n")
    read_and_stop(1)
    write(path, "2\n")
    shell "cp a.log a.log.1 && gzip a.log.1"
    write(path, "3\n", "wb")
    assert.equal("2|3", lines_of(follow(), 2))
    assert.same({}, told)
  end)

  it("that ends too early is read as far as it goes, and told; then what follows is read", function()
    write(path, numbered(1, 2000))
    read_and_stop(1)
    shell "mv a.log a.log.1 && gzip a.log.1 && truncate -s -2000 a.log.1.gz"
    write(path, "new\n")
    local follower, lines = follow(), {}
    task.deadline("60s", function()
      repeat lines[#lines + 1] = follower:next() until lines[#lines] == "new"
      return true
    end)
    assert.is_true(#lines > 1 and #lines < 2000)
    for i = 1, #lines - 1 do assert.equal(numbered(i + 1, i + 1), lines[i] .. "\n") end
    process.until_true(function()
      lines_of(follower)
      return table.concat(told, "\n"):find "a.log.1.gz is damaged or ends too early: what the log held behind byte"
    end, "the loss to be told")
  end)

  it("that is still being written is waited for", function()
    write(path, numbered(1, 2000))
    read_and_stop(1)
    shell "gzip <a.log >../whole && head -c 3000 ../whole >a.log.1.gz && rm a.log"
    local follower = follow { grace = "60s" }
    local line
    repeat line = task.deadline("300ms", follower.next, follower) until not line
    shell "tail -c +3001 ../whole >>a.log.1.gz"
    assert.is_true(task.deadline("60s", function()
      repeat line = follower:next() until line:find "^line 2000 "
      return true
    end))
  end)

  it("is told when it cannot be read here", function()
    write(path, "one\n")
    read_and_stop(1)
    write(path, "two\n")
    shell "mv a.log a.log.1 && xz a.log.1"
    write(path, "three\n")
    assert.equal("three", lines_of(follow(), 1))
    assert.matches("what it held behind byte 4, if anything, is lost unless it is in .*a.log.1.xz, which cannot be",
      told[1])
  end)

  it("tells how much is lost when it is gone", function()
    write(path, numbered(1, 100))
    local follower = follow()
    lines_of(follower, 1)
    follower:flush()
    follower:close()
    os.remove(path)
    write(path, "new\n")
    assert.equal("new", lines_of(follow(), 1))
    assert.matches("under no name, while nobody read it: %d+ bytes, or more, that it held behind byte %d+ are lost",
      told[1])
  end)
end)
