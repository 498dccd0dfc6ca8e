--- dbobs test: busted inside this binary, so that specs can use everything that pipelines can.
local lfs = require "lfs"
local report = require "dbobs.test_report"
local sys = require "dbobs.core.sys"
local timer = require "dbobs.timer"

local M = {}

M.usage = [[
Usage: dbobs test PATH... [busted's options]

Runs busted specs (files named *_spec.lua) inside this binary. Specs may wait, like any task: a query, a sleep or a
record that is to come do not hold up the loop. `require` looks in the working directory and beside the spec.
Useful options of busted: --filter=PATTERN, --shuffle, --repeat=N, --output=TAP; 'dbobs test --help-busted' lists all.

The last line counts: N passed, N failed.
]]

-- Options are busted's to check.
M.passes_on = true

-- What busted needs of the library `system`, which is not linked in.
local function provide_system()
  package.preload["system"] = function()
    return {
      gettime = function() return sys.wall() / 1e6 end,
      monotime = sys.monotonic,
      sleep = timer.sleep,
    }
  end
end

-- busted ends the process; here its exit code comes back instead, so that the runtime ends in order.
local function run_busted(words)
  local exit = os.exit
  local mark = {}
  os.exit = function(code) -- luacheck: ignore 122
    mark.code = code == true and 0 or code == false and 1 or code or 0
    error(mark, 0)
  end
  _G.arg = words
  local ok, cause = xpcall(function() require "busted.runner" { standalone = false } end, function(raised)
    -- With Lua 5.1 busted leaves by error(nil) when tests have failed.
    return (raised == nil or raised == mark) and mark or debug.traceback(tostring(raised), 2)
  end)
  os.exit = exit -- luacheck: ignore 122
  if not ok and cause ~= mark then
    sys.log("dbobs test: " .. tostring(cause) .. "\n")
    return 1
  end
  local code = ok and 0 or mark.code or 1
  return report.failed > 0 and 1 or code
end

function M.run(words)
  if #words == 0 then return nil, "which PATH? For example: dbobs test tests/spec" end
  for i, word in ipairs(words) do
    if word == "--help-busted" then
      words[i] = "--help"
    elseif word:sub(1, 1) ~= "-" and not lfs.attributes(word) then
      return nil, ("there is no file or directory %s"):format(word)
    end
  end
  provide_system()
  table.insert(words, 1, "--output=dbobs.test_report")
  words[0] = "dbobs test"
  return run_busted(words)
end

return M
