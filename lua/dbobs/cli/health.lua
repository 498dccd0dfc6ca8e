--- dbobs health: asks a running dbobs how it is; for people, scripts and a container's HEALTHCHECK.
local cjson = require "cjson"
local environment = require "dbobs.environment"
local health = require "dbobs.health"
local http = require "dbobs.http"
local log = require "dbobs.log"
local terminal = require "dbobs.terminal"

local M = {}

M.usage = [[
Usage: dbobs health [options]

Asks the dbobs that runs on this machine how it is. Exit code 0 when all is well; 1 when it is not, with the reasons, or
when nothing answers.

  --address A  where it serves its health (default: HEALTH_ADDRESS, else 127.0.0.1:13133)
  --timeout T  how long to wait for the answer (default: 5s)
  --json       print the whole answer
]]

M.options = { ["--address"] = "string", ["--timeout"] = "duration", ["--json"] = "boolean" }

local TIMEOUT = 5

local function seconds(value)
  return type(value) == "number" and ("%.0f s"):format(value) or "-"
end

local STYLES = { ok = "green", failing = "red", starting = "yellow" }

local function print_targets(out, answer)
  local rows = {}
  for _, target in ipairs(answer.targets) do
    for _, one in ipairs(target.collectors) do
      local problem = one.problem or one.error or ""
      rows[#rows + 1] = { target.target, one.collector, one.state, seconds(one.age_seconds), tostring(problem) }
    end
  end
  out:table({
    { title = "target", least = 12 },
    { title = "collector" },
    { title = "state", style = function(state) return STYLES[state] end },
    { title = "last success", right = true },
    { title = "problem", least = 12 },
  }, rows)
end

function M.run(arguments, given)
  if arguments[1] then return nil, ("unexpected '%s'"):format(arguments[1]) end
  local address = given.address or environment.get("HEALTH_ADDRESS", health.address)
  local _, problem = http.address(address)
  if type(problem) == "string" then return nil, problem end
  local status, body = http.get(address, "/", given.timeout or TIMEOUT)
  if not status then
    log.error("no dbobs answers there: does it run, and does its pipeline call dbobs.health?", { error = body })
    return 1
  end
  local out = terminal.output()
  local ok, answer = pcall(cjson.decode, body)
  if not ok or type(answer) ~= "table" or type(answer.targets) ~= "table" then
    log.error("what answers there is no dbobs", { address = address, status = status })
    return 1
  end
  if given.json then
    out:write(body)
  else
    out:write(out:paint(STYLES[answer.status], answer.status) .. "\n")
    for _, reason in ipairs(answer.reasons) do out:write(terminal.wrap(reason, out.columns, "  ")) end
    if #answer.targets > 0 then print_targets(out, answer) end
  end
  return status == 200 and 0 or 1
end

return M
