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

local core_wait = core.wait

local function wait(self)
  local reason = core_wait(self.pg)
  if reason == "ready" then return end
  self:close()
  error(reason == "deadline" and task.DEADLINE or task.CANCELLED, 0)
end

-- Right behind the sending there is never an answer, so it waits first; unless the answer may have come meanwhile.
local function finish(self, figure, at_once)
  local run, take, times = self.run, self.take, figure and figure.pointer
  while true do
    if not at_once then wait(self) end
    at_once = false
    local rows, message, sqlstate, detail, lost = take(run, times)
    if rows then return rows end
    if rows == nil then
      if figure then figure.errors = figure.errors + 1 end
      if sqlstate == "26000" then self.known = {} end -- the server has forgotten what was prepared
      raise(self, message, sqlstate, detail, lost)
    end
  end
end

local function check_sent(self, sent, cause, sqlstate, _, lost)
  if not sent then raise(self, cause, sqlstate, nil, lost) end
end

-- The first time that this connection meets a statement.
local function learn(self, sql)
  if type(sql) ~= "string" then error("execute: a statement's text expected, got " .. type(sql), 3) end
  local figure = self.statements:get(sql)
  if figure.prepared then
    check_sent(self, self.run:prepare(figure.handle, sql))
    if self.piped then self.learnt[#self.learnt + 1] = sql
    else finish(self) end
  end
  if not figure.shared then self.known[sql] = figure end
  return figure
end

--- Runs a statement with arguments for $1, $2, ...: nil, booleans, numbers, texts.
---@param sql string
---@param ... any arguments
---@return integer|nil rows how many it returned or changed; nil inside a pipeline
function connection:execute(sql, ...)
  local figure = self.known[sql] or learn(self, sql)
  local send, what = self.send, sql
  if figure.prepared then send, what = self.send_prepared, figure.handle end
  local sent, cause, sqlstate, _, lost = send(self.run, what, ...)
  if not sent then raise(self, cause, sqlstate, nil, lost) end
  if self.piped then
    figure.piped = figure.piped + 1
    return nil
  end
  return finish(self, figure)
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
  check_sent(self, self.run:simple(sql))
  return finish(self)
end

--- Sends the statements that follow together, until end_pipeline takes all their results.
function connection:start_pipeline()
  local ok, cause = self.pg:pipeline(true)
  if not ok then raise(self, cause) end
  self.piped, self.learnt = true, {}
end

--- Sends what start_pipeline began and waits for all of it.
function connection:end_pipeline()
  check_sent(self, self.pg:sync())
  local ok, cause = pcall(finish, self, self.pipeline_figure)
  self.piped = false
  if not ok then
    for _, sql in ipairs(self.learnt) do self.known[sql] = nil end
    error(cause, 0)
  end
  self.pg:pipeline(false)
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
  check_sent(self, run:simple(sql))
  local first = finish(self, figure)
  if first ~= "copy" then error("copy: the statement does not ask for data: " .. sql, 2) end
  local piece = data
  if type(data) == "function" then piece = data() end
  while piece do
    local put, cause, sqlstate, _, lost = run:put(piece)
    if put == nil then
      check_sent(self, nil, cause, sqlstate, nil, lost)
    end
    while put == false and not run:room() do wait(self) end
    piece = type(data) == "function" and data() or nil
  end
  check_sent(self, run:put_end())
  return finish(self, figure, true)
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
    send_prepared = run.execute, take = run.finish, known = {}, closed = false, piped = false,
    statements = given.statements, random = given.random, number = given.number, on_bytes = given.on_bytes,
    pipeline_figure = given.statements:get "(pipeline)",
  }, connection)
  for name, method in pairs(connection) do self[name] = method end -- found at once, not by way of the metatable
  return self
end

return M
