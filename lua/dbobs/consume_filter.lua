--- Which records `dbobs consume` shows: by key, by text, by time.
local kafka = require "dbobs.kafka"
local otlp = require "dbobs.otlp"

local M = {}

---@class dbobs.consume_filter
---@field until_time number|nil milliseconds since 1970; later records are not wanted
local filter = {}
filter.__index = filter

-- A pattern like "db1:*" as one of Lua's. Other characters stand for themselves.
local function pattern_of(glob)
  local escaped = glob:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0")
  return "^" .. escaped:gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

--- A filter.
---@param given {key: string|nil, text: string|nil, until_time: string|nil} what the command line says
---@return dbobs.consume_filter|nil filter, string|nil problem
function M.new(given)
  local until_time
  if given.until_time then
    local kind, value = kafka.parse_from(given.until_time)
    if not kind then return nil, "option --until: " .. value end
    if kind ~= "time" then
      return nil, ("option --until: a time like 2026-01-31T12:00:00Z or 10m (ago) expected, got '%s'")
        :format(given.until_time)
    end
    until_time = value
  end
  return setmetatable({ key = given.key and pattern_of(given.key), text = given.text and given.text:lower(),
    until_time = until_time }, filter)
end

--- Whether a record lies behind the time at which reading ends.
---@param message table see dbobs.kafka.consumer
---@return boolean
function filter:is_late(message)
  return self.until_time ~= nil and message.timestamp ~= nil and message.timestamp / 1000 > self.until_time
end

--- Whether a record is wanted.
---@param record table its timestamp in milliseconds
---@return boolean
function filter:matches(record)
  if self.key and not (record.key and record.key:find(self.key)) then return false end
  if not self.text then return true end
  return otlp.format_record(record, "json"):lower():find(self.text, 1, true) ~= nil
end

return M
