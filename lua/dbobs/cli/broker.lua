--- dbobs broker: the embedded broker as a process of its own, for trying and testing.
local log = require "dbobs.log"
local new_broker = require "dbobs.core.kafka_broker"
local sys = require "dbobs.core.sys"
local tool = require "dbobs.kafka_tool"

local M = {}

M.usage = [[
Usage: dbobs broker [options]

Runs the embedded Kafka broker until SIGTERM or SIGINT and prints its address, a port of its own choosing on 127.0.0.1.
It is librdkafka's mock broker, for trying and testing only: it keeps at most 5 MiB of each partition, in memory.

  --address-file FILE  write the address to a file, too; removed at the end
  --topics A,B,...     create these topics with one partition each; others are created when first asked for, with four
]]

M.options = { ["--address-file"] = "string", ["--topics"] = "string" }

-- Written whole or not at all: whoever waits for the file may read it at once.
local function write_file(path, text)
  local file, cause = io.open(path .. ".new", "wb")
  if not file then return nil, cause end
  local written, write_cause = file:write(text)
  local closed, close_cause = file:close()
  if not (written and closed) then return nil, write_cause or close_cause end
  return os.rename(path .. ".new", path)
end

function M.run(arguments, given)
  if arguments[1] then return nil, ("unexpected '%s'"):format(arguments[1]) end
  local broker, cause = new_broker()
  if not broker then
    log.error("the broker cannot be started", { error = cause })
    return 1
  end
  for name in (given.topics or ""):gmatch "[^,%s]+" do
    local ok, problem = broker:topic(name, 1)
    if not ok then
      log.error("cannot create the topic", { topic = name, error = problem })
      return 1
    end
  end
  if given.address_file then
    local ok, problem = write_file(given.address_file, broker:address() .. "\n")
    if not ok then
      log.error("cannot write the address file", { error = problem })
      return 1
    end
  end
  sys.write(broker:address() .. "\n")
  log.info("the embedded broker runs until it is stopped; it is for trying and testing only")
  tool.wait_for(function() return false end)
  if given.address_file then os.remove(given.address_file) end
  broker:close()
  return 0
end

return M
