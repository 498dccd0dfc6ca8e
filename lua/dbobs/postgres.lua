--- PostgreSQL connections. Each waits without holding other tasks up; one task uses a connection at a time. What can
--- happen returns nil, "postgres.<verb>: <cause>" and a table {sqlstate, message, detail, hint, retryable, timeout,
--- lost}.
---
--- Values: NULL is nil; int2, int4, oid and floats are numbers; int8 is a number where a number holds it exactly, else
--- its decimal text; numeric is always its exact text; boolean is boolean; bytea a string of bytes; all else the
--- server's text. Arguments: nil, booleans, numbers, texts, int64 cdata, postgres.bytea(bytes); postgres.null is NULL
--- as well.
local check = require "dbobs.postgres_check"
local core = require "dbobs.core.pg"
local errors = require "dbobs.postgres_error"
local params = require "dbobs.postgres_params"
local pipelines = require "dbobs.postgres_pipeline"
local prepared = require "dbobs.postgres_prepared"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- Rows of a chunk when the caller does not say.
local CHUNK_ROWS = 256

---@class dbobs.chunk rows of a result, as the server sent them
---@field rows fun(self: dbobs.chunk): table[] the rows by column name
---@field columns fun(self: dbobs.chunk): string[] the columns' names in order
---@field types fun(self: dbobs.chunk): integer[] their types' OIDs
---@field count fun(self: dbobs.chunk): integer how many rows there are
---@field last fun(self: dbobs.chunk, column: string): any the last row's value; nil when it is NULL or there is no row
---@field clear fun(self: dbobs.chunk) frees the rows now

--- NULL as an argument or in a list of arguments.
---@type userdata
M.null = core.null

M.quote_identifier = errors.quote_identifier

--- The connection parameters that libpq knows.
---@return string[]
M.parameters = params.known

M.effective = params.effective

--- Bytes as an argument for a bytea.
---@param bytes string
---@return string
function M.bytea(bytes)
  return "\\x" .. bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
end

---@class dbobs.connection a connection to a database, of one task at a time
---@field host string the host it is connected to
---@field port integer
---@field user string
---@field dbname string
---@field server_version integer like 150018
---@field pid integer of the server's process
---@field ssl boolean
---@field direct boolean|nil whether no pooler stands between, as far as anybody has looked: the server's process says
---   that it has the number `pid`. Statements are prepared on such a connection alone.
local connection = {}
connection.__index = connection

-- Waits until step(object) is no longer false. A wait that raises leaves half a conversation behind: the connection is
-- closed, which also cancels what runs in the server.
local function await(object, step, ...)
  while true do
    local a, b, c, d = step(object, ...)
    if a ~= false then return a, b, c, d end
    local ok, cause = pcall(task.wait, object)
    if not ok then
      object:close()
      error(cause, 0)
    end
  end
end

--- Connects. Beside libpq's parameters there are connect_timeout (a duration for each host, "10s" by default),
--- statement_timeout (a duration for each statement, none by default) and password_command (a shell command whose
--- output is the password; it is run at each connect).
---@param given table|string parameters, or a connection string or URI
---@return dbobs.connection|nil connection
---@return string|nil cause
---@return table|nil info
function M.connect(given)
  local settings, problem = params.settle(given)
  if not settings then error("postgres.connect: " .. problem, 2) end
  local libpq = settings.libpq
  problem = params.misplaced_outside(libpq)
  if problem then return nil, "postgres.connect: " .. problem, { message = problem, retryable = false } end
  libpq.fallback_application_name = libpq.fallback_application_name or "dbobs"
  if not libpq.client_encoding and not os.getenv "PGCLIENTENCODING" then libpq.client_encoding = "UTF8" end
  local timeout = settings.connect_timeout or params.default_timeout(libpq)
  local object = core.connect(libpq, timeout, settings.password_command)
  local ok, cause, _, timed_out = await(object, object.connected)
  if not ok then return nil, errors.of_connect(cause, timed_out) end
  local db = object:info()
  db.port = tonumber(db.port)
  db.core, db.statement_timeout, db.prepared = object, settings.statement_timeout, prepared.new()
  return setmetatable(db, connection)
end

-- Using it: one task, one statement at a time.

local function enter(db, what)
  local holder, me = db.holder, task.current()
  if holder and holder ~= me and task.status(holder) == "running" then
    error(("postgres.%s: another task is using this connection: give each task its own"):format(what), 3)
  end
  if db.open_stream then db.open_stream:close() end
  if db.holder and db.core:in_flight() then db:close() end -- its task ended in the middle
  db.holder = me
end

local function leave(db)
  db.core:end_deadline()
  db.holder = nil
  while db.notice_function do
    local notice = db.core:notice()
    if not notice then break end
    db.notice_function(notice)
  end
end

-- The next thing the server says, within the statement's time.
local function take(db, rows_only)
  return await(db.core, db.core.take, db.statement_timeout, rows_only)
end

local function lost(db, what, cause, state, failure)
  leave(db)
  db:close()
  if failure then
    failure.lost = true
    return nil, errors.of_statement(what, failure, db.user)
  end
  return nil, errors.of_loss(what, cause, state)
end

local function refused(db, what, cause, state)
  if not db:alive() then return lost(db, what, cause, state) end
  leave(db)
  return nil, errors.of_statement(what, { message = cause }, db.user)
end

local COPY = "COPY from STDIN or to STDOUT is not possible here; the connection was closed. "
  .. "Use INSERT ... SELECT, or COPY with a file on the server"

local function of_timeout(db, failure)
  if failure.sqlstate == "57014" and db.core:timed_out() then
    failure.timeout = true
    failure.message = ("no result within %g s (statement_timeout), so it was cancelled"):format(db.statement_timeout)
  end
  return failure
end

local function to_result(rows, command)
  local result = {}
  if rows then
    result = rows:rows()
    result.columns = rows:columns()
    rows:clear()
  end
  result.command = command and command:match "^%u[%u ]*%u" or nil
  result.affected = command and tonumber(command:match "(%d+)$") or nil
  return result
end

-- Everything a statement brings outside of a pipeline; the last of several statements counts, the first error wins.
local function collect(db, what)
  local result, failure
  while true do
    local kind, value, command = take(db)
    if kind == nil then return lost(db, what, value, command, failure) end
    if kind == "copy" then return lost(db, what, COPY) end
    if kind == "rows" or kind == "done" then result = to_result(value, command) end
    if kind == "error" then failure = failure or of_timeout(db, value) end
    if kind == "end" then break end
  end
  leave(db)
  if failure then return nil, errors.of_statement(what, failure, db.user) end
  return result or {}
end

-- int64 cdata as their digits; other cdata is refused by the core.
local function converted(count, ...)
  if count < 2 then return ... end -- the first one is a text or a name
  for i = 2, count do
    if type((select(i, ...))) == "cdata" then
      local values = { ... }
      for j = 1, count do
        local digits = type(values[j]) == "cdata" and tostring(values[j]):match "^(%-?%d+)U?LL$"
        if digits then values[j] = digits end
      end
      return unpack(values, 1, count)
    end
  end
  return ...
end

-- The core raises for arguments that no statement can have; that is the caller's mistake, told at the caller's line.
local function send(db, what, method, ...)
  local ok, sent, cause, state = pcall(method, db.core, converted(select("#", ...), ...))
  if ok then return sent, cause, state end
  db.core:stream(0)
  local half_sent = what == "pipeline"
  if half_sent then db:close() end
  leave(db)
  local problem = tostring(sent):gsub("^bad argument #(%d+) to '.-' %((.*)%)$", "%2")
  error(("postgres.%s: %s"):format(what, problem), half_sent and 4 or 3)
end

--- Runs a statement. Without arguments the text may hold several; the last one's result is returned.
---@param sql string with $1, $2, ... for the arguments
---@param ... any arguments
---@return table|nil result array of rows by column name; with columns (names in order), command ("SELECT") and affected
---@return string|nil cause
---@return table|nil info
function connection:query(sql, ...)
  enter(self, "query")
  local ok, cause, state = send(self, "query", self.core.query, sql, ...)
  if not ok then return refused(self, "query", cause, state) end
  return collect(self, "query")
end

--- Prepares a statement for execute. It lives as long as the connection.
---@param name string
---@param sql string
function connection:prepare(name, sql)
  enter(self, "prepare")
  local ok, cause, state = send(self, "prepare", self.core.prepare, name, sql)
  if not ok then return refused(self, "prepare", cause, state) end
  local result, problem, info = collect(self, "prepare")
  if not result then return nil, problem, info end
  return true
end

--- Runs a prepared statement; returns as query does.
---@param name string
---@param ... any arguments
---@return table|nil result
---@return string|nil cause
---@return table|nil info
function connection:execute(name, ...)
  enter(self, "execute")
  local ok, cause, state = send(self, "execute", self.core.execute, name, ...)
  if not ok then return refused(self, "execute", cause, state) end
  return collect(self, "execute")
end

-- Several statements in one round trip.

--- Sends several statements at once and takes their results. Unless they begin one themselves they are one transaction:
--- when one fails, those behind it do not run. With `each` the rows are handed over in chunks as they come, in bounded
--- memory; a chunk is valid during the call, and the results are an empty list.
--- A statement with prepared = true is prepared at its first use on this connection and found by its text afterwards,
--- if the connection is `direct`; when the server has forgotten it the error has `forgotten`: send it again.
---@param statements table[] each {sql, argument, ...} or {execute = name, argument, ...}; n = count of what is in it
---   when nils end it
---@param given {each: fun(index: integer, chunk: dbobs.chunk)|nil, rows: integer|nil}|nil
---@return table[]|nil results
---@return string|nil cause which statement failed, and why
---@return table|nil info with `statement`, its index
connection.pipeline = pipelines.method {
  enter = enter, leave = leave, send = send, take = take, lost = lost, refused = refused, of_timeout = of_timeout,
  to_result = to_result, COPY = COPY,
}

-- Streams.

local stream = {}
stream.__index = stream

-- Ends it: what the server still does is cancelled, what is under way is thrown away.
function stream:close()
  if self.ended then return end
  local db = self.db
  db.open_stream, self.ended = nil, true
  if self.chunk then self.chunk:clear() end
  db.core:cancel()
  while db.core:in_flight() do
    local kind, value = take(db)
    if kind == nil then break end
    if value and kind ~= "error" then value:clear() end
  end
  db.core:stream(0)
  leave(db)
end

local function stream_failed(db, cause)
  db.open_stream = nil
  error(cause, 3)
end

-- The next chunk, or nil at the end. Errors are raised: a for loop has no other way to hand them on.
function stream:__call()
  local db = self.db
  if self.ended then
    if self.complete then return nil end
    error("postgres.stream: this stream was ended by another statement on its connection", 2)
  end
  if self.chunk then self.chunk:clear() end
  self.chunk = nil
  local failure
  while true do
    local kind, value, command = take(db)
    db.core:end_deadline() -- the time between two chunks is the caller's
    if kind == nil or kind == "copy" then
      self.ended = true
      local _, cause = lost(db, "stream", kind == nil and value or COPY, command, failure)
      stream_failed(db, cause)
    end
    if kind == "error" then failure = failure or of_timeout(db, value) end
    if (kind == "chunk" or kind == "rows") and value:count() > 0 then
      self.chunk = value
      return value
    end
    if kind == "end" then break end
  end
  self.ended, self.complete, db.open_stream = true, true, nil
  db.core:stream(0)
  leave(db)
  if failure then
    local text = errors.of_statement("stream", failure, db.user)
    stream_failed(db, text)
  end
end

--- Runs a statement whose rows come in chunks, in bounded memory: for chunk in db:stream(sql, {args}) do ...
--- chunk:rows() end. A chunk is valid until the next one is asked for. Raises what goes wrong. Leaving the loop early
--- is all right: the next statement on the connection, or close, ends the stream.
---@param sql string
---@param arguments table|nil with n = count when nils end it
---@param given {rows: integer|nil, binary: boolean|nil}|nil rows of a chunk; binary: values come as the server keeps
--- them, for bindings that read such a chunk
---@return fun(): dbobs.chunk|nil
function connection:stream(sql, arguments, given)
  arguments, given = arguments or {}, given or {}
  check.stream(arguments, given, 2)
  enter(self, "stream")
  self.core:stream(given.rows or CHUNK_ROWS, given.binary)
  local count = arguments.n or table.maxn(arguments)
  local ok, cause, state = send(self, "stream", self.core.query, sql, unpack(arguments, 1, count))
  if not ok then
    self.core:stream(0)
    local _, text = refused(self, "stream", cause, state)
    error(text, 2)
  end
  self.open_stream = setmetatable({ db = self }, stream)
  return self.open_stream
end

--- Calls fn(db) inside a transaction: committed when it returns, rolled back when it raises or returns nil and a cause.
---@param fn fun(db: dbobs.connection): any
---@return any result what fn returned, or nil, cause, info
function connection:transaction(fn)
  local ok, cause, info = self:query "begin"
  if not ok then return nil, cause, info end
  local well, result, why, more = pcall(fn, self)
  local failed = not well or (result == nil and why ~= nil)
  if self:alive() then
    ok, cause, info = self:query(failed and "rollback" or "commit")
  end
  if not well then error(result, 0) end
  if failed then return nil, why, more end
  if not ok then return nil, cause, info end
  return result
end

-- Notifications and notices.

--- Listens to a channel, see notification.
---@param channel string
function connection:listen(channel)
  local ok, cause, info = self:query("listen " .. errors.quote_identifier(channel))
  if not ok then return nil, cause, info end
  return true
end

--- The next notification.
---@param timeout string|number|nil duration; nil waits without end
---@return {channel: string, payload: string, pid: integer}|nil notification nil when the time passed
---@return string|nil cause when the connection is lost
function connection:notification(timeout)
  local until_time = timeout and sys.monotonic() + sys.duration(timeout)
  enter(self, "notification")
  while true do
    local notification, cause, state = self.core:notification()
    if notification == nil then return lost(self, "notification", cause, state) end
    local left = until_time and until_time - sys.monotonic()
    if notification or (left and left <= 0) then
      leave(self)
      return notification or nil
    end
    local ok, problem = pcall(task.wait, self.core, left)
    if not ok then
      self.holder = nil -- nothing is under way: the connection stays as it is
      error(problem, 0)
    end
  end
end

--- Calls fn(notice) for each notice or warning of the server, after the statement that brought it.
---@param fn fun(notice: {severity: string, sqlstate: string, message: string, detail: string, hint: string})|nil
function connection:on_notice(fn)
  self.notice_function = fn
  self.core:keep_notices(fn ~= nil)
end

-- The rest.

--- What the server reports of itself, like "TimeZone" or "in_hot_standby".
---@param name string
---@return string|nil
function connection:parameter(name)
  return self.core:parameter(name)
end

--- "idle" | "active" | "open" (in a transaction) | "failed" (in a failed one) | "unknown"
---@return string
function connection:transaction_status()
  return self.core:transaction()
end

--- Whether it can still be used. Does not wait.
---@return boolean
function connection:alive()
  return self.core:alive()
end

--- Cancels the statement that another task waits for; that one gets the error 57014.
function connection:cancel()
  self.core:cancel()
end

--- Closes it; a statement that runs in the server is cancelled.
function connection:close()
  if self.open_stream then self.open_stream.ended = true end
  self.open_stream = nil
  self.core:close()
end

check.methods(connection, "db")

return M
