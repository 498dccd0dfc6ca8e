--- Statements as a guest in somebody's database: read-only, in one transaction and one round trip, limited in time and
--- in waiting for locks, marked as ours. No SET and no startup option: they would stay behind in a pooler's
--- connection.
local errors = require "dbobs.postgres_error"
local sys = require "dbobs.core.sys"

local M = {}

--- What the statements begin with; collectors leave out of their reports what begins like this.
M.MARK = "/* dbobs */ "

-- From version 18 on pg_stat_statements drops comments before a statement: there the mark stands behind the first word
-- as well.
local function marked(sql)
  return M.MARK .. sql:gsub("^(%s*%a+) ?", "%1 " .. M.MARK, 1)
end

local STATEMENT_TIMEOUT, LOCK_TIMEOUT, IDLE_TIMEOUT = 20, 0.1, 60
-- The server's own limit comes first; the client's is for a server that does not answer at all.
local CLIENT_MARGIN = 5
-- Statements of the round trip before the caller's.
local PREAMBLE = 2

-- A SQL_ASCII database may hold bytes that are no UTF-8: asked for UTF-8, the server would refuse the whole result.
local SETTINGS = marked [[select set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true),
  set_config('idle_in_transaction_session_timeout', $3, true), set_config('timezone', 'UTC', true),
  set_config('datestyle', 'ISO, YMD', true), set_config('intervalstyle', 'postgres', true),
  set_config('extra_float_digits', '1', true), set_config('bytea_output', 'hex', true), set_config('jit', 'off', true),
  set_config('client_encoding', case current_setting('server_encoding') when 'SQL_ASCII' then 'SQL_ASCII'
    else 'UTF8' end, true)]]

local function milliseconds(duration, default)
  local seconds = duration and sys.duration(duration) or default
  return ("%d"):format(math.max(seconds * 1000, 1))
end

local function round_trip(statements, given)
  local list = {
    { marked "begin read only" },
    {
      SETTINGS,
      milliseconds(given.statement_timeout, STATEMENT_TIMEOUT),
      milliseconds(given.lock_timeout, LOCK_TIMEOUT),
      milliseconds(nil, IDLE_TIMEOUT),
    },
  }
  for _, statement in ipairs(statements) do
    local arguments = statement.args or {}
    local count = arguments.n or table.maxn(arguments)
    list[#list + 1] = { marked(statement.sql), n = count + 1, unpack(arguments, 1, count) }
  end
  list[#list + 1] = { M.MARK .. "commit" }
  return list
end

-- Runs the statements up to the first that fails. Returns nil when none did; else its index and error; false and the
-- error when nothing can go on.
local function attempt(db, statements, given)
  local function each(index, chunk)
    local statement = statements[index - PREAMBLE]
    if statement and statement.each then statement.each(chunk) end
  end
  local results, cause, info = db:pipeline(round_trip(statements, given), { each = each, rows = given.rows })
  if results then return nil end
  local index = info and info.statement and not info.lost and info.statement - PREAMBLE
  -- The server waits in the failed transaction until it is told to end it.
  if index and db:query(M.MARK .. "rollback") and statements[index] then
    info.text = cause:gsub("^postgres%.pipeline: statement %d+: ", "")
    return index, info
  end
  return false, { cause, info }
end

local function rest(statements, first)
  local list = {}
  for i = first, #statements do list[#list + 1] = statements[i] end
  return list
end

--- Runs statements in one read-only transaction. When one fails, what those before it brought is kept, and those
--- behind it are sent again without it, in a transaction of their own. A statement's `each` is given the rows in chunks
--- as they come; a chunk is valid during the call.
---@param db dbobs.connection
---@param statements {name: string, sql: string, args: table|nil, each: fun(chunk: userdata)|nil}[]
---@param given {statement_timeout: string|number|nil, lock_timeout: string|number|nil, rows: integer|nil}|nil
---@return table<string, table>|nil failures by name: {text, message, sqlstate, detail, ...}; empty when all went well
---@return string|nil cause when nothing could go on: the connection is lost or the transaction was refused
---@return table|nil info
function M.snapshot(db, statements, given)
  given = given or {}
  local timeout = given.statement_timeout and sys.duration(given.statement_timeout) or STATEMENT_TIMEOUT
  local before = db.statement_timeout
  db.statement_timeout = timeout + CLIENT_MARGIN
  local failures, todo = {}, statements
  while #todo > 0 do
    local index, failure = attempt(db, todo, given)
    if index == false then
      db.statement_timeout = before
      return nil, (failure[1]:gsub("^postgres%.", "guest.snapshot: postgres.")), failure[2]
    end
    if not index then break end
    failures[todo[index].name] = failure
    todo = rest(todo, index + 1)
  end
  db.statement_timeout = before
  return failures
end

--- The text of one failure for a log: what failed, why, what to do.
---@param name string
---@param failure table
---@return string
function M.describe(name, failure)
  return ("%s: %s"):format(name, failure.text or errors.of_statement(name, failure))
end

return M
