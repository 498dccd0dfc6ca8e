--- Keeps a target's connections to single databases out of the way of whoever drops, renames or copies the database
--- (CREATE DATABASE ... TEMPLATE), which waits up to five seconds for everybody else to leave. pg_locks shows it as a
--- lock on the database itself, held or waited for: it is looked at every two seconds while such a connection is open,
--- and before one is opened. Then the connection is closed, also one in use, and none is opened meanwhile: that would
--- hang until the other is ready.
---
--- Two things cannot be helped: the target's own database is not let go, and DROP DATABASE ... WITH (FORCE) by an owner
--- who may not end our sessions fails at once.
local guest = require "dbobs.guest"
local latch = require "dbobs.core.latch"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

local LOOK_SECONDS = 2
-- A connection in use has so long to come to its end by itself.
local GRACE_SECONDS = 0.5
-- One that nobody has used for so long is closed: the next collection is far away.
local UNUSED_SECONDS = 120

-- 1262 is pg_database.
local LOOK = [[select d.datname as name from pg_locks l join pg_database d on d.oid = l.objid
  where l.locktype = 'object' and l.classid = 1262
    and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')]]

-- What pool.lua can do.
local pools

--- Takes over the functions of the pool that are needed here.
---@param functions table
function M.provide(functions)
  pools = functions
end

--- What is known of a new pool: blocked, the databases that somebody is changing; looked, when that was asked.
function M.new()
  return { blocked = {}, bell = latch() }
end

--- Whether the last look is recent enough.
function M.is_fresh(pool)
  local looked = pool.guard.looked
  return looked ~= nil and sys.monotonic() - looked < LOOK_SECONDS
end

--- Whether somebody was changing the database at the last look.
function M.blocks(pool, database)
  return pool.guard.blocked[database] ~= nil
end

--- What a user of the pool is told about such a database.
---@return nil, string cause, table info
function M.refusal(database)
  local message = ("database '%s' is being dropped, renamed or copied: it is left alone meanwhile"):format(database)
  return nil, "pool.use: " .. message, { message = message, blocked = true, retryable = true }
end

-- Closes what is open to the databases that are being changed; those in use are told to come to an end.
local function let_go(pool)
  local busy = false
  for database in pairs(pool.guard.blocked) do
    local entry = pool.entries[database]
    if entry and entry.single and not entry.busy then
      pools.drop(pool, database)
    elseif entry and entry.single then
      entry.asked_to_leave, busy = true, true
    end
  end
  pools.wake_all(pool)
  return busy
end

local function evict(pool)
  for _, entry in pairs(pool.entries) do
    if entry.asked_to_leave and entry.db then
      entry.evicted = true
      entry.db:close()
    end
  end
end

local function ask(db)
  local blocked = {}
  local failures = guest.snapshot(db, { { name = "locks", sql = LOOK, each = function(chunk)
    for _, row in ipairs(chunk:rows()) do blocked[row.name] = true end
  end } }, { statement_timeout = LOOK_SECONDS })
  return failures and not failures.locks and blocked or nil
end

-- An idle connection to a single database does as well while the main one is in use.
local function idle_one(pool)
  local main = pool.entries[pool.main]
  if not (main and main.busy) then return nil end
  for database, entry in pairs(pool.entries) do
    if entry.db and not entry.busy then return database end
  end
end

--- Asks the server which databases are being changed, unless that was done lately. One task asks, others wait for it.
--- When the server cannot be asked, nothing is known to be in the way.
---@param pool table
---@return boolean busy whether a connection to such a database is in use
function M.look(pool)
  local state = pool.guard
  while state.looking do pools.wait_for_turn(pool) end
  if M.is_fresh(pool) then return false end
  state.looking = true
  local ok, blocked = pcall(pools.use, pool.owner.target, idle_one(pool), ask)
  state.looking, state.looked = false, sys.monotonic()
  state.blocked = ok and blocked or {}
  local busy = let_go(pool)
  if not ok then error(blocked, 0) end
  return busy
end

local function close_unused(pool)
  local now = sys.monotonic()
  for database, entry in pairs(pool.entries) do
    if entry.single and not entry.busy and now - (entry.used or now) > UNUSED_SECONDS then
      pools.drop(pool, database)
    end
  end
  pools.wake_all(pool)
end

local function stand_guard(pool)
  while pool.singles > 0 do
    task.wait(pool.guard.bell, LOOK_SECONDS)
    close_unused(pool)
    if pool.singles > 0 and M.look(pool) then
      task.wait(nil, GRACE_SECONDS)
      evict(pool)
    end
  end
end

--- Begins to look regularly, until there is no connection to a single database any more.
---@param pool table
function M.start(pool)
  if pool.guard.stands then return end
  pool.guard.stands = true
  task.background(function(_)
    local ok, cause = pcall(stand_guard, pool)
    pool.guard.stands = false
    if not ok then error(cause, 0) end
  end, pool.owner.target)
end

--- The guard is to see at once whether anything is left to guard.
---@param pool table
function M.wake(pool)
  pool.guard.bell:signal()
end

return M
