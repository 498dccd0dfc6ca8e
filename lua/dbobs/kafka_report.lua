--- What librdkafka tells of a client, into the log: lasting conditions when they begin, rarely while they last, and
--- when they end; the rest as it comes.
local log = require "dbobs.log"
local task = require "dbobs.task"

local M = {}

local LEVELS = { [0] = "error", "error", "error", "error", "warn", "info", "info", "debug" }
local LOOK_SECONDS = 60
local clients = 0

-- Returns "closed", "troubled" while a condition lasts, or "well".
local function tell(report, key, brokers)
  local level, text = report:take()
  while level do
    log.event(LEVELS[level] or "debug", "kafka: " .. text, { brokers = brokers })
    level, text = report:take()
  end
  local closed, down, failure, dropped = report:state()
  if closed then return "closed" end
  log.condition(key .. "/down", down ~= nil, "warn", "no Kafka broker can be reached; what is to be sent waits",
    { brokers = brokers, error = down })
  log.condition(key .. "/failing", failure ~= nil, "error", "Kafka does not take records",
    { brokers = brokers, error = failure })
  log.condition(key .. "/dropping", dropped ~= nil, "warn",
    "the oldest records are dropped: Kafka does not take them fast enough", { brokers = brokers, topic = dropped })
  return (down or failure or dropped) and "troubled" or "well"
end

--- Logs what a report says, in the background, until its client is closed.
---@param report userdata of dbobs.core.kafka
---@param brokers string
function M.watch(report, brokers)
  clients = clients + 1
  local key = ("kafka/%d"):format(clients)
  task.background(function()
    local state = tell(report, key, brokers)
    while state ~= "closed" do
      -- A condition that lasts is told again now and then, also when nothing changes.
      task.wait(report, state == "troubled" and LOOK_SECONDS or nil)
      state = tell(report, key, brokers)
    end
  end)
end

return M
