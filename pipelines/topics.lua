-- Which topic each stream goes to, and how long Kafka is to keep it.
local topics = {
  metrics = "otel-metrics",
  logs = "raw-logs",
  queries = "raw-queries",
}

local days = 24 * 60 * 60 * 1000

local retention = {
  [topics.metrics] = 7 * days,
  [topics.logs] = 30 * days,
  [topics.queries] = 90 * days,
}

-- Creates those that do not exist; those that exist are left as they are.
function topics.create(kafka)
  for name, milliseconds in pairs(retention) do
    kafka:ensure_topic(name, { config = { ["retention.ms"] = milliseconds } })
  end
end

return topics
