--- Sending records: batches that know when all of their records were acknowledged, and standard output as a sink.
local core = require "dbobs.core.sink"
local task = require "dbobs.task"

local M = {}

---@class dbobs.sink where records go: a topic, or standard output

---@class dbobs.batch records that are counted until each is acknowledged or has failed

--- A new batch: hand it to each send, then wait for it.
---@return dbobs.batch batch
M.batch = core.batch

--- How a batch stands.
---@return integer sent, integer pending, integer failed, string|nil error of the first that failed
M.status = core.status

--- Waits until every record of the batch is acknowledged or failed.
---@param batch dbobs.batch
---@return boolean|nil ok, string|nil error "sink.wait: <first failure>"
function M.wait(batch)
  while true do
    local _, pending, failed, cause = core.status(batch)
    if pending == 0 then
      if failed == 0 then return true end
      return nil, ("sink.wait: %d records were not delivered: %s"):format(failed, cause)
    end
    task.wait(batch)
  end
end

--- Sends one record, waiting while the sink has no room.
---@param sink dbobs.sink a topic or standard output
---@param key string|nil
---@param value string
---@param batch dbobs.batch|nil
---@return boolean|nil ok, string|nil error
function M.send(sink, key, value, batch)
  while true do
    local ok, cause = core.put(sink, key, value, batch)
    if ok ~= false then return ok, cause end
    task.wait(sink)
  end
end

--- Standard output as a topic. Whoever reads it and goes away thereby tells dbobs to stop.
---@param topic string
---@param form "json"|"text"|"details"|nil one JSON object a line with topic, key and value (the default), one readable
---   line, or that line and every point of a metrics record
---@return dbobs.sink sink
M.stdout = core.stdout

--- A sink that counts in the batches and forgets the records.
---@return dbobs.sink sink
M.discard = core.discard

return M
