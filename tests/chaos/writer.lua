--- A log that a server could have written: numbered records in one format, and rotations of every kind. It loses
--- nothing by itself: what a copy or a truncation would lose on a real server happens between two writes here, and a
--- file goes, or is overwritten, only when all of it came.
local format = require "tests.chaos.format"
local servers = require "support.servers"
local sys = require "dbobs.core.sys"

local M = {}

--- The time of day, as the logs of dbobs have it.
---@return string
function M.clock()
  local now = sys.wall() / 1e6
  return ("%s.%03d"):format(os.date("!%H:%M:%S", now), now % 1 * 1000)
end

---@class chaos.writer
---@field written integer the highest number whose record is complete
---@field rotations table<string, integer> how often each kind happened
---@field history string[] the rotations in their order
local writer = {}
writer.__index = writer

local function name_of(self)
  return ("%s/server-%04d.%s"):format(self.directory, self.files, self.suffix)
end

local function begin(self, path)
  self.path = path or name_of(self)
  self.file = assert(io.open(self.path, "ab"))
  self.file:setvbuf "no"
end

--- Begins a log in a new directory.
---@param name "jsonlog"|"csvlog"|"stderr"
---@param random fun(from: integer, to: integer): integer
---@param without string|nil a kind of rotation that there is not
---@return chaos.writer
function M.new(name, random, without)
  local known = format.formats[name]
  local self = setmetatable({ name = name, random = random, record = known.record, suffix = known.suffix,
    directory = servers.directory(), without = without, files = 1, written = 0, rotations = {}, pending = {},
    history = {} }, writer)
  self.pattern = ("%s/server-*.%s"):format(self.directory, self.suffix)
  begin(self)
  return self
end

--- Writes records; now and then the last of them in two halves.
---@param count integer
function writer:write(count)
  local records = {}
  if self.half then
    records[1] = self.half
    self.half = nil
    self.written = self.written + 1
  end
  for _ = 1, count do
    self.written = self.written + 1
    records[#records + 1] = self.record(self.written)
  end
  if self.random(1, 4) == 1 then
    local next_one = self.record(self.written + 1)
    local cut = self.random(1, #next_one - 1)
    -- A server writes the lines of one record at once.
    if next_one:byte(cut) == 10 then cut = cut - 1 end
    records[#records + 1] = next_one:sub(1, cut)
    self.half = next_one:sub(cut + 1)
  end
  self.file:write(table.concat(records))
end

--- Completes what is half written.
function writer:complete()
  if self.half then self:write(0) end
  if self.half then self:complete() end
end

local function run(command, ...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = servers.quote(word) end
  local output, ok = servers.shell(("%s %s 2>&1"):format(command, table.concat(words, " ")))
  assert(ok, output)
end

-- What is to be done when all up to now came.
local function when_read(self, fn)
  self.pending[#self.pending + 1] = { number = self.written, fn = fn }
end

-- The same name again; the old file is written to a little longer, as by a server that was not told yet.
local function rename(self)
  local old = ("%s.%d"):format(self.path, self.files)
  assert(os.rename(self.path, old))
  self:write(self.random(0, 20))
  self:complete()
  self.file:close()
  begin(self, self.path)
  return old
end

local COMPRESSED = "renamed and compressed"
M.COMPRESSED = COMPRESSED

local kinds = {
  function(self)
    rename(self)
    return "renamed"
  end,
  function(self)
    if self.without == COMPRESSED then return "renamed", rename(self) end
    run("gzip", rename(self))
    return COMPRESSED
  end,
  function(self)
    run("cp", self.path, ("%s.%d"):format(self.path, self.files))
    run("truncate -s 0", self.path)
    return "copied and truncated"
  end,
  function(self)
    self.file:close()
    begin(self)
    return "new name"
  end,
  function(self)
    local old = self.path
    self.file:close()
    begin(self)
    when_read(self, function() os.remove(old) end)
    return "new name, old one removed"
  end,
  function(self)
    -- As log_truncate_on_rotation does with the name of a week ago.
    local old = self.path
    self.file:close()
    begin(self)
    when_read(self, function()
      self:complete()
      self.file:close()
      run("truncate -s 0", old)
      begin(self, old)
    end)
    return "old name begun anew"
  end,
}

--- Rotates in one of the ways.
---@return string which
function writer:rotate()
  self:complete()
  self.files = self.files + 1
  local from, path = self.written, self.path
  local which = kinds[self.random(1, #kinds)](self)
  self.history[#self.history + 1] = ("%s up to %d in %s: %s; up to %d in %s"):format(M.clock(), from, path, which,
    self.written, self.path)
  self.rotations[which] = (self.rotations[which] or 0) + 1
  return which
end

--- Tells how far the oracle has seen the log without a gap: files that wait for that go now.
---@param has fun(number: integer): boolean
function writer:seen(has)
  local kept = {}
  for _, one in ipairs(self.pending) do
    while (self.complete_to or 0) < one.number and has((self.complete_to or 0) + 1) do
      self.complete_to = (self.complete_to or 0) + 1
    end
    if (self.complete_to or 0) >= one.number then one.fn() else kept[#kept + 1] = one end
  end
  self.pending = kept
end

--- Ends the log: what is half written is completed.
function writer:close()
  self:complete()
  self.file:close()
  self.pending = {}
end

return M
