--- The rights that dbobs needs in a server: the SQL that gives a role what it lacks, and the script that creates the
--- role with the least of them. Nothing here holds a password.
local errors = require "dbobs.postgres_error"
local log_grants = require "dbobs.log_sql_grants"

local M = {}

--- What the role has; one row.
M.ASK = [[
select current_user as role, current_database() as database,
  pg_has_role(current_user, 'pg_monitor', 'usage') as monitors,
  (select string_agg(extname, ' ') from pg_extension) as extensions,
  (select setting from pg_settings where name = 'shared_preload_libraries') as preloaded]]

-- Extensions that work only when the server has loaded their library at its start.
local PRELOADED = { pg_stat_statements = true }

local function has_word(text, word)
  for one in (text or ""):gmatch "[%w_]+" do
    if one == word then return true end
  end
  return false
end

-- The extensions that collectors want, in order and once each.
local function extensions_of(collectors)
  local names, known = {}, {}
  for _, collector in ipairs(collectors) do
    for _, name in ipairs(collector.extensions or {}) do
      if not known[name] then names[#names + 1] = name end
      known[name] = true
    end
  end
  return names
end

local function preload_lines(name)
  return {
    ("-- The server must load %s: add it to shared_preload_libraries, and restart the server:"):format(name),
    ("--   ALTER SYSTEM SET shared_preload_libraries = '%s';  -- behind what is there already, with a comma")
      :format(name),
  }
end

--- The statements that a superuser runs in the database so that the role has what the collectors want.
---@param has table the row of ASK
---@param collectors {extensions: string[]|nil}[]
---@return string[] lines of SQL; none when nothing is missing that is known here
function M.missing(has, collectors)
  local lines = {}
  if not has.monitors then
    lines[#lines + 1] = ("GRANT pg_monitor TO %s;"):format(errors.quote_identifier(has.role))
  end
  for _, name in ipairs(extensions_of(collectors)) do
    if not has_word(has.extensions, name) then
      -- Who may not see the setting is told nonetheless: the statement says so when the library is there already.
      if PRELOADED[name] and not has_word(has.preloaded, name) then
        for _, line in ipairs(preload_lines(name)) do lines[#lines + 1] = line end
      end
      lines[#lines + 1] = ("CREATE EXTENSION IF NOT EXISTS %s;"):format(name)
    end
  end
  return lines
end

local function quote_literal(text)
  local quoted = "'" .. text:gsub("'", "''") .. "'"
  return text:find("\\", 1, true) and " E" .. quoted:gsub("\\", "\\\\") or quoted
end

local ROLE = [[
DO $dbobs$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s) THEN
    CREATE ROLE %s LOGIN;
  END IF;
END $dbobs$;
GRANT pg_monitor TO %s;
-- The password: from psql's variable (psql -v password=...), else psql asks for it and sends it encrypted.
\if :{?password}
ALTER ROLE %s PASSWORD :'password';
\else
\password %s
\endif
]]

local function in_database(database, role, extensions, reads_log)
  local lines = {}
  if database then
    lines[1] = ("\\connect -reuse-previous=on %s"):format(errors.quote_identifier(database))
    lines[2] = ("GRANT CONNECT ON DATABASE %s TO %s;"):format(errors.quote_identifier(database), role)
  end
  for _, name in ipairs(extensions) do
    if PRELOADED[name] then
      for _, line in ipairs(preload_lines(name)) do lines[#lines + 1] = line end
    end
    lines[#lines + 1] = ("CREATE EXTENSION IF NOT EXISTS %s;"):format(name)
  end
  if reads_log then
    lines[#lines + 1] = "-- The server's log over SQL: functions of a superuser that read the log files alone."
    lines[#lines + 1] = log_grants.HELPER:gsub(":role", (role:gsub("%%", "%%%%")))
  end
  return table.concat(lines, "\n") .. "\n"
end

--- The psql script that creates the role of some targets with the least rights; it may be run again.
---@param target table one of them, see dbobs.target
---@param collectors table[] what is collected there
---@return string sql
function M.script(target, collectors)
  local role = errors.quote_identifier(target.user or "dbobs")
  local options = target.options
  local reads_log = options.log_source == "sql" and not options.log_queries
  return ROLE:format(quote_literal(target.user or "dbobs"), role, role, role, role)
    .. in_database(target.database, role, extensions_of(collectors), reads_log)
end

return M
