--- How many records there are in topics, how large they are and how fast they come: `dbobs consume --stats`.
local cjson = require "cjson"
local sys = require "dbobs.core.sys"
local terminal = require "dbobs.terminal"
local timer = require "dbobs.timer"

local M = {}

-- More different keys of a topic are not told apart.
local MOST_KEYS = 100000

---@class dbobs.consume_stats
local stats = {}
stats.__index = stats

--- Statistics of topics.
---@param follows boolean whether rates are those of the time since the last report, else those of the records' times
---@return dbobs.consume_stats
function M.new(follows)
  return setmetatable({ topics = {}, follows = follows, reported = sys.monotonic() }, stats)
end

local function new_topic()
  return { records = 0, bytes = 0, largest = 0, keys = 0, seen = {}, new_records = 0, new_bytes = 0 }
end

--- Counts a record.
---@param record table its timestamp in milliseconds
function stats:add(record)
  local topic = self.topics[record.topic]
  if not topic then
    topic = new_topic()
    self.topics[record.topic] = topic
  end
  local size = #(record.key or "") + #(record.value or "")
  topic.records, topic.bytes = topic.records + 1, topic.bytes + size
  topic.new_records, topic.new_bytes = topic.new_records + 1, topic.new_bytes + size
  topic.largest = math.max(topic.largest, size)
  local key = record.key or false
  if not topic.seen[key] and topic.keys < MOST_KEYS then
    topic.seen[key], topic.keys = true, topic.keys + 1
  end
  local time = record.timestamp
  if time then
    topic.first, topic.last = math.min(topic.first or time, time), math.max(topic.last or time, time)
  end
end

-- Records and bytes a second; nil when there is no time between them.
local function rates_of(self, topic, elapsed)
  if self.follows then return topic.new_records / elapsed, topic.new_bytes / elapsed end
  local seconds = topic.first and (topic.last - topic.first) / 1000 or 0
  if seconds <= 0 then return nil end
  return topic.records / seconds, topic.bytes / seconds
end

local function time_text(milliseconds)
  return milliseconds and timer.iso8601(milliseconds * 1000):sub(1, 19) .. "Z" or nil
end

local function json_line(name, topic, per_second, bytes_per_second)
  return cjson.encode { topic = name, records = topic.records, bytes = topic.bytes, largest = topic.largest,
    keys = topic.keys, records_per_second = per_second, bytes_per_second = bytes_per_second,
    first = time_text(topic.first), last = time_text(topic.last) } .. "\n"
end

local COLUMNS = {
  { title = "topic", least = 10 }, { title = "records", right = true }, { title = "records/s", right = true },
  { title = "size", right = true }, { title = "size/s", right = true }, { title = "largest", right = true },
  { title = "keys", right = true }, { title = "first" }, { title = "last" },
}

--- Prints what there is, a line for each topic.
---@param out dbobs.terminal
---@param names string[] the topics, also those without a record
---@param json boolean one JSON object a line
function stats:report(out, names, json)
  local now = sys.monotonic()
  local elapsed = math.max(now - self.reported, 0.001)
  local rows = {}
  for i, name in ipairs(names) do
    local topic = self.topics[name] or new_topic()
    local per_second, bytes_per_second = rates_of(self, topic, elapsed)
    if json then
      out:write(json_line(name, topic, per_second, bytes_per_second))
    else
      rows[i] = { name, topic.records, per_second and ("%.1f"):format(per_second) or "-",
        terminal.bytes(topic.bytes), bytes_per_second and terminal.bytes(bytes_per_second) or "-",
        terminal.bytes(topic.largest), topic.keys, time_text(topic.first) or "-", time_text(topic.last) or "-" }
    end
    topic.new_records, topic.new_bytes = 0, 0
  end
  self.reported = now
  if not json then out:table(COLUMNS, rows) end
end

return M
