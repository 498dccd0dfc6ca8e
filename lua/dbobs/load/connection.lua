--- A connection as the events of a workload use it. Statements are prepared once and automatically, their rows are
--- counted and dropped. What fails raises a failure {sqlstate, message, detail, lost}, which ends the event: the
--- transaction is rolled back and the error counted.
local core = require "dbobs.core.task"
local pgrun = require "dbobs.core.pgrun"
local postgres = require "dbobs.postgres"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local M = {}

local failure = {}
failure.__index = failure
failure.__tostring = function(self)
  return ("%s (SQLSTATE %s)%s"):format(self.message, self.sqlstate, self.detail and ": " .. self.detail or "")
end

--- Whether a value that was raised is what a statement failed with.
function M.is_failure(value)
  return getmetatable(value) == failure
end

--- Makes a failure, to be raised.
function M.failure(fields)
  return setmetatable(fields, failure)
end

---@class dbobs.load.connection
---@field random userdata the connection's random numbers, see dbobs.core.random
---@field number integer which of the test's connections it is, from 1 on
---@field postgres dbobs.connection the connection itself, for what is not here; its statements are in no figure
local connection = {}
connection.__index = connection

local function raise(self, message, sqlstate, detail, lost)
  if lost then self:close() end
  error(M.failure { message = message, sqlstate = sqlstate or "08006", detail = detail, lost = lost or false }, 0)
end

local function give_up(self, reason)
  self:close()
  error(reason == "deadline" and task.DEADLINE or task.CANCELLED, 0)
end

local function wait(self)
  local reason = core.wait(self.pg)
  if reason ~= "ready" then give_up(self, reason) end
end

-- What a statement came to, given what its sending or a take returned; waits for what is not there yet. Counts a
-- failure, and raises it.
local function finish(self, figure, rows, cause, sqlstate, detail, lost)
  while rows == false do
    if cause then give_up(self, cause) end
    wait(self)
    rows, cause, sqlstate, detail, lost = self.run:take()
  end
  if rows then return rows end
  if figure then figure.errors = figure.errors + 1 end
  if sqlstate == "26000" then self.known = {} end -- the server has forgotten what was prepared
  return raise(self, cause, sqlstate, detail, lost)
end

-- The first time that this connection meets a statement.
local function learn(self, sql)
  if type(sql) ~= "string" then error("execute: a statement's text expected, got " .. type(sql), 3) end
  local figure = self.statements:get(sql)
  if figure.prepared then
    finish(self, nil, self.run:prepare(figure.handle, sql))
    if self.piped then self.learnt[#self.learnt + 1] = sql end
  end
  if not figure.shared then self.known[sql] = figure end
  return figure
end

-- Behind a pipeline that failed: of what it was to prepare, the server knows some and some not.
local function unlearn(self)
  local learnt = self.learnt
  self.learnt = {}
  for _, sql in ipairs(learnt) do
    self.known[sql] = nil
    finish(self, nil, self.run:deallocate(self.statements:get(sql).handle))
  end
end

--- Runs a statement with arguments for $1, $2, ...: nil, booleans, numbers, texts.
---@param sql string
---@param ... any arguments
---@return integer|nil rows how many it returned or changed; nil inside a pipeline
function connection:execute(sql, ...)
  local figure = self.known[sql] or learn(self, sql)
  local rows, cause, sqlstate, detail, lost
  if figure.prepared then
    rows, cause, sqlstate, detail, lost = self.send_prepared(self.run, figure.handle, figure.pointer, ...)
  else
    rows, cause, sqlstate, detail, lost = self.send(self.run, sql, figure.pointer, ...)
  end
  if rows == true then
    figure.piped = figure.piped + 1
    return nil
  end
  return rows or finish(self, figure, rows, cause, sqlstate, detail, lost)
end

--- Runs a statement and returns its rows, as dbobs.postgres does.
---@param sql string
---@param ... any arguments
---@return table rows by column name
function connection:rows(sql, ...)
  local figure = self.statements:get(sql)
  local began = timer.monotonic()
  local result, cause, info = self.postgres:query(sql, ...)
  if not result then
    figure.errors = figure.errors + 1
    raise(self, info.message or cause, info.sqlstate, info.detail, info.lost)
  end
  figure.histogram:record(timer.monotonic() - began)
  return result
end

--- Runs a text of several statements by the simple protocol.
---@param sql string
function connection:script(sql)
  return finish(self, nil, self.run:simple(sql))
end

--- Sends the statements that follow together, until end_pipeline takes all their results.
function connection:start_pipeline()
  local on, cause, sqlstate, _, lost = self.run:pipeline(true)
  if not on then raise(self, cause, sqlstate, nil, lost) end
  self.piped = true
end

--- Sends what start_pipeline began and waits for all of it.
function connection:end_pipeline()
  local run, figure = self.run, self.pipeline_figure
  self.piped = false
  local ok, cause = pcall(finish, self, figure, run:sync(figure.pointer))
  -- Left on, it would keep the next statement back for a sync that never comes.
  if not run:pipeline(false) then self:close() end
  if ok then
    if self.learnt[1] then self.learnt = {} end
    return
  end
  if not self.closed and not pcall(unlearn, self) then self:close() end
  error(cause, 0)
end

--- begin, commit and rollback of a transaction.
---@param mode string|nil "isolation level serializable", "read only", ...
function connection:begin(mode)
  return self:execute(mode and "begin " .. mode or "begin")
end

function connection:commit()
  return self:execute "commit"
end

function connection:rollback()
  return self:execute "rollback"
end

--- Sends data by COPY ... FROM STDIN, in the server's text format unless the statement says otherwise.
---@param sql string "copy t (a, b) from stdin"
---@param data string|fun(): string|nil all of it, or a function that gives the next piece, nil at the end
---@return integer rows
function connection:copy(sql, data)
  local figure, run = self.statements:get(sql), self.run
  local first = finish(self, figure, run:simple(sql, figure.pointer))
  if first ~= "copy" then error("copy: the statement does not ask for data: " .. sql, 2) end
  local piece = data
  if type(data) == "function" then piece = data() end
  while piece do
    local put, cause, sqlstate, _, lost = run:put(piece)
    if put == nil then raise(self, cause, sqlstate, nil, lost) end
    while put == false and not run:room() do wait(self) end
    piece = type(data) == "function" and data() or nil
  end
  local ended, cause, sqlstate, _, lost = run:put_end()
  if not ended then raise(self, cause, sqlstate, nil, lost) end
  return finish(self, figure, run:take())
end

--- Listens to a channel; the next notification then comes from `notification`.
---@param channel string
function connection:listen(channel)
  return self:execute("listen " .. postgres.quote_identifier(channel))
end

--- The next notification.
---@param timeout string|number|nil duration; nil waits without end
---@return {channel: string, payload: string, pid: integer}|nil notification nil when the time passed
function connection:notification(timeout)
  local got, cause = self.postgres:notification(timeout)
  if not got and cause then raise(self, cause, nil, nil, true) end
  return got
end

--- Think time.
---@param duration string|number
function connection.sleep(_, duration)
  return timer.sleep(duration)
end

--- Ends the event as if a statement had failed.
---@param sqlstate string five characters, as errors are counted
---@param message string
function connection.fail(_, sqlstate, message)
  error(M.failure { sqlstate = sqlstate, message = message, lost = false }, 2)
end

--- Opens a further connection to the same server: for storms of them. Its statements are in no figure.
---@return dbobs.connection|nil connection
---@return string|nil cause
function connection:another()
  return postgres.connect(self.parameters)
end

--- Closes the connection; the next event has a new one.
function connection:close()
  if not self.closed and self.run then
    local received, sent = self.run:bytes()
    if received then self.on_bytes(received, sent) end
  end
  self.closed = true
  self.postgres:close()
end

-- After a failed event: nothing of its transaction stays.
function connection:recover()
  if self.closed then return end
  if self.piped then
    self.piped = false
    self:close()
    return
  end
  if self.pg:transaction() ~= "idle" then pcall(connection.script, self, "rollback") end
end

-- How a statement goes out that is not prepared.
local SEND = { prepared = "extended", extended = "extended", simple = "simple" }

--- Connects.
---@param parameters table see dbobs.postgres.connect
---@param given {statements: table, protocol: string, random: table, number: integer, on_bytes: fun(integer, integer)}
---@return dbobs.load.connection|nil connection
---@return string|nil cause
---@return table|nil info
function M.connect(parameters, given)
  local db, cause, info = postgres.connect(parameters)
  if not db then return nil, cause, info end
  local run = pgrun.new(db.core)
  local self = setmetatable({
    parameters = parameters, postgres = db, pg = db.core, run = run, send = run[SEND[given.protocol]],
    send_prepared = run.execute, known = {}, learnt = {}, closed = false, piped = false,
    statements = given.statements, random = given.random, number = given.number, on_bytes = given.on_bytes,
    pipeline_figure = given.statements:get "(pipeline)",
  }, connection)
  for name, method in pairs(connection) do self[name] = method end -- found at once, not by way of the metatable
  return self
end

return M
