--- dbobs ui: the topic monitor, a page for the browser.
local http = require "dbobs.http"
local kafka_tool = require "dbobs.kafka_tool"
local log = require "dbobs.log"
local monitor = require "dbobs.ui.monitor"
local site = require "dbobs.ui.site"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

M.usage = [[
Usage: dbobs ui [options]

Serves a page that shows a Kafka cluster until SIGTERM or SIGINT: its brokers, topics and consumer groups, and the
records of its topics, decoded. It only reads, joins no consumer group and commits nothing. There is no login: who
reaches the address sees every record.

  --address A      where the page is (default: 127.0.0.1:8080; port 0: a free one)
  --host NAME,...  other names by which browsers may call it; requests that name another host are refused
]] .. kafka_tool.usage

M.options = { ["--address"] = "string", ["--brokers"] = "string", ["--config"] = "string", ["--host"] = "string" }

local DEFAULT_ADDRESS = "127.0.0.1:8080"

local function names_of(list)
  local names = {}
  for name in (list or ""):gmatch "[^,%s]+" do names[#names + 1] = name end
  return names
end

function M.run(arguments, given)
  if arguments[1] then return nil, ("unexpected '%s'"):format(arguments[1]) end
  local address = given.address or DEFAULT_ADDRESS
  local host, wrong = http.address(address)
  if not host then return nil, "option --address: " .. wrong end
  local properties, problem = kafka_tool.properties(given)
  if not properties then return nil, problem end
  local watch = monitor.new(properties)
  local pages = site.new(watch)
  local server, cause = http.serve { address = address, hosts = names_of(given.host),
    handler = function(request) return pages:answer(request) end }
  if not server then
    log.error(cause)
    return 1
  end
  local watching = task.spawn(watch.run, watch)
  local shown = host:find(":", 1, true) and "[" .. host .. "]" or host
  sys.write(("http://%s:%d/\n"):format(shown, server.port))
  log.info("the topic monitor runs until it is stopped", { brokers = properties["bootstrap.servers"] })
  kafka_tool.wait_for(function() return false end)
  task.cancel(watching)
  server:close()
  watch:close()
  return 0
end

return M
