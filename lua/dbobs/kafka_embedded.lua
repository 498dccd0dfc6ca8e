--- The embedded broker of a pipeline that says "embedded" for bootstrap.servers: started once, at first use, and kept
--- when the pipeline is read again.
local log = require "dbobs.log"
local new_broker = require "dbobs.core.kafka_broker"

local M = {}

local broker

--- Its address; starts it when it is not running.
---@return string address
function M.address()
  if not broker then
    local started
    broker, started = new_broker(true)
    if not broker then error("the embedded broker cannot be started: " .. started, 0) end
    if not started then return broker:address() end
    log.warn("the embedded broker is running; it is for trying and testing only: it keeps 5 MiB of each partition, "
      .. "in memory", { address = broker:address() })
  end
  return broker:address()
end

--- Ends it, and its records with it, when no pipeline uses it any more.
function M.close()
  if broker then broker:close() end
  broker = nil
end

--- Whether an address is that of the embedded broker of this process.
---@param address string
---@return boolean
function M.is_address(address)
  return broker ~= nil and broker:address() == address
end

--- Creates a topic in it.
---@param name string
---@param partitions integer
---@return boolean|nil ok, string|nil error, string|nil code
function M.create_topic(name, partitions)
  local ok, cause = broker:topic(name, partitions)
  if ok then return true end
  local known = cause:find "already exists"
  return nil, "kafka.create_topic: " .. cause, known and "TOPIC_ALREADY_EXISTS" or nil
end

return M
