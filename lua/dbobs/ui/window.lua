--- Reads a range of offsets of some partitions of a topic, within bounds of time and bytes.
local kafka = require "dbobs.kafka"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- Others get their turn after so many records.
local TURN = 500
-- How long it is waited after an error: that of one partition is to hold up no other, and it may pass.
local PATIENCE_SECONDS = 2

-- The consumer's properties over those of the user: an end is told with the answer to a fetch, which the broker else
-- holds back for half a second.
local PROPERTIES = { ["fetch.wait.max.ms"] = "50", ["queued.max.messages.kbytes"] = "8192", eof = true }

--- A consumer of some partitions.
---@param properties table<string, string> of the user
---@param starts {topic: string, partition: integer, from: string|integer}[]
---@return dbobs.kafka.consumer
function M.consumer(properties, starts)
  local all = {}
  for name, value in pairs(properties) do all[name] = value end
  for name, value in pairs(PROPERTIES) do all[name] = value end
  all.assign = starts
  return kafka.consumer(all)
end

local function next_message(consumer, budget)
  while true do
    local message, cause, final = consumer:take()
    if message == nil then return nil, cause, final end
    if message then return message end
    local left = budget.until_time - sys.monotonic()
    if left <= 0 then return false end
    task.wait(consumer.core, left)
  end
end

--- Whether no more may be read.
function M.is_used_up(budget)
  return budget.bytes <= 0 or sys.monotonic() > budget.until_time
end

local function read(consumer, open, budget, each)
  local left, count, problem = 0, 0, nil
  for _ in pairs(open) do left = left + 1 end
  while left > 0 do
    local message, cause, final = next_message(consumer, budget)
    if message == nil then
      problem = cause
      if final then return nil, cause end
      budget.until_time = math.min(budget.until_time, sys.monotonic() + PATIENCE_SECONDS)
    elseif message == false then
      break
    else
      local range = open[message.partition]
      local ended = range and (message.eof or message.offset >= range.to - 1)
      if range and not message.eof and message.offset < range.to then
        budget.bytes = budget.bytes - #(message.value or "") - #(message.key or "")
        range.last = message.offset
        if each(message) == false then ended = true end
      end
      if ended then
        range.ended = true
        open[message.partition] = nil
        left = left - 1
      end
      count = count + 1
      if count % TURN == 0 then task.wait(nil, 0) end
      if M.is_used_up(budget) then break end
    end
  end
  return true, problem
end

--- Reads ranges of a topic's partitions, each from its beginning on, side by side.
---@param properties table<string, string> librdkafka's
---@param topic string
---@param ranges {partition: integer, from: integer|string, to: integer}[] `to` is the first offset that is not wanted.
---  Afterwards each has `last`, the offset of its last record that was handed over, and `ended`, whether it was read to
---  its end
---@param budget {until_time: number, bytes: integer} monotonic time, and how much may be read; counted down
---@param each fun(message: table): boolean|nil false: no more of this partition
---@return boolean|nil ok, string|nil error with true: of some partition, the others were read
function M.read(properties, topic, ranges, budget, each)
  local starts, open = {}, {}
  for _, range in ipairs(ranges) do
    starts[#starts + 1] = { topic = topic, partition = range.partition, from = range.from }
    open[range.partition] = range
  end
  if #starts == 0 then return true end
  local consumer = M.consumer(properties, starts)
  local ok, result, cause = pcall(read, consumer, open, budget, each)
  consumer:close()
  if not ok then error(result, 0) end
  return result, cause
end

return M
