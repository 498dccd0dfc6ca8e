--- A server log into Kafka with each line once: its records and the position behind them are committed in one
--- transaction, and the position is read back from Kafka at the start. See dbobs.tail.server_log.
local log = require "dbobs.log"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- Positions that moved without a record (a file was let go) are committed at most so often.
local QUIET_COMMIT = 1

---@class dbobs.server_log.exactly_once a server's log that is sent in transactions
local server_log = {}
server_log.__index = server_log

local function read(path)
  local file = path and io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

-- Where to begin: behind what was committed last; else, once, behind what a checkpoint file says; else at the start.
-- The files of such a first start are held from now on, however long it takes until Kafka has told.
local function begin(to, given, open)
  local moved = read(given.checkpoint)
  local follower, problem = open(moved or "")
  local positions, cause, final = to:open(given.position)
  if not positions or positions ~= "" then
    if follower then follower:close() end
    if not positions then return nil, cause, final end
    return open(positions)
  end
  if not follower then return nil, problem end
  if moved then
    log.info("the position of the checkpoint file is taken over; from now on it is kept in Kafka", {
      checkpoint = given.checkpoint, topic = to.positions, target = follower.fields.target })
  end
  return follower
end

--- For dbobs.tail.server_log.
---@param given table its options; position: the key of the position
---@param parser userdata
---@param open fun(positions: string): dbobs.follower|nil, string|nil
---@param tell fun(follower: dbobs.follower) tells what the parser met
---@return dbobs.server_log.exactly_once|nil, string|nil error, boolean|nil final it is no use to try again
function M.new(given, parser, open, tell)
  local to = given.to
  local result = { pcall(begin, to, given, open) }
  local follower, cause, final = result[2], result[3], result[4]
  if not result[1] or not follower then to:close() end
  if not result[1] then error(result[2], 0) end
  if not follower then return nil, cause, final end
  return setmetatable({ follower = follower, parser = parser, to = to, count = given.count, tell = tell,
    event = given.event, finish = given.finish, progress = given.progress, next_quiet = 0 }, server_log)
end

-- Commits what was sent. Returns true; false when it was rolled back, so that it is sent again; nil and the error.
local function commit(self)
  local core, to = self.follower.core, self.to
  local records = to:status()
  local ok, cause, final
  if to:trouble() then
    ok, cause, final = to:abort()
  else
    local positions = core:positions()
    if not positions then return true end -- a line waits for room
    ok, cause, final = to:commit(positions)
  end
  self.next_quiet = sys.monotonic() + QUIET_COMMIT
  if ok then
    core:kept()
    return true
  end
  if ok == false and records == 0 then
    log.error("the position was not committed", { path = self.follower.fields.path, error = cause,
      target = self.follower.fields.target })
  end
  return ok, cause, final
end

-- Whether positions moved that no record carries.
local function is_unsaved(self)
  return not self.follower:progress().saved
end

--- One turn: sends what there is, up to some megabytes, and commits when it is time.
---@return "more"|"wait"|"full"|nil outcome wait: all was sent; nil with the error when it cannot go on
---@return string|number lines, boolean|nil final
function server_log:turn()
  self.follower:attend()
  local outcome, lines = self.follower.core:pump(self.parser, self.to.core, self.event)
  if outcome and lines > 0 and self.count then self.count(lines) end
  self.tell(self.follower)
  if self.progress then self.progress:look(self.follower) end
  if not outcome then return nil, lines end
  local quiet = outcome == "wait" and sys.monotonic() >= self.next_quiet and self.to:status() == 0 and is_unsaved(self)
  if quiet or self.to:is_due(outcome == "more") then
    local ok, cause, final = commit(self)
    if ok == nil then return nil, cause, final end
  end
  return outcome, lines
end

-- Until there is more to commit or to send.
local function pause(self, outcome)
  if outcome == "full" then return task.wait(self.to.core, 0.05) end
  if outcome == "more" then return task.wait(nil, 0) end
  local records, _, age = self.to:status()
  local left
  if records > 0 then left = math.max(self.to.every - age, 0)
  elseif is_unsaved(self) then left = math.max(self.next_quiet - sys.monotonic(), 0) end
  local look_within = self.follower:look_within()
  return task.wait(self.follower.core, look_within and left and math.min(left, look_within) or left or look_within)
end

local function send_all(self)
  while true do
    local outcome, cause, final = self:turn()
    if not outcome then return nil, cause, final end
    local is_idle = outcome == "wait" and self.to:status() == 0
    local may_finish = is_idle and self.finish and self.finish() and self.follower:is_caught_up()
    if may_finish and not is_unsaved(self) then return true end
    pause(self, outcome)
  end
end

-- What was sent is complete: it is committed before the end.
local function finish(self)
  local to = self.to
  while to.core and to.core:result() == false do task.wait(to.core) end
  if to.core and to:status() > 0 then
    local done = pcall(commit, self)
    if not done and to.core then pcall(to.abort, to) end
  end
  self:close()
  to.busy = false
end

--- Sends lines as they come, until it is cancelled, fails or is to finish; it is closed then.
---@return true|nil finished, string|nil error, boolean|nil final it is no use to try again
function server_log:run()
  local ok, result, cause, final = pcall(send_all, self)
  if ok then
    self:close()
    return result, cause, final
  end
  self.to.busy = true
  task.background(finish, self)
  return error(result, 0)
end

--- Waits until what was sent is committed.
---@return boolean|nil ok, string|nil error, boolean|nil final
function server_log:flush()
  repeat
    self.follower:attend()
    local ok, cause, final = true, nil, nil
    if self.to:status() > 0 then ok, cause, final = commit(self) end
    if ok == nil then return nil, cause, final end
    self.follower:attend()
  until self.follower:progress().in_flight == 0
  return true
end

--- Lets the files and the producer go. What was not committed is sent again at the next start.
function server_log:close()
  self.follower:close()
  self.to:close()
end

return M
