--- The registry of counters, one for each collector, target and name; shared by all of the process.
local sys = require "dbobs.core.sys"

local M = {}

--- Adds `n` (1 by default) to a counter, which begins at 0.
---@param collector string
---@param target string
---@param name string
---@param n number|nil
function M.add(collector, target, name, n)
  sys.count(collector, target, name, n or 1)
end

--- Sets a figure that rises and falls.
---@param collector string
---@param target string
---@param name string
---@param value number a whole number
function M.set(collector, target, name, value)
  sys.set_count(collector, target, name, value)
end

--- Removes all counters of a target that is no more.
---@param target string
function M.forget(target)
  sys.forget_counts(target)
end

--- All counters, sorted.
---@return {[1]: string, [2]: string, [3]: string, [4]: number}[] each {collector, target, name, value}
function M.all()
  return sys.counts()
end

return M
