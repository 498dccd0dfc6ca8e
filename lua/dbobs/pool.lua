--- The connections that collectors share: for each target and database one, used by one task at a time; at most two of
--- a target being opened at once, and so one attempt for each database, even if it hangs.
---
--- The connection to the target's own database, the maintenance database, stays. Those to single databases are kept
--- while there are no more than `connections`, because a statement on a kept one costs the server a fraction of what a
--- new one does; the first ones are kept and the others come and go, for among a thousand databases that are asked in
--- turn the one that was used longest ago is the next that is needed. None stands in anybody's way: see pool_guard.lua.
local guard = require "dbobs.pool_guard"
local latch = require "dbobs.core.latch"
local postgres = require "dbobs.postgres"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- How many are kept unless the target says: no more than this share of what the server takes.
local KEPT, SHARE = 100, 3
-- A server's max_connections while nobody has asked.
local USUAL_CONNECTIONS = 100
-- Opened at once; also how many there are at once beside those that are kept.
local OPENING = 2
-- A process of the server remembers every relation that it has measured, 3 kB each: after so many a new one is better.
local HEAVY_ROWS = 2000

-- target -> pool. With the target goes its pool.
local pools = setmetatable({}, { __mode = "k" })

local function pool_of(target)
  local pool = pools[target]
  if not pool then
    pool = {
      owner = setmetatable({ target = target }, { __mode = "v" }), -- its user holds the target, not the pool
      main = target.database or "",
      entries = {}, -- database -> {db, busy, single, kept, used}
      singles = 0, -- entries of single databases; some of them kept
      kept = 0,
      opening = 0,
      waiting = {}, -- latch -> true
      guard = guard.new(),
    }
    pools[target] = pool
  end
  return pool
end

-- A pooler keeps the server's connections itself, and has few for its clients.
local function limit_of(pool)
  local options = pool.owner.target.options
  local given = options and options.connections
  if given then return given end
  if pool.direct == false then return 0 end
  return math.min(KEPT, math.floor((pool.max_connections or USUAL_CONNECTIONS) / SHARE))
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
  if entry.kept then pool.kept = pool.kept - 1 end
  if entry.single then pool.singles = pool.singles - 1 end
  if pool.singles == 0 then guard.wake(pool) end
end

local function has_room(pool, single)
  return pool.opening < OPENING and (not single or pool.singles < limit_of(pool) + OPENING)
end

-- The database's connection for this task alone: kept, or empty and to be opened.
local function acquire(pool, database)
  local single = database ~= pool.main
  while true do
    local entry = pool.entries[database]
    if entry and not entry.busy then
      entry.busy = true
      return entry
    end
    if not entry and has_room(pool, single) then
      entry = { busy = true, single = single }
      pool.entries[database] = entry
      if single then pool.singles = pool.singles + 1 end
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

local function open(pool, database, entry)
  if entry.db and entry.db:alive() then return entry.db end
  if entry.db then entry.db:close() end
  entry.db = nil
  while pool.opening >= OPENING do wait_for_turn(pool) end
  pool.opening = pool.opening + 1
  local ok, db, cause, info = pcall(postgres.connect, parameters(pool.owner.target, entry.single and database or nil))
  pool.opening = pool.opening - 1
  wake_all(pool)
  if not ok then error(db, 0) end
  entry.db = db
  if db and entry.single then guard.start(pool) end
  return db, cause, info
end

-- Whether a connection that was used well stays. What stays once stays while it is well, so that the same ones do.
local function is_kept(pool, database, entry)
  if not entry.single then return true end
  if guard.blocks(pool, database) or (entry.db.rows_taken or 0) > HEAVY_ROWS then return false end
  return entry.kept or pool.kept < limit_of(pool)
end

local function release(pool, database, entry, well)
  local db = entry.db
  if db and db.direct ~= nil then pool.direct, pool.max_connections = db.direct, db.max_connections end
  entry.busy, entry.used, entry.asked_to_leave = false, sys.monotonic(), nil
  if well and db and db:transaction_status() == "idle" and is_kept(pool, database, entry) then
    if entry.single and not entry.kept then
      entry.kept, pool.kept = true, pool.kept + 1
    end
  elseif pool.entries[database] == entry then
    drop(pool, database)
  end
  wake_all(pool)
end

local function finish(pool, database, entry, ok, ...)
  local evicted = entry.evicted
  release(pool, database, entry, ok)
  if evicted and (not ok or (...) == nil) then return guard.refusal(database) end
  if ok then return ... end
  return error((...), 0)
end

-- The entry of a database, not before the server was asked whether somebody is changing that database. nil when
-- somebody is.
local function admitted(pool, database)
  local single = database ~= pool.main
  while true do
    local known = pool.entries[database]
    if single and not (known and known.db) then guard.look(pool) end
    if single and guard.blocks(pool, database) then return nil end
    local entry = acquire(pool, database)
    if not single or entry.db or guard.is_fresh(pool) then return entry end
    release(pool, database, entry, false)
  end
end

--- Calls fn(db) with the target's connection to a database, which is this task's alone meanwhile. It is opened when
--- there is none, and closed when fn raises or leaves a transaction open.
---@param target table see dbobs.target: parameters, database, options.connections
---@param database string|nil nil: the target's own
---@param fn fun(db: dbobs.connection): any
---@return any ... what fn returns; or nil, cause, info when the connection cannot be had; info.blocked: the database is
---   being dropped, renamed or copied, and is not to be used now
function M.use(target, database, fn)
  local pool = pool_of(target)
  local name = database or pool.main
  local entry = admitted(pool, name)
  if not entry then return guard.refusal(name) end
  return finish(pool, name, entry, pcall(function()
    local db, cause, info = open(pool, name, entry)
    if not db then return nil, cause, info end
    if entry.single and guard.blocks(pool, name) then
      db:close()
      return guard.refusal(name)
    end
    db.rows_taken, db.uses = 0, (db.uses or 0) + 1
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

--- How many connections a target has now, and how many of them to single databases are kept.
---@param target table
---@return integer all, integer kept
function M.count(target)
  local pool, all = pool_of(target), 0
  for _ in pairs(pool.entries) do all = all + 1 end
  return all, pool.kept
end

guard.provide { use = M.use, drop = drop, wait_for_turn = wait_for_turn, wake_all = wake_all }

return M
