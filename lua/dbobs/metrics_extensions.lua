--- Blocks of the metrics collector that need an extension: where it is, and what to do where it is not.
local json = require "cjson"

local M = {}

--- An SQL expression: the extensions of the database that can be used, with their schemas, as a JSON object or NULL.
--- pg_stat_statements has no setting while it is not loaded, and then its view only raises an error.
M.LIST = [[(select json_object_agg(e.extname, quote_ident(n.nspname))
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace
  where e.extname <> 'pg_stat_statements' or current_setting('pg_stat_statements.max', true) is not null)]]

--- What LIST returned, as a table.
---@param text string|nil
---@return table<string, string> schemas by extension
function M.read(text)
  return text and json.decode(text) or {}
end

--- Whether one of the blocks needs an extension.
---@param blocks dbobs.metrics.block[]
---@return boolean
function M.needed(blocks)
  for _, block in ipairs(blocks) do
    if block.extensions then return true end
  end
  return false
end

--- The block's statement in a database: {name} in it is the object of that name in the extension's schema.
---@param block dbobs.metrics.block
---@param found table<string, string> see read
---@return string|nil sql nil when an extension is missing
---@return string|nil missing
---@return boolean|nil applies the block's first extension is there: the database is meant to have these metrics
function M.statement(block, found)
  for i, name in ipairs(block.extensions or {}) do
    if not found[name] then return nil, name, i > 1 end
  end
  if not block.extensions then return block.sql end
  return (block.sql:gsub("{([%w_]+)}", function(name) return found[name] .. "." .. name end))
end

--- What to do to have an extension.
---@param name string
---@param database string
---@return string
function M.advice(name, database)
  local create = ("run in database %s: CREATE EXTENSION %s"):format(database, name)
  if name ~= "pg_stat_statements" then return create end
  return "add pg_stat_statements to shared_preload_libraries, restart the server, and " .. create
end

return M
