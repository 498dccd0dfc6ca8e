--- Parameters of PostgreSQL connections: which there are, what is wrong with given ones, what they mean.
local core = require "dbobs.core.pg"
local strings = require "dbobs.core.pgparams"
local errors = require "dbobs.postgres_error"
local options = require "dbobs.options"
local sys = require "dbobs.core.sys"

local M = {}

local CONNECT_TIMEOUT = 10

-- Our own parameters beside libpq's. connect_timeout is libpq's name, but takes a duration as well.
local OWN = { connect_timeout = true, statement_timeout = true, password_command = true }

local keywords, is_keyword

--- The connection parameters that libpq knows.
---@return string[]
function M.known()
  if not keywords then
    keywords, is_keyword = strings.keywords(), {}
    for _, name in ipairs(keywords) do is_keyword[name] = true end
  end
  return keywords
end

local function known_names()
  local names = { unpack(M.known()) }
  for name in pairs(OWN) do
    if not is_keyword[name] then names[#names + 1] = name end
  end
  return names
end

-- A connection string may hold a password anywhere once its marks are misplaced: only checked parts of it are repeated.
local function parse(text)
  local given, cause = strings.parse(text)
  if not given then
    if text:find('"', 1, true) then cause = cause:match '^[^"]*' end
    local function known(name) return is_keyword[name] == true end
    local function nearest(name) return options.nearest(name, keywords) end
    M.known()
    return nil, "the connection string is malformed: " .. errors.of_parse(cause, known, nearest)
  end
  if given.host and given.host:find "@" then
    return nil, "the connection string's host has an '@': inside a password write it as %40"
  end
  if given.port and given.port:find "[^%d,]" then
    return nil, "the connection string's port is no number: inside a password write ':' as %3A, '/' as %2F, '@' as %40"
  end
  return given
end

-- Where a whole connection string, password and all, would be repeated in errors, or go into every record as the host;
-- and the environment variables of these parameters.
local QUOTED = { host = "PGHOST", hostaddr = "PGHOSTADDR", port = "PGPORT", dbname = "PGDATABASE",
  service = "PGSERVICE" }
local MISPLACED = "%s holds a connection string: write its parts as host, port, user, ... (or pass the whole text to "
  .. "dbobs.postgres.connect)"

local function is_connection_string(value)
  return type(value) == "string" and (value:find("://", 1, true) or value:lower():find "%f[%w]password%s*=") ~= nil
end

-- The value itself is not repeated.
local function misplaced(given)
  for name in pairs(QUOTED) do
    if is_connection_string(given[name]) then return MISPLACED:format(("parameter '%s'"):format(name)) end
  end
end

--- The same for what parameters leave to the environment and the service file.
---@param libpq table<string, string> from settle
---@return string|nil problem
function M.misplaced_outside(libpq)
  for name, variable in pairs(QUOTED) do
    if not libpq[name] and is_connection_string(os.getenv(variable)) then
      return MISPLACED:format(("environment variable '%s'"):format(variable))
    end
  end
  if libpq.service or os.getenv "PGSERVICE" then return misplaced(core.effective(libpq) or {}) end
end

local function check_types(given)
  M.known()
  for name, value in pairs(given) do
    if not is_keyword[name] and not OWN[name] then
      return ("unknown parameter '%s'%s"):format(tostring(name), options.hint(tostring(name), known_names()))
    end
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      return ("parameter '%s' must be a text or a number, got %s"):format(name, kind)
    end
  end
end

local function seconds(given, name, fallback)
  local value = given[name]
  if value == nil or value == "" then return fallback end
  local number = tonumber(value)
  if number and number >= 0 then return number end
  local ok, duration = pcall(sys.duration, value)
  if ok then return duration end
  return nil, ("parameter '%s' must be a duration like \"10s\", got '%s'"):format(name, tostring(value))
end

--- Splits parameters into libpq's, as texts, and our own.
---@param given table|string
---@return table|nil settings {libpq, connect_timeout|nil, statement_timeout, password_command|nil}; times in seconds
---@return string|nil problem
function M.settle(given)
  if type(given) == "string" then
    local parsed, problem = parse(given)
    if not parsed then return nil, problem end
    given = parsed
  end
  if type(given) ~= "table" then
    return nil, ("a table of parameters or a connection string expected, got %s"):format(type(given))
  end
  local problem = check_types(given) or misplaced(given)
  if problem then return nil, problem end
  local settings = { libpq = {}, password_command = given.password_command }
  for name, value in pairs(given) do
    if not OWN[name] then
      if type(value) == "boolean" then value = value and "1" or "0" end
      settings.libpq[name] = tostring(value)
    end
  end
  settings.connect_timeout, problem = seconds(given, "connect_timeout")
  if problem then return nil, problem end
  settings.statement_timeout, problem = seconds(given, "statement_timeout", 0)
  if problem then return nil, problem end
  return settings
end

--- What parameters mean after defaults, environment and service file. Nothing is connected to.
---@param given table|string parameters or a connection string
---@return table|nil effective host, port, dbname, user and every other parameter that has a value, but for secrets
---@return string|nil cause
function M.effective(given)
  local settings, problem = M.settle(given)
  if not settings then return nil, "postgres.effective: " .. problem end
  problem = M.misplaced_outside(settings.libpq)
  if problem then return nil, "postgres.effective: " .. problem end
  local effective, cause = core.effective(settings.libpq)
  if not effective then return nil, "postgres.effective: " .. cause end
  effective.port = effective.port or "5432"
  return effective
end

--- The connect timeout of environment or service file, in seconds, for parameters without one. libpq leaves it to its
--- blocking calls, so it is ours to know.
function M.default_timeout(libpq)
  if libpq.service or os.getenv "PGSERVICE" then
    local effective = core.effective(libpq)
    return effective and tonumber(effective.connect_timeout) or CONNECT_TIMEOUT
  end
  return tonumber(os.getenv "PGCONNECT_TIMEOUT") or CONNECT_TIMEOUT
end

return M
