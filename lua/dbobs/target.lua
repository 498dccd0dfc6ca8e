--- Targets: the PostgreSQL servers of a pipeline, with what of them belongs into every record.
local env = require "dbobs.environment"
local options = require "dbobs.options"
local postgres = require "dbobs.postgres"

local M = {}

---@class dbobs.target an entry of targets.lua: every parameter of libpq under its own name, and ours
---@field name string|nil what it goes by in logs and files; its host when it is left out
---@field host string|nil
---@field port string|number|nil
---@field dbname string|nil the database for what concerns the whole server
---@field user string|nil
---@field password string|nil better a passfile, or:
---@field password_command string|nil a shell command that prints the password; run at each connect
---@field environment string|nil $ENVIRONMENT, or "development", when it is left out
---@field tags table<string, string>|nil of all its records
---@field connect_timeout string|number|nil a duration for each host, 10 s by default
---@field statement_timeout string|number|nil a duration
---@field lock_timeout string|number|nil a duration
---@field databases string[]|nil patterns of the databases that are looked at one by one
---@field exclude_databases string[]|nil patterns of those that are not
---@field connections integer|nil how many connections to single databases are kept
---@field log_file string|nil a file, a pattern or a directory
---@field log_source "file"|"sql"|nil ask the server where its log is; read it as a file, or over the connection
---@field log_directory string|nil where the server's log directory is seen from here, with log_source = "file"
---@field log_format "jsonlog"|"csvlog"|"stderr"|nil
---@field log_timezone string|nil the server's
---@field log_line_prefix string|nil the server's
---@field log_queries function|nil other SQL to read logs by, see targets.lua

-- Our own options of a target; every other one is libpq's.
M.own = {
  name = "string",
  environment = "string",
  tags = "table",
  password_command = "string",
  connect_timeout = "duration",
  log_source = { one = { "file", "sql" } },
  log_queries = "function",
  log_file = "string",
  log_directory = "string",
  log_format = { one = { "jsonlog", "csvlog", "stderr" } },
  log_timezone = "string",
  log_line_prefix = "string",
  databases = "table",
  exclude_databases = "table",
  connections = "number",
  statement_timeout = "duration",
  lock_timeout = "duration",
}

local function known_options()
  local known = {}
  for _, keyword in ipairs(postgres.parameters()) do known[keyword] = "string|number" end
  for name, kind in pairs(M.own) do known[name] = kind end
  return known
end

local DEFAULT_PORT = 5432

-- What a type does not say.
local function check_values(given, what)
  local connections = given.connections
  if connections and (connections < 0 or connections % 1 ~= 0) then
    return ("%s: option 'connections' must be a whole number from 0, got %g"):format(what, connections)
  end
  for _, list in ipairs { "databases", "exclude_databases" } do
    for _, pattern in pairs(given[list] or {}) do
      if type(pattern) ~= "string" then
        return ("%s: option '%s' must be a list of texts, like { 'app', 'shop_*' }"):format(what, list)
      end
    end
  end
end

local function check_tags(tags, what)
  for name, value in pairs(tags) do
    if type(name) ~= "string" or type(value) ~= "string" then
      return ("%s: option 'tags' must map texts to texts, like { team = 'billing' }"):format(what)
    end
  end
end

-- The host of the records: as configured; a socket directory or a list of hosts is no host, there the name stands.
local function record_host(target, effective)
  local host = effective.host
  if not host or host == "" or host:find "^[/@]" or host:find "," then return target.name end
  return host
end

-- Whether the server runs on this machine: a socket directory (also libpq's own default) or a loopback address.
local function is_local(effective)
  local host = effective.host or effective.hostaddr or ""
  return host == "" or host == "localhost" or host == "::1" or host:find "^127%.%d" ~= nil or host:find "^[/@]" ~= nil
end

--- Checks one entry of targets.lua and completes it.
---@param given table libpq parameters and our options
---@return table|nil target with name, host_name (of the records), port_number, is_local, database, parameters for libpq
---@return string|nil problem
function M.new(given)
  if type(given) ~= "table" then return nil, ("a target must be a table, got %s"):format(type(given)) end
  local title = tostring(given.name or given.host or given.service or "?")
  if title:find("://", 1, true) or title:find "=" then title = "?" end -- a connection string, password and all
  local what = ("target '%s'"):format(title)
  local problem = options.problem(given, known_options(), what) or check_tags(given.tags or {}, what)
    or check_values(given, what)
  if problem then return nil, problem end

  local parameters = {}
  for name, value in pairs(given) do
    if not M.own[name] or name == "password_command" or name == "connect_timeout" then parameters[name] = value end
  end
  local effective, cause = postgres.effective(parameters)
  if not effective then return nil, ("%s: %s"):format(what, cause) end
  local host = record_host(given, effective)
  if not host then
    return nil, what
      .. ": a Unix socket or a list of hosts needs the option 'name', which stands as host in the records"
  end
  local port = tonumber((tostring(effective.port or DEFAULT_PORT):match "^%d+")) or DEFAULT_PORT
  return {
    -- What logs, counters and checkpoints go by: two servers of one host must differ.
    name = given.name or (port == DEFAULT_PORT and host or ("%s:%d"):format(host, port)),
    host_name = host,
    port_number = port,
    is_local = is_local(effective),
    database = effective.dbname,
    user = effective.user,
    environment = given.environment or env.get("ENVIRONMENT", "development"),
    tags = given.tags or {},
    parameters = parameters,
    options = given,
  }
end

return M
