--- prepare and cleanup of a workload. A table is made with a comment that says whose it is; one without that comment is
--- somebody else's and left alone.
local buffer = require "string.buffer"
local connection = require "dbobs.load.connection"
local log = require "dbobs.log"
local postgres = require "dbobs.postgres"
local random = require "dbobs.core.random"
local statements = require "dbobs.load.statements"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- Data goes out in pieces of about so many bytes.
local PIECE = 65536
local PROGRESS_SECONDS = 2

---@class dbobs.load.preparation
---@field options table the option values
---@field db dbobs.load.connection
---@field random table seeded, see dbobs.core.random
local preparation = {}
preparation.__index = preparation

local function say(...)
  sys.write(("%s\n"):format(string.format(...)))
end

-- What is there under this name: its mark, false for a table of somebody else's, nil for nothing.
local function mark_of(self, name)
  local row = self.db:rows("select to_regclass($1)::text as name, obj_description(to_regclass($1), 'pg_class') as mark",
    postgres.quote_identifier(name))[1]
  if not row.name then return nil end
  return row.mark or false
end

--- Makes a table, in place of one that an earlier prepare of this workload made. Raises when there is another one.
---@param name string
---@param definition string what stands behind its name: "(id integer primary key)"
function preparation:create(name, definition)
  local mark = mark_of(self, name)
  if mark == self.mark then
    self.db:script("drop table " .. postgres.quote_identifier(name) .. " cascade")
  elseif mark ~= nil then
    error(("there is a table %s already, and it was not made by this workload's prepare: it is left as it is. "
      .. "Drop it yourself, or name another database"):format(name), 0)
  end
  self.db:script(("create table %s %s"):format(postgres.quote_identifier(name), definition))
  self.db:script(("comment on table %s is '%s'"):format(postgres.quote_identifier(name), (self.mark:gsub("'", "''"))))
end

--- Fills a table by COPY, telling how far it is.
---@param name string
---@param columns string "id, k, c"
---@param count integer rows
---@param line fun(i: integer): string row i in COPY's text format: tabs between the columns, \N for NULL
function preparation:copy(name, columns, count, line)
  local i, told = 0, sys.monotonic()
  local text = buffer.new(PIECE + 4096)
  local function piece()
    while i < count and #text < PIECE do
      i = i + 1
      text:put(line(i), "\n")
    end
    if sys.monotonic() - told > PROGRESS_SECONDS then
      told = sys.monotonic()
      say("  %s: %d of %d rows (%.0f %%)", name, i, count, i / count * 100)
    end
    return #text > 0 and text:get() or nil
  end
  self.db:copy(("copy %s (%s) from stdin"):format(postgres.quote_identifier(name), columns), piece)
  say("  %s: %d rows", name, count)
end

--- Runs statements: a text that may hold several, or one with arguments.
---@param sql string
---@param ... any arguments
function preparation:execute(sql, ...)
  if select("#", ...) == 0 then return self.db:script(sql) end
  return self.db:execute(sql, ...)
end

--- Drops the tables that prepare made.
function preparation:drop_marked()
  local rows = self.db:rows([[select c.oid::regclass::text as name from pg_class c
    where c.relkind in ('r', 'p') and obj_description(c.oid, 'pg_class') = $1 order by 1]], self.mark)
  local names = {}
  for i, row in ipairs(rows) do names[i] = row.name end
  if #names == 0 then
    say "  nothing to drop: no table carries this workload's mark"
    return
  end
  self.db:script("drop table " .. table.concat(names, ", ") .. " cascade")
  say("  dropped %s", table.concat(names, ", "))
end

-- Calls work(preparation) on each target.
local function each_target(test, what, work)
  for _, target in ipairs(test.targets) do
    local db, cause = connection.connect(target.parameters, {
      statements = statements.new "extended", protocol = "extended", number = 1,
      random = random.new(test.values.seed, 0, 1), on_bytes = function() end,
    })
    if not db then
      log.error("load: " .. cause)
      return 1
    end
    say("%s of %s on %s:%s/%s", what, test.workload.name, db.postgres.host, db.postgres.port, db.postgres.dbname)
    local self = setmetatable({
      db = db, options = test.values, random = db.random, mark = "dbobs load test: " .. test.workload.name,
    }, preparation)
    local ok, failure = pcall(work, self)
    db:close()
    if not ok then
      if failure == task.CANCELLED then error(failure, 0) end
      log.error(("load: %s: %s"):format(what, tostring(failure)))
      return 1
    end
  end
  return 0
end

--- Makes the tables and data of a workload. Returns the exit code.
---@param test table see dbobs.load.setup
---@param path string the workload's file
function M.prepare(test, path)
  local prepare = test.workload.prepare
  if not prepare then
    log.error(("load: the workload %s has nothing to prepare"):format(test.workload.name))
    return 1
  end
  local code = each_target(test, "prepare", prepare)
  if code == 0 then say("ready: dbobs run %s", path) end
  return code
end

--- Drops what prepare made. Returns the exit code.
function M.cleanup(test)
  return each_target(test, "cleanup", function(self)
    self:drop_marked()
    if test.workload.cleanup then test.workload.cleanup(self) end
  end)
end

return M
