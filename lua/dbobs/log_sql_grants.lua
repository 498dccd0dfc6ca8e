--- What a role needs to read the server's log over SQL, and the statements that give it: shown by `dbobs check`, and by
--- a collector that lacks it.
local errors = require "dbobs.postgres_error"

local M = {}

--- The careful way: functions of a superuser that read the files of log_directory and nothing else. Found by their name
--- when a superuser owns them.
M.HELPER = [[
CREATE SCHEMA IF NOT EXISTS dbobs;
CREATE OR REPLACE FUNCTION dbobs.log_files(OUT name text, OUT size bigint, OUT modified timestamptz)
RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT name, size, modification FROM pg_ls_logdir() $$;
CREATE OR REPLACE FUNCTION dbobs.log_read(file text, at bigint, bytes bigint) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF file !~ '^[^./\\:][^/\\:]*$' OR NOT EXISTS (SELECT FROM pg_ls_logdir() AS f WHERE f.name = file) THEN
    RETURN NULL;
  END IF;
  RETURN pg_read_binary_file(current_setting('log_directory') || '/' || file, at, least(bytes, 16777216), true);
END $$;
REVOKE ALL ON FUNCTION dbobs.log_files(), dbobs.log_read(text, bigint, bigint) FROM PUBLIC;
GRANT USAGE ON SCHEMA dbobs TO :role;
GRANT EXECUTE ON FUNCTION dbobs.log_files(), dbobs.log_read(text, bigint, bigint) TO :role;]]

local MONITOR = "GRANT pg_monitor TO :role;"
local READ = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO :role;"
local SERVER_FILES = "GRANT pg_read_server_files TO :role;"

--- What the role may do; one row. helper: the functions above are there and it may call them.
M.ASK = [[
select current_user as role, current_database() as database, current_setting('server_version_num')::int as version,
  has_function_privilege('pg_catalog.pg_ls_logdir()', 'execute') as may_list,
  has_function_privilege('pg_catalog.pg_read_binary_file(text,bigint,bigint,boolean)', 'execute') as may_read,
  pg_has_role('pg_read_server_files', 'usage') as may_read_all,
  (select setting from pg_catalog.pg_settings where name = 'log_directory') as directory,
  (select count(*) = 2 from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     join pg_catalog.pg_roles r on r.oid = p.proowner
   where n.nspname = 'dbobs' and r.rolsuper and p.prosecdef and has_schema_privilege(n.oid, 'usage')
     and has_function_privilege(p.oid, 'execute')
     and (p.proname = 'log_files' and p.pronargs = 0
       or p.proname = 'log_read' and p.proargtypes::regtype[]::text = '[0:2]={text,bigint,bigint}')) as helper]]

-- A server that a role may read without the helper has its logs below its data directory, or anywhere by an absolute
-- path.
local function is_reachable(may)
  return may.may_read_all or not may.directory or not may.directory:find("..", 1, true)
end

local function for_role(text, may)
  local role = errors.quote_identifier(may.role):gsub("%%", "%%%%")
  return (text:gsub(":role", role))
end

--- How the role reads the log.
---@param may table the row of ASK
---@return "helper"|"direct"|nil way nil: it may not
---@return string|nil problem what is missing, and the statements that give it
function M.way(may)
  if may.helper then return "helper" end
  local missing = {}
  if not may.may_list or not may.directory then missing[#missing + 1] = MONITOR end
  if not may.may_read then missing[#missing + 1] = READ end
  if not is_reachable(may) then missing[#missing + 1] = SERVER_FILES end
  if #missing == 0 then return "direct" end
  -- On one line, for a log; statements that can be copied from there.
  return nil, for_role(("role %s may not read the server's log over SQL. As superuser, in database %s: %s Or, the "
    .. "careful way, for that lets the role read every file of the data directory, functions that read the log alone: "
    .. "%s"):format(may.role, may.database, table.concat(missing, " "), (M.HELPER:gsub("%s+", " "))), may)
end

--- The statements of the careful way for a role.
---@param may table the row of ASK
---@return string
function M.helper(may)
  return for_role(M.HELPER, may)
end

return M
