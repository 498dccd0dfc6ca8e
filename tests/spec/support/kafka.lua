--- What the specs of Kafka share: reading a topic whole, and what was logged.
local kafka = require "dbobs.kafka"
local log = require "dbobs.log"
local timer = require "dbobs.timer"

local M = {}

local counter = 0

--- A name for a topic that no other spec has.
function M.name(stem)
  counter = counter + 1
  return ("%s-%d-%d"):format(stem or "topic", timer.wall() % 1e9, counter)
end

--- All messages of a topic, from the beginning to the end of each partition.
---@param bootstrap string
---@param topic string
---@param more table|nil further options of the consumer
---@return table[] messages
function M.read(bootstrap, topic, more)
  local given = { ["bootstrap.servers"] = bootstrap, topics = { topic }, eof = true, ["fetch.wait.max.ms"] = 20 }
  for name, value in pairs(more or {}) do given[name] = value end
  local consumer = kafka.consumer(given)
  local messages, ended = {}, {}
  local left
  repeat
    local message = assert(consumer:poll())
    left = left or consumer:partitions()
    if not message.eof then
      messages[#messages + 1] = message
    elseif not ended[message.partition] then
      ended[message.partition] = true
      left = left - 1
    end
  until left == 0
  consumer:close()
  return messages
end

--- The values of messages, sorted.
function M.values(messages)
  local values = {}
  for i, message in ipairs(messages) do values[i] = message.value end
  table.sort(values)
  return values
end

--- Waits until the condition holds; raises when it does not within a long time.
function M.until_true(what, condition)
  for _ = 1, 3000 do
    local value = condition()
    if value then return value end
    timer.sleep "10ms"
  end
  error("waited in vain for " .. what, 2)
end

--- Calls fn with a function that waits until a text (a pattern) was logged since the beginning of the call.
function M.with_log(fn)
  local event = log.event
  local lines = {}
  log.event = function(level, message, fields) -- luacheck: ignore 122
    local parts = { level, message }
    for name, value in pairs(fields or {}) do parts[#parts + 1] = name .. "=" .. tostring(value) end
    lines[#lines + 1] = table.concat(parts, " ")
  end
  local function logged(pattern)
    return M.until_true("the log to say '" .. pattern .. "', not only:\n" .. table.concat(lines, "\n"), function()
      for _, line in ipairs(lines) do
        if line:find(pattern) then return line end
      end
    end)
  end
  local ok, cause = xpcall(function() fn(logged, lines) end, debug.traceback)
  log.event = event
  if not ok then error(cause, 0) end
end

return M
