-- Reads the lines of write.lua from a stamped topic and prints the delay from written to acknowledged: median, 99th
-- percentile and longest. Kafka's stamp is in milliseconds: the end of that millisecond counts.
local dbobs = require "dbobs"

local options = dbobs.arguments { brokers = "", topic = "", lines = 0, skip = 0 }

local consumer = dbobs.kafka.consumer { ["bootstrap.servers"] = options.brokers,
  assign = { topic = options.topic, partition = 0, from = "beginning" } }
local delays, seen = {}, 0
while #delays < options.lines do
  local message = assert(consumer:poll "60s", "lines are missing")
  local written = tonumber(message.value:match "written at (%d+)")
  seen = seen + 1
  if seen > options.skip then delays[#delays + 1] = message.timestamp / 1000 + 1 - written / 1000 end
end
consumer:close()
table.sort(delays)
local function at(part) return delays[math.max(1, math.ceil(part * #delays))] end
print(("p50 %.1f ms   p99 %.1f ms   longest %.1f ms"):format(at(0.5), at(0.99), delays[#delays]))
