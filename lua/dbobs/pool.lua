--- The few connections that collectors share: for each target and database one, used by one task at a time; at most
--- `connections` of a target at once, at most two of them opening. A database that hangs while it is connected to (one
--- that is being dropped) has one connection attempt pending, not one for each collector.
local latch = require "dbobs.core.latch"
local postgres = require "dbobs.postgres"
local task = require "dbobs.task"

local M = {}

local CONNECTIONS, OPENING = 2, 2

-- target -> {entries = {database -> {db, busy}}, count, opening, waiting = {latch -> true}}. With the target goes its
-- pool.
local pools = setmetatable({}, { __mode = "k" })

local function pool_of(target)
  local pool = pools[target]
  if not pool then
    pool = { entries = {}, count = 0, opening = 0, waiting = {} }
    pools[target] = pool
  end
  return pool
end

local function limit_of(target)
  return target.options and target.options.connections or CONNECTIONS
end

local function wait_for_turn(pool)
  local turn = latch()
  pool.waiting[turn] = true
  local ok, cause = pcall(task.wait, turn)
  pool.waiting[turn] = nil
  if not ok then error(cause, 0) end
end

local function wake_all(pool)
  for turn in pairs(pool.waiting) do turn:signal() end
end

local function drop(pool, database)
  local entry = pool.entries[database]
  if entry.db then entry.db:close() end
  pool.entries[database] = nil
  pool.count = pool.count - 1
end

-- Makes room for one connection more by closing the one that has been idle longest. False when all are in use.
local function make_room(pool, limit)
  if pool.count < limit then return true end
  local oldest
  for database, entry in pairs(pool.entries) do
    if not entry.busy and (not oldest or entry.used < pool.entries[oldest].used) then oldest = database end
  end
  if not oldest then return false end
  drop(pool, oldest)
  return true
end

-- The database's connection for this task alone: kept, or empty and to be opened.
local function acquire(target, pool, database)
  while true do
    local entry = pool.entries[database]
    if entry and not entry.busy then
      entry.busy = true
      return entry
    end
    if not entry and pool.opening < OPENING and make_room(pool, limit_of(target)) then
      entry = { busy = true, used = 0 }
      pool.entries[database] = entry
      pool.count = pool.count + 1
      return entry
    end
    wait_for_turn(pool)
  end
end

local function parameters(target, database)
  local given = { dbname = database }
  for name, value in pairs(target.parameters) do
    if name ~= "dbname" or not database then given[name] = value end
  end
  return given
end

local function open(target, pool, database, entry)
  if entry.db and entry.db:alive() then return entry.db end
  if entry.db then entry.db:close() end
  entry.db = nil
  pool.opening = pool.opening + 1
  local ok, db, cause, info = pcall(postgres.connect, parameters(target, database))
  pool.opening = pool.opening - 1
  if not ok then error(db, 0) end
  entry.db = db
  return db, cause, info
end

local clock = 0

local function release(pool, database, entry, keep)
  clock = clock + 1
  entry.used, entry.busy = clock, false
  if not keep and pool.entries[database] == entry then drop(pool, database) end
  wake_all(pool)
end

local function finish(pool, database, entry, ok, ...)
  local db = entry.db
  release(pool, database, entry, ok and db and db:alive() and db:transaction_status() == "idle")
  if ok then return ... end
  return error((...), 0)
end

--- Calls fn(db) with the target's connection to a database, which is this task's alone meanwhile. It is opened when
--- there is none, and closed when fn raises or leaves a transaction open.
---@param target table see dbobs.target: parameters, options.connections
---@param database string|nil nil: the target's own
---@param fn fun(db: dbobs.connection): any
---@return any ... what fn returns; or nil, cause, info when the connection cannot be had
function M.use(target, database, fn)
  local pool = pool_of(target)
  local name = database or target.database or ""
  local entry = acquire(target, pool, name)
  return finish(pool, name, entry, pcall(function()
    local db, cause, info = open(target, pool, database, entry)
    if not db then return nil, cause, info end
    return fn(db)
  end))
end

--- Closes a target's connections that nobody is using.
---@param target table
function M.close(target)
  local pool = pool_of(target)
  for database, entry in pairs(pool.entries) do
    if not entry.busy then drop(pool, database) end
  end
  wake_all(pool)
end

return M
