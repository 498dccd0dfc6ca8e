--- busted's output handler of `dbobs test`: a line for each test, what failed in full, and the counts as last line.
--- A test that leaves a task behind fails, and so does a spec file that leaves a file descriptor open.
local lfs = require "lfs"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

-- What ends in the background gets this long to be gone: much more than it needs on a busy machine, since only what is
-- left for good is waited for so long.
local SETTLE_SECONDS = 60

-- How many files are open, and which. The loop opens one inotify descriptor when a directory is first watched and keeps
-- it.
local function open_files()
  local names = {}
  for number in lfs.dir "/proc/self/fd" do
    local name = lfs.symlinkattributes("/proc/self/fd/" .. number, "target")
    if name ~= "anon_inode:inotify" then names[#names + 1] = name end
  end
  table.sort(names)
  return #names, table.concat(names, " ")
end

-- Waits until `measure()` is down to `limit`; returns what it is in the end.
local function settle(measure, limit)
  local until_time = sys.monotonic() + SETTLE_SECONDS
  while true do
    collectgarbage()
    collectgarbage()
    local value = measure()
    if value <= limit or sys.monotonic() > until_time then return value end
    timer.sleep(0.02)
  end
end

local M = { failed = 0 }

local function new_handler(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local counts = { passed = 0, failed = 0, skipped = 0 }
  local problems = {}
  local tasks_before, files_before

  local function line(text) sys.write(text .. "\n") end

  local function leaked(name, text)
    counts.failed = counts.failed + 1
    problems[#problems + 1] = name .. "\n" .. text
    line("LEAK   " .. name .. ": " .. text)
  end

  function handler.test_start()
    tasks_before = task.count()
    return nil, true
  end

  function handler.test_end(element, _, status)
    local name = handler.getFullName(element)
    local word = status == "success" and "passed" or status == "pending" and "skipped" or "failed"
    counts[word] = counts[word] + 1
    line(("%-6s %s"):format(word == "passed" and "ok" or word:upper(), name))
    local tasks = settle(task.count, tasks_before)
    if tasks > tasks_before then leaked(name, ("%d tasks were left running"):format(tasks - tasks_before)) end
    return nil, true
  end

  function handler.file_start()
    collectgarbage()
    files_before = open_files()
    return nil, true
  end

  function handler.file_end(file)
    local files = settle(open_files, files_before)
    local left = files - files_before
    if left > 0 then
      leaked(file.name, ("%d file descriptors were left open, among: %s"):format(left, (select(2, open_files()))))
    end
    return nil, true
  end

  function handler.problem(element, _, message, debug_info)
    local name = element and handler.getFullName(element) or "?"
    local text = type(message) == "string" and message or require "pl.pretty".write(message)
    local traceback = debug_info and debug_info.traceback or ""
    problems[#problems + 1] = name .. "\n" .. text .. "\n" .. traceback
    -- An error outside of a test (a file that does not load, a setup that raises) has no test_end that counts it.
    if not element or element.descriptor ~= "it" then counts.failed = counts.failed + 1 end
    return nil, true
  end

  function handler.suite_end()
    for _, problem in ipairs(problems) do line("\n---- " .. problem) end
    line("")
    local total = ("%d passed, %d failed"):format(counts.passed, counts.failed)
    line(counts.skipped > 0 and ("%s, %d skipped"):format(total, counts.skipped) or total)
    M.failed = counts.failed
    return nil, true
  end

  busted.subscribe({ "test", "start" }, handler.test_start, { predicate = handler.cancelOnPending })
  busted.subscribe({ "test", "end" }, handler.test_end, { predicate = handler.cancelOnPending })
  busted.subscribe({ "file", "start" }, handler.file_start)
  busted.subscribe({ "file", "end" }, handler.file_end)
  busted.subscribe({ "suite", "end" }, handler.suite_end)
  busted.subscribe({ "error" }, handler.problem)
  busted.subscribe({ "failure" }, handler.problem)
  handler.options = options
  return handler
end

-- busted calls what it required.
return setmetatable(M, { __call = function(_, options) return new_handler(options) end })
