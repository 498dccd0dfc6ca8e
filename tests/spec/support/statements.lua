--- For specs of the queries collector: a run that reads new texts at each collection, and finding records. Statements
--- that differ in names alone are one to the server: those of one spec differ in more.
local collector = require "support.collector"
local queries = require "collectors.queries"

local M = {}

--- A run on a server, for support.collector.again.
---@param server table
---@param options table|nil the collector's
---@param more table|nil of the target
function M.start(server, options, more)
  local all = { text_every = "0s" }
  for name, value in pairs(options or {}) do all[name] = value end
  return collector.run(queries, server:target(more), all)
end

--- The records of statements whose text has `part` in it.
---@return table[] records
function M.with(records, part)
  local found = {}
  for _, one in ipairs(records) do
    if one.payload.query:find(part, 1, true) then found[#found + 1] = one end
  end
  return found
end

--- The only one.
---@return table record
function M.one_with(records, part)
  local found = M.with(records, part)
  if #found == 1 then return found[1] end
  error(("%d records of '%s' among %d"):format(#found, part, #records), 2)
end

return M
