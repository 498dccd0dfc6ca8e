--- How large the records of topics are on the average, estimated from records at places taken by chance, some more each
--- time. Sizes are those of keys and values as they were sent, before compression.
local window = require "dbobs.ui.window"
local sys = require "dbobs.core.sys"

local M = {}

-- Of each partition, each time; a partition counts with the first few when there are many.
local RECORDS, PARTITIONS, BYTES, SECONDS = 20, 8, 8 * 2 ^ 20, 5
-- Records that are enough, and after how long some more are read all the same.
local ENOUGH, REFRESH_SECONDS = 400, 300

---@class dbobs.ui.sizes
local sizes = {}
sizes.__index = sizes

--- An estimate for each topic of a cluster.
---@param properties table<string, string>
---@return dbobs.ui.sizes
function M.new(properties)
  return setmetatable({ properties = properties, topics = {} }, sizes)
end

local function is_due(known, now)
  return not known or known.records < ENOUGH and now - known.at > 10 or now - known.at > REFRESH_SECONDS
end

--- Samples a topic when it is due.
---@param topic string
---@param bounds table<integer, {low: integer, high: integer}>
function sizes:sample(topic, bounds)
  local known, now = self.topics[topic], sys.monotonic()
  if not is_due(known, now) then return end
  local ranges = {}
  for partition, bound in pairs(bounds) do
    if bound.high > bound.low and #ranges < PARTITIONS then
      local from = math.random(bound.low, math.max(bound.low, bound.high - RECORDS))
      ranges[#ranges + 1] = { partition = partition, from = from, to = math.min(bound.high, from + RECORDS) }
    end
  end
  if #ranges == 0 then return end
  known = known or { records = 0, bytes = 0 }
  known.at = now
  self.topics[topic] = known
  -- A sample that fails is taken again another time.
  window.read(self.properties, topic, ranges, { until_time = now + SECONDS, bytes = BYTES }, function(message)
    known.records = known.records + 1
    known.bytes = known.bytes + #(message.key or "") + #(message.value or "")
  end)
end

--- The average size of a topic's records.
---@param topic string
---@return number|nil bytes nil as long as none was read
---@return integer|nil records how many it is estimated from
function sizes:average(topic)
  local known = self.topics[topic]
  if not known or known.records == 0 then return nil end
  return known.bytes / known.records, known.records
end

return M
