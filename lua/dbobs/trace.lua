--- Prints each statement of a collector with its time and rows, on standard error: `dbobs run --trace=COLLECTOR`. What
--- is traced is sent statement by statement instead of in one round trip, so that each has a time of its own, that of a
--- round trip included; the time of `begin` shows how much that is. Passwords in statements are not printed.
local inspect = require "dbobs.inspect"
local log = require "dbobs.log"
local options = require "dbobs.options"
local sys = require "dbobs.core.sys"
local timer = require "dbobs.timer"

local M = {}

local ALL = "all"
-- The first statements of a transaction, and its last, are always the same: begin, settings, commit.
local OURS = 2
local traced
-- Texts that were printed already.
local printed = {}

---@class dbobs.trace whose statements they are
---@field collector string
---@field target string

--- From now on the statements of this collector are printed.
---@param collector string its name, or "all"
function M.start(collector)
  traced = collector
end

--- What is wrong with the name that was given.
---@param jobs table[] see dbobs.collect
---@param more boolean whether there may be more collectors later
---@return string|nil problem
function M.problem(jobs, more)
  if traced == ALL then return nil end
  local names, known = { ALL }, {}
  for _, job in ipairs(jobs) do
    local name = job.collector.name
    if name == traced then return nil end
    if not known[name] then names[#names + 1] = name end
    known[name] = true
  end
  if more then return nil end
  return ("option --trace: no collector '%s'%s"):format(traced, options.hint(traced, names))
end

--- How a collector's statements on a target are traced.
---@param collector string
---@param target string
---@return dbobs.trace|nil nil: not at all
function M.of(collector, target)
  if traced ~= collector and traced ~= ALL then return nil end
  return { collector = collector, target = target }
end

local function on_one_line(sql)
  return (inspect.hide(sql):gsub("/%* dbobs %*/", ""):gsub("%s+", " "):gsub("^ ", ""))
end

local function print_line(about, database, name, seconds, rows, problem, sql)
  local milliseconds = ("%.1f"):format(seconds * 1000)
  if log.format() ~= "text" then
    return log.info("statement", { collector = about.collector, target = about.target, database = database,
      statement = name, ms = tonumber(milliseconds), rows = rows, error = problem and inspect.hide(problem),
      sql = sql and on_one_line(sql) })
  end
  local time = timer.iso8601(sys.wall()):sub(12, 23)
  local text = ("%s %-8s %s/%s  %8s ms %6d rows  %s\n"):format(time, about.collector, about.target, database,
    milliseconds, rows, name)
  if sql and not printed[sql] then
    printed[sql] = true
    text = text .. "    " .. on_one_line(sql) .. "\n"
  end
  if problem then text = text .. "    failed: " .. on_one_line(problem) .. "\n" end
  log.clear_status()
  sys.log(text)
end

--- Does what db:pipeline does, one statement after the other.
---@param db dbobs.connection
---@param statements table[] see db:pipeline
---@param given {each: fun(index: integer, chunk: userdata), rows: integer|nil}
---@param about dbobs.trace
---@param names string[] what the statements are called
---@return table|nil results, string|nil cause, table|nil info
function M.pipeline(db, statements, given, about, names)
  for index, statement in ipairs(statements) do
    local rows, began = 0, sys.monotonic()
    local function each(_, chunk)
      rows = rows + chunk:count()
      given.each(index, chunk)
    end
    local results, cause, info = db:pipeline({ statement }, { each = each, rows = given.rows })
    local shown = index > OURS and index < #statements and statement[1] or nil
    print_line(about, db.dbname, names[index], sys.monotonic() - began, rows, cause, shown)
    if not results then
      if info and info.statement then info.statement = index end
      return nil, (cause:gsub("statement 1:", ("statement %d:"):format(index), 1)), info
    end
  end
  return {}
end

--- Makes a connection of its own print what it is asked.
---@param db dbobs.connection
---@param about dbobs.trace
---@return dbobs.connection
function M.connection(db, about)
  local query = db.query
  function db.query(self, sql, ...)
    local began = sys.monotonic()
    local result, cause, info = query(self, sql, ...)
    print_line(about, self.dbname, "log", sys.monotonic() - began, result and #result or 0, cause, sql)
    return result, cause, info
  end
  local stream = db.stream
  function db.stream(self, sql, ...)
    local began, rows = sys.monotonic(), 0
    local next_chunk = stream(self, sql, ...)
    return function()
      local chunk, cause = next_chunk()
      if chunk then rows = rows + chunk:count()
      else print_line(about, self.dbname, "log", sys.monotonic() - began, rows, cause, sql) end
      return chunk, cause
    end
  end
  return db
end

return M
