--- What to say when PostgreSQL says no: one line with the cause, its SQLSTATE and what to do. Never a password.
local M = {}

-- libpq's words on one line, without its guesses where we have advice of our own.
local function on_one_line(text)
  text = text:gsub("\n\tIs the server running[^\n]*", ""):gsub("\n\tThis probably means[^\n]*\n[^\n]*", "")
  return (text:gsub("%s+", " "):gsub("%s+$", ""))
end

--- A name as SQL takes it.
---@param name string
---@return string
function M.quote_identifier(name)
  return '"' .. name:gsub('"', '""') .. '"'
end

-- What helps against a refusal while connecting, by SQLSTATE.
local CONNECT_STATES = {
  ["28P01"] = "check user and password; a password comes from the options password, passfile or password_command, from "
    .. "PGPASSWORD or from ~/.pgpass (which counts only when nobody else may read it)",
  ["28000"] = "check the user, and that the server's pg_hba.conf lets it in from here",
  ["3D000"] = "check the option dbname",
  ["42501"] = "GRANT CONNECT ON DATABASE ... TO that user",
  ["53300"] = "the server has no connection left: raise max_connections there, or lower what is connected",
  ["57P03"] = "the server is starting, recovering or shutting down: it is worth trying again",
}

-- The same by what libpq says before the server is asked. Plain texts, in this order.
local CONNECT_TEXTS = {
  { "no password supplied", CONNECT_STATES["28P01"] },
  { "looking the host name up", "check the host name and this machine's name servers" },
  { "could not translate host name", "check the option host, and that this machine's name servers answer" },
  { "password_command", "run the command by hand as the user that dbobs runs as" },
  { "Connection refused", "nothing listens there: check host, port, that the server runs, and its listen_addresses" },
  { "No such file or directory", "no server has its socket there: check host (the socket's directory) and port" },
  { "no answer within", "check host, port and firewalls; a busy server may need a longer connect_timeout" },
  { "it accepts the connection", "the server hangs, or something else listens there; option connect_timeout" },
  { "server does not support SSL", "set ssl = on in the server, or lower the option sslmode" },
  { "certificate verify failed", "the option sslrootcert must name who signed the server's certificate" },
  { "does not match host name", "the certificate is another host's: check the option host" },
  { "invalid response to SSL negotiation", "what listens there is no PostgreSQL: check the option port" },
  { "expected authentication request", "what listens there is no PostgreSQL: check the option port" },
  { "unsupported startup parameter", "pgbouncer takes no such option: leave it out, or add it to pgbouncer's setting "
    .. "ignore_startup_parameters" },
  { "no such database", "add it, or '*', to pgbouncer's section [databases]" },
  { "server closed the connection unexpectedly", "the server is restarting, or what listens there is no PostgreSQL" },
}

local PRELOAD = "put pg_stat_statements into shared_preload_libraries in postgresql.conf, restart the server, then "
  .. "CREATE EXTENSION pg_stat_statements in this database"

-- Functions that pg_monitor does not cover.
local FILE_FUNCTIONS = {
  pg_read_file = true, pg_read_binary_file = true, pg_stat_file = true, pg_ls_dir = true, pg_current_logfile = true,
}

local PRIVILEGES = {
  table = "SELECT ON TABLE", view = "SELECT ON TABLE", schema = "USAGE ON SCHEMA", sequence = "USAGE ON SEQUENCE",
  ["function"] = "EXECUTE ON FUNCTION", database = "CONNECT ON DATABASE",
}

-- The GRANT that a refused statement lacks, as far as its message tells.
local function missing_grant(message, user)
  local role = M.quote_identifier(user)
  local kind, name = message:match "permission denied for (%w+) ([%w_\"]+)"
  name = name and name:gsub('"', "")
  if not name then return ("for the server's statistics, as superuser: GRANT pg_monitor TO %s"):format(role) end
  if FILE_FUNCTIONS[name] then return ("as superuser: GRANT EXECUTE ON FUNCTION %s TO %s"):format(name, role) end
  if name:find "^pg_" then return ("as superuser: GRANT pg_monitor TO %s"):format(role) end
  return ("as its owner: GRANT %s %s TO %s"):format(PRIVILEGES[kind] or "the privilege on", name, role)
end

local function statement_advice(failure, user)
  local state, message = failure.sqlstate, failure.message or ""
  if state == "42501" then return missing_grant(message, user) end
  local missing = state == "42P01" or state == "55000" or state == "42883"
  if missing and message:find("pg_stat_statements", 1, true) then return PRELOAD end
  if message:find("admin console", 1, true) then
    return "'pgbouncer' is pgbouncer's own console and no database: connect to a database (option dbname)"
  end
  if message:find("statement pooling", 1, true) then
    return "dbobs reads in transactions: set pgbouncer's pool_mode = transaction (or session) for this user or database"
  end
  if state == "57P01" or state == "57P02" then return "the server is shutting down, or an administrator ended it" end
  if state == "55P03" then return "another session holds the lock; nothing was waited for longer than lock_timeout" end
end

local function connect_advice(cause, state)
  if CONNECT_STATES[state] then return CONNECT_STATES[state] end
  for _, entry in ipairs(CONNECT_TEXTS) do
    if cause:find(entry[1], 1, true) then return entry[2] end
  end
end

-- Whether the same may well succeed a little later without anybody changing anything.
local function is_passing(state)
  return state == nil or state:find "^08" ~= nil or state:find "^57P0" ~= nil or state == "53300"
end

-- Whether the server does not want this user in this database, rather than being unable: pg_hba.conf, the privilege
-- CONNECT, datallowconn, and datconnlimit, whose SQLSTATE says that there are too many connections of all. And a pooler
-- that does not know the database.
local function is_refusal(state, cause)
  if state == "08P01" then return cause:find("no such database", 1, true) ~= nil end
  if state == "53300" then return cause:find "LOCATION:%s+CheckMyDatabase" ~= nil end
  return state ~= nil and (state:find "^28" ~= nil or state == "42501" or state == "55000")
end

--- The error of a connection that could not be made.
---@param cause string libpq's message, with the server's verbose one in it
---@param timed_out boolean
---@return string text, table info {message, sqlstate, retryable, timeout, refused}
function M.of_connect(cause, timed_out)
  local state
  local text = cause:gsub("\nLOCATION:[^\n]*", "")
  text = text:gsub(":  (%d[%dA-Z][%dA-Z][%dA-Z][%dA-Z]): ", function(code)
    state = code
    return ":  "
  end)
  text = on_one_line(text)
  local advice = connect_advice(cause, state)
  local info = { message = text, sqlstate = state, retryable = is_passing(state), timeout = timed_out, lost = true,
    refused = is_refusal(state, cause) }
  if state then text = ("%s (%s)"):format(text, state) end
  if advice then text = text .. "; " .. advice end
  return "postgres.connect: " .. text, info
end

--- The error of a statement.
---@param what string "query", ...
---@param failure table the server's fields
---@param user string the role, for grants
---@return string text, table info the fields, and retryable, timeout
function M.of_statement(what, failure, user)
  local text = ("postgres.%s: %s"):format(what, on_one_line(failure.message or "unknown error"))
  if failure.sqlstate then text = ("%s (%s)"):format(text, failure.sqlstate) end
  local advice = statement_advice(failure, user) or failure.hint
  if advice then text = text .. "; " .. advice end
  failure.retryable = is_passing(failure.sqlstate or "?")
  return text, failure
end

--- The error of a connection that was lost.
function M.of_loss(what, cause, state)
  return M.of_statement(what, { message = cause, sqlstate = state, lost = true })
end

--- What is wrong with a connection string, without quoting any of it that might be a password.
---@param cause string libpq's message
---@param known fun(name: string): boolean whether the name is a parameter's
---@param nearest fun(name: string): string|nil
---@return string
function M.of_parse(cause, known, nearest)
  local text = cause:gsub("%s+$", ""):gsub('"([^"]*)"', function(quoted)
    if known(quoted) or quoted:find "^%p$" then return "'" .. quoted .. "'" end
    local meant = nearest(quoted)
    if meant then return ("'%s' (did you mean '%s'?)"):format(quoted, meant) end
    return "'...'"
  end)
  return text
end

return M
