-- Sends a server log to a topic and, with once=true, ends when its end is acknowledged; else follows it.
local dbobs = require "dbobs"

local options = dbobs.arguments {
  path = "", format = "jsonlog", prefix = "", brokers = "", topic = "", checkpoint = "", linger = 50, once = false,
}

local kafka = dbobs.kafka { ["bootstrap.servers"] = options.brokers, ["linger.ms"] = options.linger }
local follower = assert(dbobs.tail.server_log {
  path = options.path, checkpoint = options.checkpoint, format = options.format, log_line_prefix = options.prefix,
  timezone = "UTC", to = kafka:topic(options.topic),
  envelope = { host = "db1.example.org", port = 5432, database = "postgres", environment = "bench", tags = {} },
})
local task = dbobs.spawn(follower.run, follower)
if options.once then
  repeat
    dbobs.sleep(0.02)
    local progress = follower.follower:progress()
  until progress.acknowledged == progress.size
  dbobs.cancel(task)
else
  dbobs.join(task)
end
