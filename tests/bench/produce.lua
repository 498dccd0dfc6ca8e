-- Sends `count` records of 200 bytes as fast as the producer takes them, and waits for their acknowledgement.
local dbobs = require "dbobs"

local options = dbobs.arguments { count = 500000, brokers = "" }

local kafka = dbobs.kafka { ["bootstrap.servers"] = options.brokers, ["linger.ms"] = 100 }
local topic = kafka:topic "bench"
local value = ("x"):rep(200)
local batch = dbobs.batch()
for _ = 1, options.count do dbobs.send(topic, nil, value, batch) end
assert(dbobs.wait_delivered(batch))
kafka:close()
