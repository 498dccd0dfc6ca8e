--- One run of a collector on a target: what the collector's functions are given.
local counters = require "dbobs.counters"
local env = require "dbobs.environment"
local guest = require "dbobs.guest"
local log = require "dbobs.log"
local pool = require "dbobs.pool"
local sys = require "dbobs.core.sys"
local trace = require "dbobs.trace"

local M = {}

---@class dbobs.run a run of a collector on a target: what its functions are given
---@field target {name: string, host_name: string, port_number: integer, database: string, options: dbobs.target} the
---  target; options: its entry in targets.lua
---@field options table the collector's options, complete
---@field sink dbobs.sink where its records go
---@field batch dbobs.batch|nil to be handed to each send, so that their delivery is known
---@field state table kept between the runs of this collector on this target
---@field time number microseconds since 1970 of this run's beginning
---@field failed_parts integer
local run = {}
run.__index = run

--- A run of a job of dbobs.collect.
---@param job table
---@param to dbobs.sink|nil where its records go
---@param batch dbobs.batch|nil
---@return dbobs.run
function M.new(job, to, batch)
  return setmetatable({
    target = job.target,
    options = job.options,
    sink = to,
    batch = batch,
    state = job.state,
    time = sys.wall(),
    collector = job.collector,
    failed_parts = 0,
  }, run)
end

--- What every record of this target says of itself.
---@return {host: string, port: integer, database: string, environment: string, tags: table<string, string>}
function run:envelope()
  local target = self.target
  return {
    host = target.host_name,
    port = target.port_number,
    database = target.database,
    environment = target.environment,
    tags = target.tags,
  }
end

--- The key of a record about a database: "<host>:<database>".
---@param database string|nil nil: the maintenance database
---@return string
function run:key(database)
  return ("%s:%s"):format(self.target.host_name, database or self.target.database)
end

--- Where positions are kept: as asked, as systemd says, or where the user's programs keep their state.
---@return string directory
function M.state_directory()
  local home = env.get "HOME"
  local state = env.get("XDG_STATE_HOME", home and home .. "/.local/state")
  return env.get "DBOBS_STATE_DIR" or env.get "STATE_DIRECTORY" or (state and state .. "/dbobs") or "/var/lib/dbobs"
end

--- The file in which this collector keeps its position on this target, see dbobs.tail:
--- $DBOBS_STATE_DIR/<target>.<collector>.json.
---@return string path
function run:checkpoint()
  local target = self.target.name:gsub("[^%w%.%-_]", function(c) return ("%%%02X"):format(c:byte()) end)
  return ("%s/%s.%s.json"):format(M.state_directory(), target, self.collector.name)
end

--- Runs statements as a guest, in one read-only transaction, on the target's connection to a database.
---@param database string|nil nil: the maintenance database
---@param statements table[] see dbobs.guest.snapshot
---@return table<string, table>|nil failures by statement name; nil when the connection could not be had or was lost
---@return string|nil cause
---@return table|nil info see dbobs.pool.use
function run:snapshot(database, statements)
  local target = self.target
  local again
  local function ask(db)
    local failures, cause, info = guest.snapshot(db, statements, {
      statement_timeout = target.options.statement_timeout,
      lock_timeout = target.options.lock_timeout,
      trace = self:trace(),
    })
    -- A kept connection that had died unnoticed: nothing has come over it, so a new one is as good.
    again = not failures and info and info.lost and db.uses > 1 and db.rows_taken == 0
    return failures, cause, info
  end
  local failures, cause, info = pool.use(target, database, ask)
  if again and not info.blocked then return pool.use(target, database, ask) end
  return failures, cause, info
end

--- How this collector's statements are traced (dbobs run --trace): for what asks the server in another way than by
--- snapshot.
---@return dbobs.trace|nil
function run:trace()
  return trace.of(self.collector.name, self.target.name)
end

--- Adds to one of this collector's counters.
---@param name string
---@param n number|nil 1 by default
function run:count(name, n)
  counters.add(self.collector.name, self.target.name, name, n)
end

--- Tells that a part could not be had while the rest goes on: logged as a lasting condition, counted, and the run
--- counts as failed for `--once`.
---@param what string which part, the same text each time
---@param why string
function run:partial(what, why)
  self.failed_parts = self.failed_parts + 1
  self:count "partial_errors"
  self:tell(what, true, why)
end

--- Tells whether a condition holds, see dbobs.log.condition.
---@param what string
---@param active boolean
---@param why string|nil
function run:tell(what, active, why)
  local fields = { target = self.target.name, collector = self.collector.name, error = why }
  log.condition(("%s/%s/%s"):format(self.collector.name, self.target.name, what), active, "warn", what, fields)
end

return M
