--- The server's log read over SQL: a task that lists the log directory at every poll, and brings the follower
--- (src/tail_remote.c) what it asks for, piece by piece, never more than it has room for.
---
--- An idle server is asked one statement at each poll. Where the server logs every statement (log_statement = 'all',
--- log_min_duration_statement = 0) it logs these as well: what a poll adds is read by the next one, one statement to
--- list and one for each piece, so that the log grows by these few lines at each poll and no faster.
local core = require "dbobs.core.tail_remote"
local grants = require "dbobs.log_sql_grants"
local guest = require "dbobs.guest"
local postgres = require "dbobs.postgres"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local trace = require "dbobs.trace"

local M = {}

-- How long a statement may take, in seconds, unless the target says otherwise: it is cancelled then, and asked again.
local STATEMENT_TIMEOUT = 30
-- How soon to try again after a failure, in seconds: at first and at last.
local FIRST_PAUSE, LONGEST_PAUSE = 1, 30

-- Bytes of a log that are enough to see its first record.
local FIRST_PIECE = 64 * 1024

-- What is asked: $1 is a file's name, $2 an offset, $3 a number of bytes.
local WAYS = {
  direct = {
    list = "select name, size, modification from pg_catalog.pg_ls_logdir()",
    read = "select pg_catalog.pg_read_binary_file(pg_catalog.current_setting('log_directory') || '/' || $1::text, "
      .. "$2::bigint, $3::bigint, true)",
  },
  helper = {
    list = "select name, size, modified from dbobs.log_files()",
    read = "select dbobs.log_read($1::text, $2::bigint, $3::bigint)",
  },
}

-- "postgresql-????.json" as a regular expression of the server, for a name and what rotation appends to it.
local function expression(glob)
  local text = glob:gsub("%[(.)%]", "\1%1"):gsub("(\1?)(.)", function(quoted, char)
    if quoted == "" and char == "?" then return "." end
    if quoted == "" and char == "*" then return ".*" end
    return char:find "%w" and char or "\\" .. char
  end)
  return "^" .. text .. "([-._0-9T]*[0-9])?$"
end
M.expression = expression

-- Both statements, completed. The first bytes are read behind the piece: a file that another one replaced meanwhile is
-- noticed.
local function statements(queries)
  local read = queries.read:gsub("[;%s]+$", "")
  local head = read:gsub("%$([23])%f[%D]", { ["2"] = "0", ["3"] = tostring(core.HEAD) })
  return {
    list = ([[%sselect name::text, size::bigint,
        coalesce((extract(epoch from modified) * 1000000)::bigint, 0) as modified
      from (%s) as log_files(name, size, modified) where name ~ $1]]):format(guest.MARK,
      (queries.list:gsub("[;%s]+$", ""))),
    read = ("%sselect (%s) as piece, (%s) as head"):format(guest.MARK, read, head),
  }
end

---@class dbobs.log_sql
---@field idle boolean whether all was brought that the last look at the directory has shown
local source = {}
source.__index = source

--- Where a follower's bytes come from. It is handed to dbobs.tail.server_log as `sql`, which starts and stops it.
---@param given {parameters: table, pattern: string|nil, queries: (fun(): {list: string, read: string})|nil,
--- poll: string|number|nil, statement_timeout: string|number|nil, trace: dbobs.trace|nil}
--- parameters: of the connection; pattern: of the files' names, nil: all; queries: a function that names the two
--- statements, see pipelines/targets.lua; poll: how often the directory is listed, "1s" by default
---@return dbobs.log_sql
function M.new(given)
  local parameters = {}
  for name, value in pairs(given.parameters) do parameters[name] = value end
  parameters.statement_timeout = given.statement_timeout or STATEMENT_TIMEOUT
  return setmetatable({
    parameters = parameters, pattern = given.pattern and expression(given.pattern) or "", queries = given.queries,
    poll = sys.duration(given.poll or 1), idle = false, failures = 0, trace = given.trace,
  }, source)
end

-- What the user's function returned, checked.
local function own_queries(self)
  local ok, queries = pcall(self.queries)
  if not ok then return nil, "log_queries failed: " .. tostring(queries) end
  if type(queries) ~= "table" or type(queries.list) ~= "string" or type(queries.read) ~= "string" then
    return nil, "log_queries must return { list = 'select name, size, modified ...', "
      .. "read = 'select ... $1 ... $2 ... $3' }"
  end
  return queries
end

local function choose(self, db)
  if self.queries then return own_queries(self) end
  local answer, cause = db:query(guest.MARK .. grants.ASK)
  if not answer then return nil, cause end
  local way, problem = grants.way(answer[1])
  self.way = way
  return WAYS[way], problem
end

local function connection(self)
  if self.db and self.db:alive() then return self.db end
  local db, cause = postgres.connect(self.parameters)
  if not db then return nil, cause end
  if self.trace then trace.connection(db, self.trace) end
  local queries
  queries, cause = choose(self, db)
  if not queries then
    db:close()
    return nil, cause
  end
  self.db, self.statements = db, statements(queries)
  return db
end

--- The log files that there are now.
---@return {name: string, size: number, modified: number}[]|nil files
---@return string|nil cause
function source:list()
  local db, cause = connection(self)
  if not db then return nil, cause end
  return db:query(self.statements.list, self.pattern)
end

local function bring(self, name, offset, len)
  local db, cause = connection(self)
  if not db then return nil, cause end
  for row in db:stream(self.statements.read, { name, offset, len }, { rows = 1, binary = true }) do
    self.core:feed(row)
  end
  return true
end

-- Lists the directory and brings all that is wanted then.
local function look(self)
  local files, cause = self:list()
  if not files then return nil, cause end
  self.core:list(files)
  while true do
    local what, name, offset, len = self.core:want()
    if what == "list" then return "again" end
    if what == "nothing" then return "idle" end
    if what == "busy" then task.wait(self.core)
    else
      local ok
      ok, cause = bring(self, name, offset, len)
      if not ok then return nil, cause end
    end
  end
end

-- One look; its errors and the stream's are the same to us.
local function attempt(self)
  local ok, outcome, cause = pcall(look, self)
  if ok and outcome then return outcome end
  if not ok and (outcome == task.CANCELLED or outcome == task.DEADLINE) then error(outcome, 0) end
  return nil, ok and cause or tostring(outcome)
end

local function feed(self)
  while true do
    local began = sys.monotonic()
    local outcome, cause = attempt(self)
    self.tell(cause)
    if outcome then
      self.failures = 0
      self.idle = outcome == "idle"
      if outcome == "idle" then task.wait(nil, math.max(self.poll - (sys.monotonic() - began), 0.01)) end
    else
      self.idle = false
      self.failures = self.failures + 1
      -- Rights that were granted meanwhile hold for a new look at them.
      if self.db then self.db:close() end
      self.db = nil
      task.wait(nil, math.min(FIRST_PAUSE * 2 ^ math.min(self.failures - 1, 10), LONGEST_PAUSE))
    end
  end
end

--- Begins to bring a follower its bytes.
---@param follower userdata of dbobs.core.tail, opened with remote = true
---@param tell fun(problem: string|nil) is told what lasts
function source:start(follower, tell)
  self.core, self.tell, self.idle = core.source(follower), tell, false
  self.task = task.background(function()
    local ok, cause = pcall(feed, self)
    if self.db then self.db:close() end
    self.db = nil
    self.core:close()
    if not ok and cause ~= task.CANCELLED then error(cause, 0) end
  end)
end

--- Ends that.
function source:stop()
  if not self.task then return end
  task.cancel(self.task)
  self.task = nil
end

local function bring_first(self)
  local db, cause = connection(self)
  if not db then return nil, cause end
  repeat
    local files
    files, cause = self:list()
    if not files then return nil, cause end
    self.core:list(files)
    local what, name, offset, len
    repeat
      what, name, offset, len = self.core:want()
      if what == "piece" then bring(self, name, offset, math.min(len, FIRST_PIECE)) end
    until what ~= "piece"
  until what ~= "list"
  return self.queries and " over SQL (log_queries)" or self.way == "helper" and " over SQL (dbobs.log_read)"
    or " over SQL"
end

--- Brings a follower enough to tell where it is and what comes next, once.
---@param follower userdata as with start
---@return string|nil how the log is read, to be put into a sentence
---@return string|nil problem
function source:peek(follower)
  self.core = core.source(follower)
  local ok, how, cause = pcall(bring_first, self)
  if self.db then self.db:close() end
  self.db = nil
  self.core:close()
  if ok then return how, cause end
  if how == task.CANCELLED or how == task.DEADLINE then error(how, 0) end
  return nil, tostring(how)
end

return M
