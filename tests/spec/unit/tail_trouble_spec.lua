-- src/tail*.c: many files, files that cannot be read, files that are written faster than they are taken, checkpoints
-- that cannot be written, followers that are ended in the middle.
local cjson = require "cjson"
local log = require "dbobs.log"
local memory = require "dbobs.core.memory"
local process = require "support.process"
local servers = require "support.servers"
local tail = require "dbobs.tail"
local task = require "dbobs.task"

describe("a follower in trouble", function()
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

  local function follow(given)
    local options = { path = path, checkpoint = checkpoint, poll = "20ms", grace = "100ms" }
    for name, value in pairs(given or {}) do options[name] = value end
    local follower
    process.until_true(function() follower = tail(options) return follower end, "the checkpoint to be free")
    finally(function() follower:close() end)
    return follower
  end

  local function count_told(pattern)
    local count = 0
    for _, message in ipairs(told) do count = count + (message:find(pattern, 1, true) and 1 or 0) end
    return count
  end

  -- What comes within some looks at the files.
  local function lines_of(follower, n)
    local lines = {}
    task.deadline(n and "60s" or "300ms", function()
      while not n or #lines < n do lines[#lines + 1] = follower:next() end
      return true
    end)
    return lines
  end

  it("with hundreds of files goes on in each where it was, whatever it is called now", function()
    local pattern = directory .. "/*.json"
    local function name_of(i, suffix) return ("%s/%03d%s.json"):format(directory, i, suffix or "") end
    for i = 1, 300 do write(name_of(i), ("head %d\n"):format(i)) end
    local follower = follow { path = pattern }
    assert.equal(300, #lines_of(follower, 300))
    follower:flush()
    follower:close()
    for i = 1, 300 do
      if i % 3 == 0 then os.rename(name_of(i), name_of(i, "-moved")) end
      if i % 3 == 1 then -- copytruncate
        write(name_of(i, "-copy"), ("head %d\nlast %d\n"):format(i, i))
        write(name_of(i), ("new head %d\n"):format(i), "wb")
      end
      if i % 3 == 2 then write(name_of(i), ("more %d\n"):format(i)) end
    end
    for i = 301, 400 do write(name_of(i), ("head %d\n"):format(i)) end
    follower = follow { path = pattern }
    local seen = {}
    for _, line in ipairs(lines_of(follower, 400)) do
      assert.is_nil(seen[line], line)
      seen[line] = true
    end
    for i = 1, 300 do
      local kinds = { [0] = {}, { "last ", "new head " }, { "more " } }
      for _, kind in ipairs(kinds[i % 3]) do assert.is_true(seen[kind .. i], kind .. i) end
    end
    for i = 301, 400 do assert.is_true(seen["head " .. i]) end
    assert.same({}, lines_of(follower))
    assert.same({}, told)
  end)

  it("does not read before its checkpoint can be written, and says so", function()
    local state = directory .. "/state"
    local follower = follow()
    process.until_true(function() return follower:progress().saved end, "the first looks to be over")
    servers.shell(("mv %s %s.away && touch %s"):format(state, state, state))
    write(path, "one\n")
    assert.same({}, lines_of(follower))
    assert.same({}, lines_of(follower))
    assert.equal(1, count_told("cannot write the checkpoint " .. checkpoint .. ": Not a directory"))
    servers.shell(("rm %s && mv %s.away %s"):format(state, state, state))
    assert.same({ "one" }, lines_of(follower, 1))
    assert.equal(2, count_told "cannot write the checkpoint")
    assert.equal(1, count_told "over: cannot write the checkpoint")
  end)

  it("tells once that a file cannot be read, and takes it for no truncation", function()
    -- The status of a process that has ended: open, and every read fails.
    local pid = servers.shell("sleep 3600 >/dev/null 2>&1 & echo $!"):match "%d+"
    path = ("/proc/%s/status"):format(pid)
    local follower = follow()
    assert.same({ "Name:\tsleep" }, lines_of(follower, 1))
    servers.shell("kill -9 " .. pid)
    process.until_true(function() return not io.open(path) end, "the process to go")
    process.until_true(function()
      lines_of(follower)
      return count_told("cannot read " .. path .. ": No such process") > 0
    end, "the failure to be told")
    for _ = 1, 3 do assert.same({}, lines_of(follower)) end
    assert.equal(1, count_told("cannot read " .. path))
    local before = count_told "truncated"
    lines_of(follower)
    assert.equal(before, count_told "truncated")
  end)

  it("reads the other files of a pattern while one of them grows faster than it is read", function()
    local long = ("x"):rep(128 * 1024) .. "\n"
    write(directory .. "/a.json", long:rep(4))
    local follower = follow { path = directory .. "/*.json" }
    lines_of(follower, 1)
    write(directory .. "/b.json", "b\n")
    local others = 0
    repeat
      write(directory .. "/a.json", long:rep(2))
      task.wait(nil, 0)
      others = others + 1
    until follower:next() == "b" or others == 200
    assert.is_true(others < 200)
    -- One that only is long is read to its end first: it may be the older log.
    follower:close()
    directory = servers.directory()
    write(directory .. "/a.json", long:rep(100))
    write(directory .. "/b.json", "b\n")
    servers.shell(("touch -d '1 hour ago' %s/a.json"):format(directory))
    local lines = lines_of(follow { path = directory .. "/*.json", checkpoint = directory .. "/p" }, 101)
    assert.equal("b", lines[101])
  end)

  it("goes on when another directory comes to the place of its own", function()
    local logs = directory .. "/logs"
    servers.shell(("mkdir %s"):format(logs))
    write(logs .. "/a.json", "a\n")
    local follower = follow { path = logs }
    assert.same({ "a" }, lines_of(follower, 1))
    servers.shell(("mv %s %s.old && mkdir %s"):format(logs, logs, logs))
    write(logs .. ".old/a.json", "late\n")
    write(logs .. "/b.json", "b\n")
    local lines = lines_of(follower, 2)
    table.sort(lines)
    assert.same({ "b", "late" }, lines)
    write(logs .. "/b.json", "c\n")
    write(logs .. "/d.json", "d\n")
    lines = lines_of(follower, 2)
    table.sort(lines)
    assert.same({ "c", "d" }, lines)
  end)

  it("reads what is written under another name of a file, and behind a symbolic link", function()
    servers.shell(("mkdir %s/logs %s/elsewhere"):format(directory, directory))
    write(directory .. "/elsewhere/a", "a\n")
    write(directory .. "/elsewhere/b", "b\n")
    servers.shell(("cd %s && ln elsewhere/a logs/a.json && ln -s ../elsewhere/b logs/b.json"):format(directory))
    local follower = follow { path = directory .. "/logs" }
    assert.equal(2, #lines_of(follower, 2))
    for i = 1, 3 do
      lines_of(follower)
      write(directory .. "/elsewhere/a", ("a%d\n"):format(i))
      assert.same({ ("a%d"):format(i) }, lines_of(follower, 1))
      write(directory .. "/elsewhere/b", ("b%d\n"):format(i))
      assert.same({ ("b%d"):format(i) }, lines_of(follower, 1))
    end
  end)

  -- The link to the current file moves on; what the files before it still got is not lost.
  for _, away in ipairs { false, true } do
    it("follows a symbolic link that moves, " .. (away and "while nobody read" or "while it reads"), function()
      servers.shell(("mkdir %s/data"):format(directory))
      local function link(name)
        servers.shell(("cd %s && ln -sfn data/%s a.log.new && mv -T a.log.new a.log"):format(directory, name))
      end
      write(directory .. "/data/pg-1.log", "1\n")
      link "pg-1.log"
      local follower = follow()
      assert.same({ "1" }, lines_of(follower, 1))
      follower:flush()
      if away then follower:close() end
      write(directory .. "/data/pg-1.log", "1 late\n")
      write(directory .. "/data/pg-2.log", "2\n")
      link "pg-2.log"
      if away then follower = follow() end
      assert.same({ "1 late", "2" }, lines_of(follower, 2))
      assert.same({}, told)
    end)
  end

  it("goes on in a file whose device has another number, and in one of another inode with the same content", function()
    write(path, "one\n")
    local follower = follow()
    lines_of(follower, 1)
    follower:flush()
    follower:close()
    write(path, "two\n")
    servers.shell(("sed -i -E 's/\"device\":[0-9]+/\"device\":7/' %s"):format(checkpoint))
    follower = follow()
    assert.same({ "two" }, lines_of(follower, 1))
    follower:flush()
    follower:close()
    write(path, "three\n")
    servers.shell(("cp %s %s.restored && mv %s.restored %s"):format(path, path, path, path))
    assert.same({ "three" }, lines_of(follow(), 1))
    assert.same({}, told)
  end)

  it("tells files apart that begin with the same line", function()
    write(path, "banner\none\ntwo\n")
    local follower = follow()
    lines_of(follower, 3)
    follower:flush()
    follower:close()
    -- It was removed, and another that is longer has the same first line, also when it has the inode.
    servers.shell(("printf 'banner\nfour\nfive\nsix\n' >%s.new && mv %s.new %s"):format(path, path, path))
    follower = follow()
    assert.same({ "banner", "four", "five", "six" }, lines_of(follower, 4))
    follower:flush()
    follower:close()
    write(path, "banner\nseven\neight\nnine\nten\n", "wb")
    assert.same({ "banner", "seven", "eight", "nine", "ten" }, lines_of(follow(), 5))
  end)

  it("follows a file that loses its permission and gets it back", function()
    write(path, "one\n")
    local follower = follow()
    lines_of(follower, 1)
    servers.shell(("chmod 000 %s"):format(path))
    write(path, "two\n")
    assert.same({ "two" }, lines_of(follower, 1))
    servers.shell(("chmod 600 %s"):format(path))
    write(path, "three\n")
    assert.same({ "three" }, lines_of(follower, 1))
  end)

  it("follows a path that becomes a directory, a named pipe, and a file again", function()
    write(path, "one\n")
    local follower = follow()
    lines_of(follower, 1)
    servers.shell(("mv %s %s.1 && mkfifo %s"):format(path, path, path))
    write(path .. ".1", "two\n")
    assert.same({ "two" }, lines_of(follower, 1))
    process.until_true(function() lines_of(follower) return told[1] end, "the pipe to be told")
    assert.matches("cannot follow .*: it is no regular file", told[1])
    servers.shell(("rm %s"):format(path))
    write(path, "three\n")
    assert.same({ "three" }, lines_of(follower, 1))
  end)

  it("that is ended while its topic is full repeats no line that went out", function()
    local out = memory(1e6, 5)
    local envelope = { host = "h", port = 5432, database = "postgres", environment = "test", tags = {} }
    for i = 1, 20 do write(path, cjson.encode { message = "line " .. i, error_severity = "LOG" } .. "\n") end
    local function server_log(to)
      local given = { path = path, checkpoint = checkpoint, poll = "20ms", envelope = envelope, to = to }
      return assert(tail.server_log(given))
    end
    local seen = {}
    local function take(from)
      for _, one in ipairs(from:take()) do
        local message = cjson.decode(one.value).payload.record.message
        seen[message] = (seen[message] or 0) + 1
      end
    end
    local object = server_log(out)
    local first = task.spawn(object.run, object)
    process.until_true(function() return object.follower:progress().in_flight > 0 end, "the topic to be full")
    task.cancel(first)
    task.join(first)
    -- The next one begins when what the first one sent is delivered.
    local all = memory()
    local second = task.spawn(function() server_log(all):run() end)
    task.wait(nil, 0.1)
    assert.equal(0, #all:take())
    take(out)
    local count = 0
    for _ in pairs(seen) do count = count + 1 end
    assert.is_true(count > 0 and count < 20)
    process.until_true(function()
      take(all)
      return seen["line 20"]
    end, "the rest")
    task.cancel(second)
    task.join(second)
    for i = 1, 20 do assert.equal(1, seen["line " .. i], "line " .. i) end
  end)
end)
