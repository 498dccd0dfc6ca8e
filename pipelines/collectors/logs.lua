-- The logs collector: events from the server's views at each collection, and, where a target has a log_file or a
-- log_source, every record of the server's log as it is written: jsonlog, csvlog or the plain format of stderr.
local activity = require "dbobs.activity"
local dbobs = require "dbobs"
local events = require "events"
local log = dbobs.log
local log_filter = require "dbobs.log_filter"
local log_position = require "dbobs.log_position"
local log_progress = require "dbobs.log_progress"
local log_settings = require "dbobs.log_settings"
local log_sql = require "dbobs.log_sql"

local collector = {
  name = "logs",
  -- events: which events of events.lua are sent: those that are on there, changed by what is given here.
  -- delivery: what of the server's log comes twice when dbobs or Kafka is killed. "at_least_once": what was on its way.
  -- "exactly_once": nothing, for a reader with isolation.level read_committed; lines and position go to Kafka in one
  -- transaction, see kafka:exactly_once. positions: the topic in which positions are kept then.
  --
  -- Of the server's log everything is sent, unless one of these says less:
  -- min_level: "warning" leaves out what is less severe: debug, info (LOG, INFO, NOTICE: connections, checkpoints, slow
  --   statements are LOG), warning, error, critical (FATAL, PANIC). Lines that are no records have none and are sent.
  -- event_types: { connection = false } leaves these out, { "query_error", "deadlock" } sends only those.
  -- log_databases: { "app", "shop_*" } sends only records of these, and those of no database.
  -- sample: { connection = 0.1 } sends a tenth: whole sessions, always the same ones.
  -- rate: so many events a second of the log's own time, with bursts of five seconds' worth, of which the last fifth is
  --   for errors. How many were dropped is told in an event of its own (payload.dropped_events) every ten seconds.
  -- event: a function that sees each record as it will be sent (see proto/contract.md) and may change it:
  --     event = function(event)
  --       if event.payload.event_type == "checkpoint" then return false end -- not sent
  --       event.tags.team = "billing"
  --       if event.payload.query then event.payload.query = event.payload.query:gsub("%d+", "?") end
  --     end
  --   It must not wait. When it fails, the record is sent unchanged, and the log says why.
  options = { events = {}, delivery = "at_least_once", positions = "dbobs-positions", min_level = "debug",
    event_types = {}, log_databases = {}, sample = {}, rate = 0, event = false },
  kinds = { event = "function" },
}

function collector.problem(options)
  if options.delivery ~= "at_least_once" and options.delivery ~= "exactly_once" then
    return ("option 'delivery' must be at_least_once or exactly_once, got '%s'"):format(options.delivery)
  end
  return log_filter.problem(options) or activity.problem(events, options.events)
end

function collector.collect(run)
  return activity.collect(run, events, run.options.events)
end

-- Where lines go: with exactly_once to the same topic in transactions, whose id and position are the target's own.
local function destination(run, to)
  if run.options.delivery == "at_least_once" then return to end
  if type(to) ~= "userdata" or not to.exactly_once then
    log.warn("delivery is exactly_once, which there is only with Kafka: lines are sent at least once",
      { target = run.target.name })
    return to
  end
  return to:exactly_once { id = ("dbobs-%s-logs"):format(run.target.name), positions = run.options.positions }
end

-- Under which its position is kept in Kafka.
local function position_key(run)
  return ("%s.logs"):format(run.target.name)
end

-- The log as the server hands it out.
local function over_sql(run, settings)
  local target = run.target
  return log_sql.new { parameters = target.parameters, pattern = settings.pattern,
    queries = target.options.log_queries, statement_timeout = target.options.statement_timeout, trace = run:trace() }
end

-- Reads the log with these settings, until the server has others: those are returned.
local function follow(run, settings)
  local to = destination(run, run.sink)
  local watch, progress = log_settings.watch(run, settings), log_progress.new(run.target.name)
  local follower, cause, final = dbobs.tail.server_log {
    path = settings.path or "log_directory",
    sql = settings.source == "sql" and over_sql(run, settings) or nil,
    format = settings.format,
    log_line_prefix = settings.log_line_prefix,
    timezone = settings.log_timezone,
    since = settings.since,
    checkpoint = run:checkpoint(),
    envelope = run:envelope(),
    delivery = to ~= run.sink and "exactly_once" or nil,
    position = position_key(run),
    to = to,
    filter = log_filter.filter(run.options),
    event = run.options.event or nil,
    count = function(lines) run:count("lines", lines) end,
    finish = function() return watch.changed end,
    progress = progress,
    fields = { target = run.target.name, collector = "logs" },
  }
  local ok, finished = true, nil
  if follower then
    ok, finished, cause, final = pcall(follower.run, follower)
  end
  watch:stop()
  progress:stop()
  if not ok then error(finished, 0) end
  return finished and watch.changed or nil, cause, final
end

function collector.follow(run)
  local settings, cause, final = log_settings.resolve(run)
  if settings == false then return true end
  while settings do settings, cause, final = follow(run, settings) end
  return nil, cause, final
end

-- How far the log was read, while another dbobs may be reading it.
local function kept_positions(run)
  local to = destination(run, run.options.to)
  if to ~= run.options.to then
    local positions, cause = to:peek(position_key(run))
    to:close()
    if not positions then return nil, cause end
    if positions ~= "" then return positions end
  end
  return log_position.of_checkpoint(run:checkpoint())
end

-- What `dbobs check` says of the server's log.
function collector.check(run)
  local settings, cause = log_settings.resolve(run)
  if settings == false then return "no log_file and no log_source: the server's log is not read" end
  if not settings then return nil, cause end
  local ok
  ok, cause = dbobs.tail.check_zone(settings.log_timezone)
  if not ok then return nil, cause end
  local positions, says
  positions, cause = kept_positions(run)
  if not positions then return nil, cause end
  says, cause = log_position.describe { path = settings.path or "log_directory",
    sql = settings.source == "sql" and over_sql(run, settings) or nil, suffix = dbobs.tail.suffix(settings.format),
    positions = positions, format = settings.format, log_timezone = settings.log_timezone,
    log_line_prefix = settings.log_line_prefix }
  if not says then return nil, cause end
  local advice = log_settings.advice(run, settings)
  return advice and ("%s; %s"):format(says, advice) or says
end

return collector
