-- Which topic each stream goes to, and how long Kafka is to keep it.
local topics = {
  metrics = "otel-metrics",
  logs = "raw-logs",
  queries = "raw-queries",
  -- sessions = "raw-sessions", -- what each active session does, every second: see pg.lua
}

local days = 24 * 60 * 60 * 1000

local retention = {
  metrics = 7 * days,
  logs = 30 * days,
  queries = 90 * days,
  sessions = 7 * days,
}

-- Creates those that do not exist; those that exist are left as they are.
function topics.create(kafka)
  for stream, milliseconds in pairs(retention) do
    if topics[stream] then kafka:ensure_topic(topics[stream], { config = { ["retention.ms"] = milliseconds } }) end
  end
end

return topics
