-- Sends the statements of a server log again, with their timing; each session has a connection of its own.
--   dbobs run pipelines/load/replay.lua log=/var/log/postgresql/postgresql.json speed=2 target="host=... dbname=..."
--   dbobs run pipelines/load/replay.lua brokers=kafka:9092 topic=raw-logs target=...
-- The log is jsonlog (*.json), csvlog (*.csv) or the plain format with its prefix=, which has %c or %p; the server
-- wrote it with log_statement = all or log_min_duration_statement = 0. What it holds is sent as it is, writes too: to a
-- copy of the database, not to the database itself.
local dbobs = require "dbobs"
local replay = require "dbobs.load.replay"

local function send(db, _, _, entry)
  if entry.arguments.n == 0 then return db:script(entry.sql) end
  db:execute(entry.sql, unpack(entry.arguments, 1, entry.arguments.n))
end

local function feed(o)
  if o.speed <= 0 then error("option speed: more than 0", 0) end
  if o.log == "" and o.brokers == "" then error("which log? Add log=FILE, or brokers=... and topic=...", 0) end
  local records, cause
  if o.log ~= "" then records, cause = replay.file(o.log, o.prefix) else records = replay.topic(o.brokers, o.topic) end
  if not records then error(cause, 0) end
  local sessions = replay.sessions(records, o.speed)
  if #sessions == 0 then
    error("the log has no statements: the server needs log_statement = all or log_min_duration_statement = 0", 0)
  end
  return sessions
end

return dbobs.load.workload {
  name = "replay",
  description = "Sends the statements of a server log again, with their timing, sessions kept apart.",
  options = {
    { name = "log", type = "string", default = "", help = "log file" },
    { name = "prefix", type = "string", default = "%m [%p] ", help = "the server's log_line_prefix, of a plain log" },
    { name = "brokers", type = "string", default = "", help = "Kafka's, to read the log from its topic" },
    { name = "topic", type = "string", default = "raw-logs", help = "the log's topic" },
    { name = "speed", type = "number", default = 1, help = "how much faster than it was" },
  },
  defaults = { duration = "0s", errors = "count", protocol = "extended" },
  targets = dbobs.load.targets_of_environment,
  feed = feed,
  events = {
    { name = "select", run = send }, { name = "insert", run = send }, { name = "update", run = send },
    { name = "delete", run = send }, { name = "other", run = send },
  },
}
