--- What the metrics of a target say about where they come from, and which of its databases are wanted.
local postgres = require "dbobs.postgres"
local sys = require "dbobs.core.sys"

local M = {}

-- Under which the receiver makes the names of instances in its model of the semantic conventions.
local NAMESPACE = ("4d63009a8d0f11eeaad74c796ed8e320"):gsub("%x%x", function(hex)
  return string.char(tonumber(hex, 16))
end)

-- The file of the server's socket, when that is how it is reached.
local function socket_of(target)
  local host = (postgres.effective(target.parameters) or {}).host or ""
  return host:find "^[/@]" and not host:find "," and ("%s/.s.PGSQL.%d"):format(host, target.port_number) or nil
end

local function add(list, name, value)
  list[#list + 1] = { name, value }
end

local function common(target, options, host)
  return {
    { "service.name", options.service_name },
    { "deployment.environment", target.environment },
    { "host.name", host },
    { "db.system", "postgresql" },
    { "server.port", target.port_number },
  }
end

-- One resource for the whole server; what a point is about is said by its own attributes.
local function of_server(target, options, host)
  local list, socket = common(target, options, host), socket_of(target)
  local instance = socket and table.concat({ "unix", host, socket }, "\0") or ("%s:%d"):format(host, target.port_number)
  add(list, "server.address", socket or target.host_name)
  add(list, "service.instance.id", assert(sys.uuid5(NAMESPACE, instance)))
  return list
end

--- The resource attributes of a target, or of one of its databases, as pairs.
---@param target table see dbobs.target
---@param options {service_name: string, use_otel_semconv: boolean}
---@param database string|nil
---@return (string|number)[][] pairs
function M.attributes(target, options, database)
  -- A server on this machine is named as others know it.
  local host = target.is_local and sys.hostname() or target.host_name
  if options.use_otel_semconv then return of_server(target, options, host) end
  local list = common(target, options, host)
  add(list, "server.address", target.host_name)
  add(list, "service.instance.id", ("%s:%d"):format(host, target.port_number))
  if database then
    add(list, "postgresql.database.name", database)
    add(list, "db.name", database)
  end
  return list
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
