-- src/tail_remote.c and src/tail_remote_names.c: what is brought from a directory that only this spec has.
local cjson = require "cjson"
local core = require "dbobs.core.tail"
local pgresult = require "dbobs.core.pgresult"
local remote = require "dbobs.core.tail_remote"
local servers = require "support.servers"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

describe("a log that is brought from elsewhere", function()
  local files, clock, position, follower, source, seen, pieces

  -- Files: name -> {text, modified}.
  local function write(name, text)
    clock = clock + 1
    files[name] = { text = (files[name] and files[name].text or "") .. text, modified = clock }
  end

  local function rename(from, to)
    files[to], files[from] = files[from], nil
  end

  local function list()
    local rows = {}
    for name, file in pairs(files) do rows[#rows + 1] = { name = name, size = #file.text, modified = file.modified } end
    source:list(rows)
  end

  local function bring(name, offset, len)
    local file = files[name]
    pieces = pieces + 1
    local row = file and { file.text:sub(offset + 1, offset + len), file.text:sub(1, remote.HEAD) } or { false, false }
    source:feed(pgresult.make({ "piece", "head" }, { row }))
  end

  -- Lines that can be read now.
  local function take()
    while true do
      local line, path, offset, first_line, truncations = follower:next()
      if not line then break end
      seen[#seen + 1] = line
      seen[line] = { path = path, uid = ("%s.%d:%d"):format(first_line, truncations, offset) }
    end
    follower:commit()
    follower:acknowledge()
  end

  -- One look at the directory, with all that it brings.
  local function look()
    list()
    while true do
      local what, name, offset, len = source:want()
      if what == "nothing" then break end
      if what == "list" then list() end
      if what == "piece" then bring(name, offset, len) end
      if what == "busy" then
        -- The first position is kept before the first line.
        task.wait(follower, 0.01)
        take()
      end
    end
    take()
  end

  local function notes()
    local texts = {}
    for note in function() return follower:note() end do texts[#texts + 1] = note end
    return table.concat(texts, "\n")
  end

  local function open(given)
    given = given or {}
    local cause, in_use
    local late = sys.monotonic() + 60
    repeat
      follower, cause, in_use = core.open { path = "x", remote = true, checkpoint = position, poll = "20ms",
        grace = "50ms", since = given.since, from = given.from }
      -- The one before may still be writing its positions, on a worker.
      if in_use then task.wait(nil, 0.01) end
    until not in_use or sys.monotonic() > late
    assert(follower, cause)
    source = remote.source(follower)
  end

  local function close()
    source:close()
    follower:close()
  end

  local function wait_for(what)
    local late = sys.monotonic() + 60
    while not what() do
      assert(sys.monotonic() < late, "not in time")
      task.wait(follower, 0.02)
      take()
    end
  end

  before_each(function()
    files, clock, seen, pieces = {}, 1000, {}, 0
    position = servers.directory() .. "/position"
    open()
  end)

  after_each(function() close() end)

  it("is of no interest once its follower is closed", function()
    write("a.log", "one\n")
    look()
    follower:close()
    task.wait(nil, 0.05) -- until it is freed
    list()
    assert.equal("nothing", (source:want()))
  end)

  it("is read as it grows, and asked for nothing while it rests", function()
    write("a.log", "one\ntwo\nthr")
    look()
    assert.same({ "one", "two" }, { seen[1], seen[2] })
    write("a.log", "ee\n")
    look()
    assert.equal("three", seen[3])
    local before = pieces
    look()
    look()
    assert.equal(before, pieces)
    assert.equal("", notes())
  end)

  it("keeps every byte", function()
    write("a.log", "x\n")
    for i = 0, 255 do
      if i ~= 10 then write("a.log", string.char(i):rep(5000) .. "e\n") end
    end
    look()
    assert.equal(256, #seen)
    assert.equal(("\0"):rep(5000) .. "e", seen[2])
    assert.equal(("\255"):rep(5000) .. "e", seen[256])
  end)

  it("is known by its first line, however long that is", function()
    for _, length in ipairs { 4095, 4096, 65535, 65536, 70000 } do
      write("l" .. length, ("%05d"):format(length):rep(length / 5) .. ("x"):rep(length % 5) .. "\nsecond\n")
    end
    look()
    assert.equal(10, #seen)
    assert.equal("", notes())
  end)

  it("is read on under another name, before the one that took its place", function()
    write("a.log", "one\n")
    look()
    write("a.log", "two\n")
    rename("a.log", "a.log.1")
    write("a.log", "new\nnewer\nnewest, and more of it than there was\n")
    look()
    assert.same({ "one", "two", "new", "newer" }, { unpack(seen, 1, 4) })
    assert.equal(5, #seen)
    assert.equal("", notes())
    assert.equal(seen.one.uid:match "^[^:]+", seen.two.uid:match "^[^:]+")
    assert.equal("0", seen.new.uid:match "%.(%d+):")
  end)

  it("is read on when it was renamed between the look and the piece", function()
    write("a.log", "one\n")
    look()
    write("a.log", "two\n")
    list()
    rename("a.log", "a.log.1")
    write("a.log", "xew\nyew\n")
    local what, name, offset, len = source:want()
    assert.equal("piece", what)
    bring(name, offset, len)
    take()
    look()
    assert.same({ "one", "two", "xew", "yew" }, { unpack(seen) })
    assert.equal("", notes())
  end)

  it("is read on when it was away only between the look and the piece", function()
    write("a.log", "one\n")
    look()
    write("a.log", "two\n")
    list()
    local file = files["a.log"]
    files["a.log"] = nil
    for _ = 1, 2 do
      local _, name, offset, len = source:want()
      bring(name, offset, len)
    end
    files["a.log"] = file
    look()
    look()
    assert.same({ "one", "two" }, { unpack(seen) })
    assert.equal("", notes())
  end)

  it("is begun anew when it was truncated, told with what may be lost", function()
    write("a.log", "one\ntwo\n")
    look()
    files["a.log"] = nil
    write("a.log", "three, which is longer than both\n")
    look()
    assert.same({ "one", "two", "three, which is longer than both" }, { unpack(seen) })
    assert.matches("truncated and begun anew when 8 bytes", notes())
    assert.equal("1", seen[seen[3]].uid:match "%.(%d+):")
  end)

  it("is read from its copy when that was made before the truncation, and the copy is no log of its own", function()
    write("a.log", "one\n")
    look()
    files["a.log.1"] = { text = files["a.log"].text, modified = clock }
    look()
    assert.equal(1, #seen)
    write("a.log", "two\n")
    files["a.log.1"] = { text = files["a.log"].text, modified = clock }
    files["a.log"] = nil
    write("a.log", "three\n")
    look()
    look()
    assert.same({ "one", "two", "three" }, { unpack(seen) })
    assert.equal("", notes())
  end)

  it("is found again after a restart, renamed meanwhile, with what came since", function()
    write("a.log", "one\n")
    look()
    close()
    write("a.log", "two\n")
    rename("a.log", "a.log.2")
    write("a.log.1", "three\n")
    write("a.log", "four\n")
    open()
    look()
    assert.same({ "one", "two", "three", "four" }, { unpack(seen) })
    assert.equal("", notes())
    local kept = cjson.decode(io.open(position):read "*a")
    assert.equal("sql", kept.positions[1].source)
  end)

  it("tells after a restart that it is gone, or was begun anew", function()
    write("a.log", "one\n")
    write("b.log", "uno\n")
    look()
    close()
    files = {}
    write("b.log", "due\n")
    open()
    look()
    local told = notes()
    assert.matches("a.log is not there any more, under no name", told)
    assert.matches("b.log was truncated and begun anew while nobody read it", told)
    assert.equal("due", seen[3])
  end)

  it("tells how much of it is lost when it is removed while behind", function()
    local line = ("x"):rep(1023) .. "\n"
    write("a.log", "one\n")
    look()
    write("a.log", line:rep(2048))
    list()
    local _, name, offset, len = source:want()
    bring(name, offset, len)
    files = {}
    write("b.log", "other\n")
    look()
    assert.matches("a.log was removed before its last 1048576 bytes were read", notes())
    assert.equal("other", seen[#seen])
  end)

  it("has its last half line sent when another one follows, and not before", function()
    write("a.log", "one\nhalf")
    look()
    look()
    assert.equal(1, #seen)
    write("b.log", "next\n")
    look()
    look()
    wait_for(function() return seen.half end)
    assert.truthy(seen.next)
  end)

  it("is read oldest first, in pieces, never more than was taken", function()
    for i = 1, 3 do write("f" .. i, (("%d "):format(i) .. ("y"):rep(1021) .. "\n"):rep(3000)) end
    list()
    local most, last = 0, nil
    while true do
      local what, name, offset, len = source:want()
      if what == "nothing" then break end
      if what == "piece" then
        most = math.max(most, len)
        bring(name, offset, len)
        last = source:want()
      end
      if what == "list" then list() end
      if what == "busy" then
        assert.equal("busy", last or what)
        task.wait(follower, 0.01)
        take()
      end
    end
    take()
    assert.equal(9000, #seen)
    assert.equal(1048576, most)
    for i = 1, 9000 do assert.equal(math.ceil(i / 3000), tonumber(seen[i]:sub(1, 1))) end
  end)

  it("begins at the end of files that were last written before `since`", function()
    write("a.log", "old\n")
    close()
    open { since = clock + 1 }
    write("b.log", "new\n")
    look()
    write("a.log", "more\n")
    look()
    assert.same({ "new", "more" }, { unpack(seen) })
  end)

  it("is found among thousands that rest, whose names come and go", function()
    for i = 1, 3000 do write(("f%04d"):format(i), ("line %d\n"):format(i)) end
    look()
    assert.equal(3000, #seen)
    for i = 1, 3000, 3 do files[("f%04d"):format(i)] = nil end
    write("f0002", "more\n")
    rename("f0003", "g0003")
    write("g0003", "of a renamed one\n")
    local before = pieces
    look()
    assert.same({ "more", "of a renamed one" }, { seen[3001], seen[3002] })
    assert.is_true(pieces - before < 10)
    assert.equal("", notes())
  end)

  it("is let go with its follower", function()
    write("a.log", "one\n")
    look()
    follower:close()
    assert.equal("nothing", (source:want()))
    source:list {}
  end)

  it("cannot be brought to a follower of local files", function()
    local other = assert(core.open { path = "/tmp/none" })
    assert.error_matches(function() remote.source(other) end, "reads local files")
    other:close()
  end)
end)
