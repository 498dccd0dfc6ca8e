--- What each Lua state begins with, the main one and those of other threads.
local core = require "dbobs.core.task"
local log = require "dbobs.log"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

--- Seeds math.random, closes the way to C modules, and has tasks that fail logged.
function M.state()
  math.randomseed(sys.wall() % 2 ^ 31)
  -- C modules cannot be loaded into a static binary; Lua ones of the system only when the user says where they are.
  package.cpath = ""
  package.path = os.getenv "LUA_PATH" and package.path or "./?.lua;./?/init.lua"
  if os.getenv "DBOBS_JIT" == "off" then require("jit").off() end -- for valgrind, which cannot follow generated code
  core.on_failure(function(cause, traceback)
    if cause == task.CANCELLED then return end
    log.error("a task failed", { error = cause, traceback = traceback })
  end)
end

return M
