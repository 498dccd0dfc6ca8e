-- Makes a topic of one partition; stamped: its records bear the time at which the broker has written them.
local dbobs = require "dbobs"

local options = dbobs.arguments { brokers = "", topic = "", stamped = false }

local kafka = dbobs.kafka { ["bootstrap.servers"] = options.brokers }
assert(kafka:create_topic(options.topic, { partitions = 1, replication = 1,
  config = options.stamped and { ["message.timestamp.type"] = "LogAppendTime" } or nil }))
kafka:close()
