-- src/pglog*.c: bytes that no server should write, in each of the three formats: whatever it is, a record comes of it,
-- what can be read of it is read, and its neighbours are unharmed.
local cjson = require "cjson"
local core = require "dbobs.core.tail"
local memory = require "dbobs.core.memory"
local process = require "support.process"
local record = require "dbobs.core.record"
local servers = require "support.servers"
local tail = require "dbobs.tail"

local ENVELOPE = { data_type = "log", host = "db1", port = 5432, database = "postgres", environment = "test" }
local FORBIDDEN = "\239\191\189"

-- One report, whose texts are given, as each format has it.
local FORMATS = {
  { name = "jsonlog", suffix = ".json", write = function(user, message)
    local function quoted(text) return (text:gsub('[\\"]', "\\%0"):gsub("\n", "\\n")) end
    return ('{"timestamp":"2026-03-29 03:30:00.123 CEST","user":"%s","dbname":"app","pid":77,"session_id":"65f.4d",'
      .. '"line_num":3,"error_severity":"ERROR","state_code":"22012","message":"%s","statement":"select 1"}\n'):format(
      quoted(user), quoted(message))
  end },
  { name = "csvlog", suffix = ".csv", write = function(user, message)
    return ('2026-03-29 03:30:00.123 CEST,"%s","app",77,,65f.4d,3,"SELECT",2026-03-29 03:00:00 CEST,4/12,0,ERROR,22012,'
      .. '"%s",,,,,,"select 1",,,"","client backend",,0\n'):format(user:gsub('"', '""'), (message:gsub('"', '""')))
  end },
  { name = "stderr", suffix = ".log", prefix = "%m [%p] %u@%d %e %c/%l ", write = function(user, message)
    local begin = "2026-03-29 03:30:00.123 CEST [77] " .. user .. "@app 22012 65f.4d/%d "
    return begin:format(3) .. "ERROR:  " .. message:gsub("\n", "\n\t") .. "\n"
      .. begin:format(4) .. "STATEMENT:  select 1\n"
  end },
}

-- The records of a log that is not written any more.
local function records(format, text)
  local parser = assert(core.pglog(record.writer(ENVELOPE), "Europe/Berlin", format.name, format.prefix))
  local list = {}
  while #text > 0 do
    local len = parser:cut(text, true)
    if len == 0 then len = #text end
    local _, value = parser:read((text:sub(1, len):gsub("\n$", "")), "00112233445566aa", 0, 0)
    list[#list + 1] = cjson.decode(value)
    text = text:sub(len + 1)
  end
  return list
end

local function check(one, user, message)
  assert.equal("2026-03-29T01:30:00.123000Z", one.timestamp)
  assert.equal("app", one.database)
  assert.equal("query_error", one.payload.event_type)
  assert.equal("65f.4d/3", one.payload.uid)
  assert.equal(user, one.payload.record.user)
  assert.equal(message, one.payload.record.message)
  assert.equal(message, one.payload.error_message)
  assert.equal("select 1", one.payload.record.statement)
end

for _, format in ipairs(FORMATS) do
  local good = format.write("bob", "fine")

  describe("a log in " .. format.name, function()
    it("may hold bytes that are no UTF-8", function()
      -- Latin 1, half a character, an overlong one, half of a surrogate pair, above U+10FFFF, bytes of no encoding.
      for bytes, mended in pairs {
        ["M\252ller"] = "M" .. FORBIDDEN .. "ller", ["a\226\130 b"] = "a" .. FORBIDDEN .. FORBIDDEN .. " b",
        ["\192\175x"] = FORBIDDEN:rep(2) .. "x", ["\237\160\128"] = FORBIDDEN:rep(3),
        ["\244\144\128\128"] = FORBIDDEN:rep(4), ["\254\255."] = FORBIDDEN:rep(2) .. ".",
        ["€ \240\159\152\128"] = "€ \240\159\152\128",
      } do
        local list = records(format, good .. format.write(bytes, "m " .. bytes .. " 'q' \"r\"") .. good)
        assert.equal(3, #list)
        check(list[2], mended, "m " .. mended .. " 'q' \"r\"")
        check(list[3], "bob", "fine")
      end
    end)

    it("may hold a message cut within a character at any byte", function()
      local text = "tü€\240\159\152\128"
      for len = 1, #text do
        local seen = records(format, format.write("bob", text:sub(1, len)))[1].payload.record.message
        local whole = seen:gsub(FORBIDDEN, "")
        assert.equal(text:sub(1, #whole), whole)
        assert.is_true(len - #whole <= 3 and #seen == #whole + 3 * (len - #whole), len)
      end
    end)

    it("may hold control characters and NUL", function()
      for byte = 0, 31 do
        local text = byte == 10 and "two\nlines" or "a" .. string.char(byte) .. "b"
        local list = records(format, good .. format.write("bob", text) .. good)
        assert.equal(3, #list)
        check(list[3], "bob", "fine")
        -- In JSON they have to be escaped: what is none goes as it is.
        if format.name == "jsonlog" and byte ~= 10 then
          assert.equal(format.write("bob", text), list[2].payload.text .. "\n")
        else
          check(list[2], "bob", text)
        end
      end
    end)

    it("is read behind the zeros that a power cut or a truncation left", function()
      for _, count in ipairs { 1, 512, 100000 } do
        local list = records(format, ("\0"):rep(count) .. good .. ("\0"):rep(count) .. good .. good)
        assert.equal(3, #list)
        for _, one in ipairs(list) do check(one, "bob", "fine") end
      end
      local list = records(format, ("\0"):rep(100))
      assert.same({ ("\0"):rep(100) }, { list[1].payload.text })
      list = records(format, "\0\0not a record\n" .. good)
      assert.equal("\0\0not a record", list[1].payload.text)
      check(list[2], "bob", "fine")
    end)

    it("may be of a server on Windows", function()
      local function dos(text) return (text:gsub("\n", "\r\n")) end
      local list = records(format, dos(good .. format.write("bob", 'two\n"lines"') .. good))
      assert.equal(3, #list)
      check(list[1], "bob", "fine")
      check(list[2], "bob", 'two\n"lines"')
      check(list[3], "bob", "fine")
    end)

    it("keeps the carriage returns of a statement", function()
      if format.name == "jsonlog" then return end -- there they are escaped
      check(records(format, format.write("bob", "one\r\ntwo"))[1], "bob", "one\r\ntwo")
    end)

    it("has neighbours of half a record that are whole, wherever it was cut", function()
      for len = 1, #good - 2 do
        local list = records(format, good .. good:sub(1, len) .. "\n" .. good)
        check(list[1], "bob", "fine")
        check(list[#list], "bob", "fine")
        -- It is sent as the text that it is, or what is said of it is true.
        for i = 2, #list - 1 do
          local payload = list[i].payload
          local message = not payload.unparsed and payload.record.message
          assert.equal(message, message and ("fine"):sub(1, #message), len)
        end
      end
    end)

    it("does not take half a record and the next one on its line for one", function()
      if format.name == "stderr" then return end -- a name may hold anything there
      for len = 1, #good - 2 do
        local list = records(format, good:sub(1, len) .. good .. good)
        -- Within the time it is the next record, whose time is not known.
        assert.is_true(list[1].payload.unparsed or len <= 28 and list[1].payload.record.message == "fine", len)
        check(list[#list], "bob", "fine")
      end
    end)
  end)

  describe("a file in " .. format.name, function()
    for _, half_first in ipairs { false, true } do it("that ends in half a record and " .. (half_first and "is rotated "
      .. "when that was sent" or "was rotated") .. " is sent to its end, and the next one", function()
      local directory, out = servers.directory(), memory()
      local path = directory .. "/a" .. format.suffix
      local function write(text)
        local file = assert(io.open(path, "ab"))
        file:write(text)
        file:close()
      end
      local half = format.write("bob", "h\237lf"):match "^.*h\237"
      write(good .. half)
      local log = assert(tail.server_log { path = path, checkpoint = directory .. "/position", poll = "20ms",
        grace = "50ms", timezone = "Europe/Berlin", format = format.name, log_line_prefix = format.prefix, to = out,
        envelope = ENVELOPE })
      -- Records by what is in them; the half comes after a while, the next file may be read before.
      local seen, count = {}, 0
      local function until_sent(expected)
        process.until_true(function()
          assert(log:turn())
          for _, one in ipairs(out:take()) do
            local payload = cjson.decode(one.value).payload
            seen[payload.record and payload.record.message or payload.text], count = cjson.decode(one.value), count + 1
          end
          return count >= expected
        end, "the records")
      end
      until_sent(half_first and 2 or 1)
      os.rename(path, path .. ".1")
      write(("\0"):rep(10) .. format.write("bob", "n\228chster") .. format.write("bob", "last"))
      until_sent(4)
      process.until_true(function()
        assert(log:turn())
        return log.follower:progress().acknowledged == log.follower:progress().size
      end, "the end")
      assert.same({}, out:take())
      log:flush()
      log:close()
      for _, message in ipairs { "fine", "n" .. FORBIDDEN .. "chster", "last" } do
        check(seen[message], "bob", message)
      end
      assert.is_table(seen["h" .. FORBIDDEN] or seen[(half:gsub("\237", FORBIDDEN))])
    end) end
  end)
end
