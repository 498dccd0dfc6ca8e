--- What the metrics of a target say about where they come from, and which of its databases are wanted.
local sys = require "dbobs.core.sys"

local M = {}

--- The resource attributes of a target, or of one of its databases, as pairs.
---@param target table see dbobs.target
---@param options {service_name: string}
---@param database string|nil
---@return (string|number)[][] pairs
function M.attributes(target, options, database)
  -- A server on this machine is named as others know it.
  local host = target.is_local and sys.hostname() or target.host_name
  local pairs_of = {
    { "service.instance.id", ("%s:%d"):format(host, target.port_number) },
    { "service.name", options.service_name },
    { "deployment.environment", target.environment },
    { "host.name", host },
    { "db.system", "postgresql" },
    { "server.address", target.host_name },
    { "server.port", target.port_number },
  }
  if database then
    pairs_of[#pairs_of + 1] = { "postgresql.database.name", database }
    pairs_of[#pairs_of + 1] = { "db.name", database }
  end
  return pairs_of
end

-- "app_*" to a Lua pattern.
local function to_pattern(glob)
  return "^" .. glob:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

local function matches_any(name, globs)
  for _, glob in ipairs(globs) do
    if name:find(to_pattern(glob)) then return true end
  end
  return false
end

--- Whether a database is wanted by the target's options `databases` and `exclude_databases`: lists of names, in which *
--- stands for any text and ? for one character.
---@param options {databases: string[]|nil, exclude_databases: string[]|nil}
---@param name string
---@return boolean
function M.is_selected(options, name)
  if options.databases and not matches_any(name, options.databases) then return false end
  return not matches_any(name, options.exclude_databases or {})
end

return M
