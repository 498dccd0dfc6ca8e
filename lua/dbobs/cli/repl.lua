--- dbobs repl: the API at a prompt. Each input runs in a task of its own, so that it may wait, and other tasks go on
--- while the prompt waits.
local core = require "dbobs.core.prompt"
local inspect = require "dbobs.inspect"
local log = require "dbobs.log"
local pipeline = require "dbobs.pipeline"
local run = require "dbobs.run"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local terminal = require "dbobs.terminal"

local M = {}

M.usage = [[
Usage: dbobs repl

Lua with the API of pipelines at a prompt: what is typed is run, and what it returns is printed. It may wait (a query, a
sleep, a record), and tasks that were started go on while the prompt waits.

  dbobs> db = dbobs.postgres.connect { host = "localhost", user = "postgres" }
  dbobs> db:query "select datname, numbackends from pg_stat_database"
  dbobs> dbobs.spawn(function() dbobs.sleep "1s" print "a second later" end)

An input that is not complete goes on in the next line. Names that are to last must not be local. Ctrl-C ends what runs,
or forgets what is typed; Ctrl-D ends dbobs. Lines are remembered in $DBOBS_STATE_DIR/repl_history (by default in
~/.local/state/dbobs), those with a password are not. Modules are looked for here, in pipelines/, and in the binary.

Without a terminal the input is read to its end; then the exit code is 1 when something in it failed.
]]

M.options = {}

local PROMPT, MORE = "dbobs> ", "    -> "

---@class session
local session = {}
session.__index = session

-- The state directory is the only thing that is needed of the disk, and only for the history.
local function history_file()
  local lfs = require "lfs"
  local directory = run.state_directory()
  for at in (directory .. "/"):gmatch "()/" do
    if at > 1 then lfs.mkdir(directory:sub(1, at - 1)) end
  end
  return lfs.attributes(directory, "mode") == "directory" and directory .. "/repl_history" or nil
end

local function new_session(prompt)
  return setmetatable({ prompt = prompt, out = terminal.output(), is_terminal = prompt:is_terminal(), code = 0 },
    session)
end

-- Prints while the prompt may stand there.
function session:write(text)
  self.prompt:hide()
  self.out:write(text)
  self.prompt:show()
end

function session:print_values(count, ...)
  for i = 1, count do
    local value = (select(i, ...))
    if inspect.is_result(value) then inspect.print_result(self.out, value)
    else self.out:write(inspect.text(value) .. "\n") end
  end
end

function session:fail(cause)
  self.code = 1
  local text = inspect.hide(tostring(cause))
  if self.is_terminal then self.out:write(self.out:paint("red", text) .. "\n")
  else sys.log(text .. "\n") end
end

-- Compiles an input: an expression, else statements. Returns a function; or nil, the cause, and whether more may come.
local function compile(text)
  local expression = text:gsub("^%s*=", "")
  local fn = loadstring("return " .. expression, "=input")
  if fn then return fn end
  local cause
  fn, cause = loadstring(text, "=input")
  return fn, cause, cause ~= nil and cause:find "near '<eof>'$" ~= nil
end

local function with_traceback(cause)
  if cause == task.CANCELLED then return "interrupted" end
  local text = tostring(cause)
  if text:find "^[^\n]*interrupted$" then return "interrupted" end
  -- What lies below the input is ours.
  local trace = debug.traceback("", 2):gsub("\n%s*%[C%]: in function 'xpcall'.*$", ""):gsub("^\n?stack traceback:", "")
  trace = trace:gsub("\n%s*dbobs:lua/[^\n]*", ""):gsub("\n%s*%[C%][^\n]*", "")
  return trace:find "%S.*\n.*%S" and text .. trace or text
end

-- Runs an input in a task of its own and waits for it.
function session:evaluate(fn)
  local results, count
  self.running = task.spawn(function()
    core.evaluating(true)
    local function keep(...)
      count = select("#", ...)
      return { ... }
    end
    results = keep(xpcall(fn, with_traceback))
    core.evaluating(false)
  end)
  task.join(self.running)
  self.running = nil
  core.interrupted() -- it has done its work
  if not results then return self:fail "interrupted" end
  if not results[1] then return self:fail(results[2]) end
  -- What can happen comes back as nil and a cause.
  if count >= 3 and results[2] == nil and type(results[3]) == "string" then return self:fail(results[3]) end
  self:print_values(count - 1, unpack(results, 2, count))
end

-- The next line. nil and "end" or "interrupted".
function session:line(text)
  while true do
    local line, cause = self.prompt:take(text)
    if line ~= false then return line, cause end
    task.wait(self.prompt)
  end
end

function session:remember(text)
  if not self.is_terminal or text:lower():find "passw" or text:find "://[^%s]*@" then return end
  if not self.prompt:remember(text) and not self.told then
    self.told = true
    log.warn "the history cannot be written"
  end
end

-- Reads an input, in as many lines as it has, and runs it. Returns false at the end.
function session:step()
  local text
  while true do
    local line, cause = self:line(text and MORE or PROMPT)
    if not line then
      if self.is_terminal then self.out:write(cause == "interrupted" and "^C\n" or "\n") end
      if cause == "end" and text then self:fail((select(2, compile(text)))) end
      return cause == "interrupted"
    end
    text = text and text .. "\n" .. line or line
    if not text:find "%S" then return true end
    local fn, problem, more = compile(text)
    if fn or not more then
      self:remember(text)
      if fn then self:evaluate(fn) else self:fail(problem) end
      return not self.out.closed
    end
  end
end

function session:interrupt()
  if self.running then task.cancel(self.running) else self.prompt:interrupt() end
end

-- What tasks print must not mix with the prompt.
local function guard_output(self)
  _G.print = function(...)
    local parts = {}
    for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
    self:write(table.concat(parts, "\t") .. "\n")
  end
  if not self.is_terminal then return end
  log.around(function() self.prompt:hide() end, function() self.prompt:show() end)
end

local function banner(self)
  if not self.is_terminal then return end
  local version = sys.version()
  self.out:write(("dbobs %s; Ctrl-D ends it, 'dbobs repl --help' says more\n"):format((version)))
end

function M.run(arguments)
  if arguments[1] then return nil, ("unexpected '%s'"):format(arguments[1]) end
  -- Compiled code would not see Ctrl-C.
  require("jit").off()
  pipeline.look_in "pipelines"
  pipeline.look_in "."
  local prompt, cause = core.open(history_file())
  if not prompt then
    log.error(cause)
    return 1
  end
  local self = new_session(prompt)
  _G.dbobs = require "dbobs"
  guard_output(self)
  banner(self)
  core.interrupts(self.is_terminal)
  local ended = false
  local worker = task.spawn(function()
    while self:step() do end
    ended = true
  end)
  local orders = sys.orders()
  while task.status(worker) == "running" do
    task.wait(orders)
    local _, must_stop = sys.order()
    if must_stop then break end
    if core.interrupted() then self:interrupt() end
  end
  task.cancel(worker)
  log.around(nil, nil)
  prompt:close()
  core.interrupts(false)
  if self.is_terminal then return ended and 0 or 1 end
  return ended and self.code or 1
end

return M
