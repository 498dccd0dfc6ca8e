-- The logs collector: events from the server's views at each collection, and, where a target has a log_file, every
-- record of the server's log as it is written: jsonlog, csvlog or the plain format of stderr.
local activity = require "dbobs.activity"
local dbobs = require "dbobs"
local events = require "events"
local log = dbobs.log
local log_filter = require "dbobs.log_filter"

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

-- How the log is written: as the target says, else as its name tells.
local function log_format(target)
  if target.log_format then return target.log_format end
  return target.log_file:find "%.json" and "jsonlog" or target.log_file:find "%.csv" and "csvlog" or "stderr"
end

-- Times in the log are in the server's log_timezone, and an abbreviation like IST means something only there; plain
-- lines begin with its log_line_prefix. Both are as the target says, else as the server says: without them the log is
-- not read, and the lines stay in the file.
local function log_settings(run)
  local target, state = run.target.options, run.state
  local settings = { log_timezone = target.log_timezone, log_line_prefix = target.log_line_prefix }
  local plain = log_format(target) == "stderr"
  local function missing()
    return not settings.log_timezone and "log_timezone" or plain and not settings.log_line_prefix and "log_line_prefix"
  end
  local cause
  if missing() then
    local _
    _, cause = run:snapshot(nil, {
      {
        name = "log settings",
        sql = [[
          select current_setting('log_timezone') as log_timezone,
                 current_setting('log_line_prefix') as log_line_prefix]],
        each = function(rows) state.log_settings = rows:rows()[1] end,
      },
    })
  end
  for name, value in pairs(state.log_settings or {}) do settings[name] = settings[name] or value end
  if not missing() then return settings end
  return nil, ("the log is read when the server has told its %s (or give the target one): %s"):format(missing(),
    tostring(cause))
end

-- Where lines go: with exactly_once to the same topic in transactions, whose id and position are the target's own.
local function destination(run)
  if run.options.delivery == "at_least_once" then return run.sink end
  if type(run.sink) ~= "userdata" or not run.sink.exactly_once then
    log.warn("delivery is exactly_once, which there is only with Kafka: lines are sent at least once",
      { target = run.target.name })
    return run.sink
  end
  return run.sink:exactly_once { id = ("dbobs-%s-logs"):format(run.target.name), positions = run.options.positions }
end

function collector.follow(run)
  if not run.target.options.log_file then return true end
  local settings, cause = log_settings(run)
  if not settings then return nil, cause end
  local to = destination(run)
  local follower, final
  follower, cause, final = dbobs.tail.server_log {
    path = run.target.options.log_file,
    format = log_format(run.target.options),
    log_line_prefix = settings.log_line_prefix,
    timezone = settings.log_timezone,
    checkpoint = run:checkpoint(),
    envelope = run:envelope(),
    delivery = to ~= run.sink and "exactly_once" or nil,
    position = ("%s.logs"):format(run.target.name),
    to = to,
    filter = log_filter.filter(run.options),
    event = run.options.event or nil,
    count = function(lines) run:count("lines", lines) end,
    fields = { target = run.target.name, collector = "logs" },
  }
  if not follower then return nil, cause, final end
  return follower:run()
end

-- What `dbobs check` says of the log file.
function collector.check(run)
  if not run.target.options.log_file then return "no log_file: the server's log is not read" end
  local settings, cause = log_settings(run)
  if not settings then return nil, cause end
  local ok
  ok, cause = dbobs.tail.check_zone(settings.log_timezone)
  if not ok then return nil, cause end
  return dbobs.tail.describe(run.target.options.log_file, log_format(run.target.options))
end

return collector
