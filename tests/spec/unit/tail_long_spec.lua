-- src/shrink.c, src/shrink_note.c, src/tail.c: records of 100 KB, 1 MB and 100 MB, in each format.
local cjson = require "cjson"
local memory = require "dbobs.core.memory"
local process = require "support.process"
local servers = require "support.servers"
local tail = require "dbobs.tail"

local TIME = "2026-01-31 12:00:00.000 UTC"

-- A record whose message is `head`, then pieces of 1 KB, then `foot`, as each format has it.
local FORMATS = {
  jsonlog = {
    before = '{"timestamp":"' .. TIME .. '","session_id":"5.2a","line_num":%d,"error_severity":"ERROR",'
      .. '"state_code":"22000","message":"head',
    piece = ("é\\n\\u00e9\\ud83d\\ude00x"):rep(50), original = ("é\né😀x"):rep(50),
    after = 'foot","statement":"select 1"}\n',
  },
  csvlog = {
    before = TIME .. ',"u","d",42,"h:1",5.2a,%d,"SELECT",2026-01-31 12:00:00 UTC,1/1,0,ERROR,22000,"head',
    piece = ('é\n""quoted""\tx'):rep(50), original = ('é\n"quoted"\tx'):rep(50),
    after = 'foot",,,,,,"select 1",,,"app","client backend",,0\n',
  },
  stderr = {
    before = TIME .. " [42] 5.2a/%d ERROR:  head",
    piece = ("é\n\tnext line of it x"):rep(40), original = ("é\nnext line of it x"):rep(40),
    after = "foot\n" .. TIME .. " [42] 5.2a/99 STATEMENT:  select 1\n",
  },
}

for name, format in pairs(FORMATS) do
  describe("a huge record of " .. name, function()
    local directory, path, out

    before_each(function()
      directory = servers.directory()
      path, out = directory .. "/a.log", memory(1e6)
    end)

    -- Writes a record with at least so many bytes in its message; returns how many the message has.
    local function write(number, bytes)
      local file = assert(io.open(path, "ab"))
      local pieces = math.ceil(bytes / #format.piece)
      file:write((format.before:format(number)))
      for _ = 1, pieces do file:write(format.piece) end
      file:write(format.after)
      file:close()
      return pieces * #format.original + 8
    end

    local function follow()
      local object = assert(tail.server_log { path = path, checkpoint = directory .. "/position", poll = "20ms",
        format = name, log_line_prefix = "%m [%p] %c/%l ", timezone = "UTC", to = out,
        envelope = { host = "h", port = 1, database = "d", environment = "e", tags = {} } })
      finally(function() object:close() end)
      return object
    end

    local function records(object, n)
      local seen = {}
      process.until_true(function()
        local outcome, cause = object:turn()
        assert(outcome, cause)
        for _, one in ipairs(out:take()) do seen[#seen + 1] = cjson.decode(one.value) end
        return #seen >= n and outcome == "wait"
      end, n .. " records")
      return seen
    end

    it("is cut where it is long and whole where it is short, and the next record follows", function()
      local sizes = {}
      for i, bytes in ipairs { 10, 1e5, 1e6, 1e8, 10 } do sizes[i] = write(i, bytes) end
      local object = follow()
      local seen = records(object, #sizes)
      for i, one in ipairs(seen) do
        local payload = one.payload
        assert.is_nil(payload.unparsed)
        assert.same({ "5.2a/" .. i, "error", "query_error", "select 1" }, { payload.uid, one.tags.log_level,
          payload.event_type, payload.query })
        assert.equal("2026-01-31T12:00:00.000000Z", one.timestamp)
        local message = payload.record.message
        assert.matches("^head", message)
        assert.matches("foot$", message)
        local cut = payload.truncated and payload.truncated["payload.record.message"]
        assert.equal(sizes[i], cut or #message)
        assert.equal(sizes[i] > 1e6 / 2, cut ~= nil)
        if cut then
          local _, marks = message:gsub("…", "")
          assert.equal(1, marks)
          assert.is_nil(message:find("dbobs:", 1, true))
        end
      end
      object:flush()
      local progress = object.follower:progress()
      assert.equal(progress.size, progress.acknowledged)
    end)

    it("is read whole behind more zeros than a piece may have", function()
      local file = assert(io.open(path, "ab"))
      file:write(("\0"):rep(2e7))
      file:close()
      local size = write(1, 10)
      local seen = records(follow(), 1)
      assert.is_nil(seen[1].payload.unparsed)
      assert.equal(size, #seen[1].payload.record.message)
    end)
  end)
end
