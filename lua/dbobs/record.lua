--- Records of raw-logs and raw-queries straight from the rows of a query: each column becomes a field of the payload
--- under its own name and with its own type, without a Lua value for any row.
local core = require "dbobs.core.record"
local options = require "dbobs.options"
local task = require "dbobs.task"

local M = {}

local OPTIONS = {
  host = "string", port = "number", database = "string", environment = "string", tags = "table",
  data_type = { one = { "log", "query" } }, time = "number", log_level = "string",
  database_column = "string", timestamp_column = "string", masked_column = "string",
}

---@class dbobs.writer makes records of rows
local writer = {}
writer.__index = writer

--- A writer of records.
---@param envelope {host: string, port: integer, database: string, environment: string, tags: table|nil} as
--- run:envelope() gives it
---@param given table data_type ("log" | "query"); time (of the collection, microseconds since 1970); optionally
--- log_level, database_column and timestamp_column (columns that give a record's database and time instead of becoming
--- fields), masked_column (a column of SQL, in which literals after PASSWORD read '***')
---@return dbobs.writer
function M.writer(envelope, given)
  local all = {}
  for name, value in pairs(envelope) do all[name] = value end
  for name, value in pairs(given or {}) do all[name] = value end
  options.check(all, OPTIONS, "dbobs.record.writer", 2)
  return setmetatable({ core = core.writer(all) }, writer)
end

--- Sends a record for each row, waiting while the sink has no room.
---@param chunk dbobs.chunk rows, as run:snapshot and db:stream give them
---@param sink dbobs.sink the topic
---@param batch dbobs.batch|nil counts their delivery
---@return boolean|nil ok, string|nil error "record.rows: <cause>"
function writer:rows(chunk, sink, batch)
  local row = 0
  while true do
    local done, cause = self.core:rows(chunk, sink, batch, row)
    if type(done) ~= "number" then return done, cause end
    row = done
    task.wait(sink)
  end
end

--- SQL with each literal after PASSWORD read as '***'.
---@param sql string
---@return string
M.mask_passwords = core.mask_passwords

return M
