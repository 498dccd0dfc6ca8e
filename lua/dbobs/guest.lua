--- Statements as a guest in somebody's database: read-only, in one transaction and one round trip, limited in time and
--- in waiting for locks, marked as ours. No SET and no startup option: they would stay behind in a pooler's
--- connection.
local errors = require "dbobs.postgres_error"
local sys = require "dbobs.core.sys"
local trace = require "dbobs.trace"

local M = {}

--- What the statements begin with; collectors leave out of their reports what begins like this.
M.MARK = "/* dbobs */ "

-- From version 18 on pg_stat_statements drops comments before a statement: there the mark stands behind the first word
-- as well.
local function mark(sql)
  return M.MARK .. sql:gsub("^(%s*%a+) ?", "%1 " .. M.MARK, 1)
end

-- Collectors send the same texts again and again.
local MOST_MARKED = 256
local known, known_count = {}, 0

local function marked(sql)
  if not known[sql] then
    if known_count >= MOST_MARKED then known, known_count = {}, 0 end
    known[sql], known_count = mark(sql), known_count + 1
  end
  return known[sql]
end

local STATEMENT_TIMEOUT, LOCK_TIMEOUT, IDLE_TIMEOUT = 20, 0.1, 60
-- The server's own limit comes first; the client's is for a server that does not answer at all.
local CLIENT_MARGIN = 5
-- Statements of the round trip before the caller's; the last of them tells of the server.
local PREAMBLE = 2
-- How often what was prepared may prove to be forgotten.
local MOST_FORGOTTEN = 3

-- A guest takes no second process for a query. A SQL_ASCII database may hold bytes that are no UTF-8: asked for
-- UTF-8, the server would refuse the whole result. A plan stays for as long as the connection, while the catalogs
-- grow: it goes by their indexes (which are in memory: no page costs more than another), and is one for all
-- parameters, or it would be made each time.
local SETTINGS = marked [[select pg_backend_pid() as pid, current_setting('max_connections')::int as max_connections
  where set_config('statement_timeout', $1, true) <> '' and set_config('lock_timeout', $2, true) <> ''
    and set_config('idle_in_transaction_session_timeout', $3, true) <> '' and set_config('timezone', 'UTC', true) <> ''
    and set_config('datestyle', 'ISO, YMD', true) <> '' and set_config('intervalstyle', 'postgres', true) <> ''
    and set_config('extra_float_digits', '1', true) <> '' and set_config('bytea_output', 'hex', true) <> ''
    and set_config('jit', 'off', true) <> '' and set_config('max_parallel_workers_per_gather', '0', true) <> ''
    and set_config('plan_cache_mode', 'force_generic_plan', true) <> ''
    and set_config('random_page_cost', '1', true) <> ''
    and set_config('client_encoding', case current_setting('server_encoding') when 'SQL_ASCII' then 'SQL_ASCII'
      else 'UTF8' end, true) <> '']]

local function milliseconds(duration, default)
  local seconds = duration and sys.duration(duration) or default
  return ("%d"):format(math.max(seconds * 1000, 1))
end

local BEGIN, COMMIT, ROLLBACK = marked "begin read only", M.MARK .. "commit", M.MARK .. "rollback"

local BEGIN_STATEMENT, COMMIT_STATEMENT = { BEGIN, prepared = true }, { COMMIT, prepared = true }

local NO_ARGUMENTS = {}

-- Everything is prepared, where the connection allows it: the server then neither parses nor plans it again.
local function round_trip(statements, given)
  local list = {
    BEGIN_STATEMENT,
    {
      SETTINGS,
      milliseconds(given.statement_timeout, STATEMENT_TIMEOUT),
      milliseconds(given.lock_timeout, LOCK_TIMEOUT),
      milliseconds(nil, IDLE_TIMEOUT),
      prepared = true,
    },
  }
  for _, statement in ipairs(statements) do
    local arguments = statement.args or NO_ARGUMENTS
    local count = arguments.n or table.maxn(arguments)
    list[#list + 1] = { marked(statement.sql), n = count + 1, prepared = true, unpack(arguments, 1, count) }
  end
  list[#list + 1] = COMMIT_STATEMENT
  return list
end

-- What the first round trip of a connection tells: a pooler gives numbers of its own out for the server's processes.
-- Behind one nothing is prepared, for the next transaction may run in another process.
local function learn(db, chunk)
  local about = chunk:rows()[1]
  db.direct, db.max_connections = about.pid == db.pid, about.max_connections
end

-- All statements in one round trip; or, where they are traced, one after the other.
local function send(db, statements, given, each)
  local list = round_trip(statements, given)
  if not given.trace then return db:pipeline(list, { each = each, rows = given.rows }) end
  local names = { "begin", "settings" }
  for i, statement in ipairs(statements) do names[PREAMBLE + i] = statement.name end
  names[#names + 1] = "commit"
  return trace.pipeline(db, list, { each = each, rows = given.rows }, given.trace, names)
end

-- Runs the statements up to the first that fails. Returns nil when none did; else why, and from where on to send again:
-- statements[index] failed, and without index what was prepared was forgotten; or no `again`: nothing can go on.
local function attempt(db, statements, given)
  local function each(index, chunk)
    local statement = statements[index - PREAMBLE]
    if statement then db.rows_taken = (db.rows_taken or 0) + chunk:count() end
    if statement and statement.each then statement.each(chunk) end
    if index == PREAMBLE and db.direct == nil then learn(db, chunk) end
  end
  local results, cause, info = send(db, statements, given, each)
  if results then return nil end
  local trouble = { cause = cause, info = info }
  local index = info and info.statement and not info.lost and info.statement - PREAMBLE
  -- The server waits in the failed transaction until it is told to end it.
  if not index or not db:query(ROLLBACK) then return trouble end
  info.text = cause:gsub("^postgres%.pipeline: statement %d+: ", "")
  if info.forgotten then
    trouble.again = math.max(index, 1)
  elseif statements[index] then
    trouble.index, trouble.again = index, index + 1
  end
  return trouble
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
---@param statements {name: string, sql: string, args: table|nil, each: fun(chunk: dbobs.chunk)|nil}[]
---@param given {statement_timeout: string|number|nil, lock_timeout: string|number|nil, rows: integer|nil,
---   trace: dbobs.trace|nil}|nil
---@return table<string, table>|nil failures by name: {text, message, sqlstate, detail, ...}; empty when all went well
---@return string|nil cause when nothing could go on: the connection is lost or the transaction was refused
---@return table|nil info
function M.snapshot(db, statements, given)
  given = given or {}
  local timeout = given.statement_timeout and sys.duration(given.statement_timeout) or STATEMENT_TIMEOUT
  local before = db.statement_timeout
  db.statement_timeout = timeout + CLIENT_MARGIN
  local failures, todo, forgotten = {}, statements, 0
  while #todo > 0 do
    local trouble = attempt(db, todo, given)
    if not trouble then break end
    if not trouble.index then forgotten = forgotten + 1 end
    if not trouble.again or forgotten > MOST_FORGOTTEN then
      db.statement_timeout = before
      return nil, (trouble.cause:gsub("^postgres%.", "guest.snapshot: postgres.")), trouble.info
    end
    if trouble.index then failures[todo[trouble.index].name] = trouble.info end
    todo = rest(todo, trouble.again)
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
