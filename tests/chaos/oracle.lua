--- Says of a topic what became of numbered records: how many came, are missing, came again, came late, are torn. It
--- reads what kcat prints, one record a line, and knows nothing of how dbobs reads.
local cjson = require "cjson"
local format = require "tests.chaos.format"

local M = {}

---@class chaos.counts
---@field received integer numbers that came
---@field repeated integer records whose number had come before
---@field disordered integer numbers that came for the first time behind a higher one
---@field torn integer records that are none of the writer's
---@field changed integer records that came again with another uid, or the uid of another number
local counts = {}
counts.__index = counts

local function new()
  return setmetatable({ received = 0, repeated = 0, disordered = 0, torn = 0, changed = 0, highest = 0, uids = {},
    again = {}, numbers = {} }, counts)
end

-- How many numbers up to `last` are so, and the first of them as ranges.
local function ranges_of(last, is)
  local count, ranges, from = 0, {}, nil
  for number = 1, last + 1 do
    if number <= last and is(number) then
      count = count + 1
      from = from or number
    elseif from then
      if #ranges < 8 then ranges[#ranges + 1] = ("%d-%d"):format(from, number - 1) end
      from = nil
    end
  end
  return count, table.concat(ranges, " ")
end

---@param written integer the writer's highest number
---@return integer how many of the numbers from 1 did not come
---@return string the first of them, as ranges
function counts:lost(written)
  return ranges_of(written, function(number) return not self.uids[number] end)
end

---@return integer how many numbers came more than once
---@return string the first of them, as ranges
function counts:doubled()
  return ranges_of(self.highest, function(number) return self.again[number] end)
end

function counts:take(payload)
  local message = type(payload.record) == "table" and payload.record.message
  local number = type(message) == "string" and format.number(message)
  if not number then
    self.torn = self.torn + 1
    self.example = self.example or cjson.encode(payload):sub(1, 300)
    return
  end
  local uid = payload.uid
  if (self.uids[number] or uid) ~= uid or (self.numbers[uid] or number) ~= number then
    self.changed = self.changed + 1
  end
  if self.uids[number] then
    self.repeated = self.repeated + 1
    self.again[number] = true
    return
  end
  self.received = self.received + 1
  if number < self.highest then self.disordered = self.disordered + 1 end
  self.highest = math.max(self.highest, number)
  self.uids[number], self.numbers[uid] = uid, number
end

---@class chaos.oracle
local oracle = {}
oracle.__index = oracle

--- An oracle that has seen nothing.
---@return chaos.oracle
function M.new()
  return setmetatable({ logs = {}, rest = "", foreign = 0 }, oracle)
end

--- Takes what was read of kcat's output, in pieces of any length.
---@param text string
function oracle:read(text)
  local from = 1
  text = self.rest .. text
  while true do
    local newline = text:find("\n", from, true)
    if not newline then break end
    self:line(text:sub(from, newline - 1))
    from = newline + 1
  end
  self.rest = text:sub(from)
end

function oracle:line(line)
  local ok, record = pcall(cjson.decode, line)
  if not ok or type(record.payload) ~= "table" or type(record.tags) ~= "table" then
    self.foreign = self.foreign + 1
    return
  end
  self:of(record.tags.log):take(record.payload)
end

--- The counts of one log's records.
---@param name string the tag `log` of its records
---@return chaos.counts
function oracle:of(name)
  self.logs[name] = self.logs[name] or new()
  return self.logs[name]
end

return M
