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

-- "app_*" as a condition in SQL. The escape character is not the backslash, which old servers read in their own way.
local function is_like(glob)
  local pattern = tostring(glob):gsub("[!%%_]", "!%0"):gsub("%*", "%%"):gsub("%?", "_"):gsub("'", "''")
  return ("datname like '%s' escape '!'"):format(pattern)
end

local function is_like_any(globs)
  local conditions = {}
  for i, glob in ipairs(globs) do conditions[i] = is_like(glob) end
  return "(" .. table.concat(conditions, " or ") .. ")"
end

--- The condition in SQL that a target's options `databases` and `exclude_databases` set on the column datname. They are
--- lists of names, in which * stands for any text and ? for one character.
---@param options {databases: string[]|nil, exclude_databases: string[]|nil}
---@return string sql
function M.wanted(options)
  local included, excluded = options.databases or {}, options.exclude_databases or {}
  return ("(%s and not %s)"):format(#included > 0 and is_like_any(included) or "true",
    #excluded > 0 and is_like_any(excluded) or "false")
end

return M
