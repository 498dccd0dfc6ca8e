--- Tasks: functions that run side by side and wait without holding anybody up.
local core = require "dbobs.core.task"
local sys = require "dbobs.core.sys"

local M = {}

---@class dbobs.task a function that runs beside others, see dbobs.spawn

-- What a wait raises. Unique tables, so that nobody's error text is mistaken for them; printed like a text.
local function token(text)
  return setmetatable({}, { __tostring = function() return text end })
end
M.CANCELLED = token "cancelled: dbobs is stopping or the task was cancelled"
M.DEADLINE = token "deadline: the time that was allowed has passed"

--- Parks the current task until `object` signals or `timeout` passes. It may return without cause: try again what you
--- wait for. Works inside pcall and inside your own coroutines.
---@param object userdata|nil something that can be waited for; nil waits for the time alone
---@param timeout number|nil seconds; nil waits without end
---@return boolean signalled false when the time passed first
function M.wait(object, timeout)
  local reason = core.wait(object, timeout)
  if reason == "ready" then return true end
  if reason == "timeout" then return false end
  return error(reason == "deadline" and M.DEADLINE or M.CANCELLED, 0)
end

--- Starts `fn(...)` as a task. Errors in it are logged with a traceback and end only that task.
---@param fn fun(...)
---@param ... any what fn is called with
---@return dbobs.task task for join and cancel
M.spawn = core.spawn

--- Waits for a task's end.
---@param task dbobs.task
---@return boolean ok whether it ended without an error; then what its function returned
function M.join(task)
  while core.status(task) == "running" do M.wait(task) end
  return core.status(task) == "ended", core.results(task)
end

--- Ends a task at its present or next wait, with an error that pcall can see.
---@param task dbobs.task
M.cancel = core.cancel

--- "running" | "ended" | "failed"
M.status = core.status

local in_background = 0

local function background_ended(ok, ...)
  in_background = in_background - 1
  if not ok then error((...), 0) end
end

--- Starts `fn(...)` as a task that does not keep a script from ending: it is dropped with it.
---@return dbobs.task task
function M.background(fn, ...)
  in_background = in_background + 1
  return core.spawn(function(...) background_ended(pcall(fn, ...)) end, ...)
end

--- How many tasks have not ended, the current one among them, those in the background left out.
function M.count()
  return core.count() - in_background
end

--- The current task, nil outside of one.
M.current = core.current

local function finish(limit, outer, ok, ...)
  core.deadline(outer)
  if ok then return ... end
  local cause = ...
  -- An outer deadline that has passed as well is its owner's to handle.
  if cause == M.DEADLINE and not (outer and outer <= sys.monotonic()) then
    return nil, ("deadline: %g s passed"):format(limit)
  end
  return error(cause, 0)
end

--- Calls `fn(...)`, all of whose waits must be over within `limit`.
---@param limit string|number duration, like "5s"
---@param fn fun(...): any
---@param ... any what fn is called with
---@return any ... what fn returns, or nil and "deadline: ..." when the time passed
function M.deadline(limit, fn, ...)
  limit = sys.duration(limit)
  local until_time = sys.monotonic() + limit
  local outer = core.deadline(until_time)
  if outer and outer < until_time then core.deadline(outer) end
  return finish(limit, outer, pcall(fn, ...))
end

-- A wait inside a user's own coroutine yields to whoever resumed it. These versions of resume and wrap hand such a
-- yield on, level by level, to the scheduler, and its answer back down.
local resume, yield = coroutine.resume, coroutine.yield

local function hand_on(co, ok, first, ...)
  if ok and first == core.WAITING then return hand_on(co, resume(co, yield(first))) end
  return ok, first, ...
end

function coroutine.resume(co, ...)
  return hand_on(co, resume(co, ...))
end

local function unwrap(ok, ...)
  if ok then return ... end
  return error((...), 0)
end

function coroutine.wrap(fn)
  local co = coroutine.create(fn)
  return function(...) return unwrap(coroutine.resume(co, ...)) end
end

return M
