-- The main pipeline: every server of targets.lua, its metrics, statements and log events, each to its topic.
--   dbobs check pipelines/pg.lua     what works, what is missing
--   dbobs run pipelines/pg.lua       run it
local dbobs = require "dbobs"
local topics = require "topics"

-- Every librdkafka property can stand here under its own name. "embedded" starts a broker inside dbobs, to try things.
-- ["linger.ms"] = 50 is how long a record may wait for others to share a request with. With 0 to 5 a line of a server's
-- log is in Kafka within milliseconds, for more CPU here and in the broker; a backlog goes as fast with any.
local kafka = dbobs.kafka {
  ["bootstrap.servers"] = dbobs.env("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
}

-- How often; seconds or a text like "30s" or "5m".
local every = dbobs.env("COLLECTION_INTERVAL", "30s")

-- How dbobs is, for `dbobs health` and health checks: 200 when all is well, 503 with the reasons when not. "off": not.
dbobs.health { address = dbobs.env("HEALTH_ADDRESS", "127.0.0.1:13133") }

-- Off where the OpenTelemetry Collector's receiver writes the metrics to the same topic.
local with_metrics = dbobs.env("COLLECT_METRICS", "on") ~= "off"

-- Topics that do not exist are created with the contract's retention. Set this to false where somebody else makes them.
local create_topics = true

if create_topics then topics.create(kafka) end

-- Called for each target: for those of a list that is read again while dbobs runs, when they are taken up.
dbobs.each(require "targets", function(target)
  if with_metrics then
    dbobs.collect(require "collectors.metrics", target, { every = every, to = kafka:topic(topics.metrics) })
  end
  dbobs.collect(require "collectors.queries", target, { every = every, to = kafka:topic(topics.queries) })
  dbobs.collect(require "collectors.logs", target, { every = every, to = kafka:topic(topics.logs),
    -- Which events of events.lua: most are off until they are switched on, and cost nothing then.
    -- events = { long_transaction = "5m", idle_in_transaction = "1m", blocked = true, xid_age = true,
    --   replication_slot = true },
    -- Each line of log_file once for readers with isolation.level=read_committed, whatever is killed:
    -- delivery = "exactly_once",
  })
  -- A history of the active sessions, each second; name its topic in topics.lua first.
  -- dbobs.collect(require "collectors.sessions", target, { every = "1s", to = kafka:topic(topics.sessions) })
end)
