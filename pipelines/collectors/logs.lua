-- The logs collector: events from the server's views at each collection, and, where a target has a log_file, every line
-- of the server's log (log_destination = 'jsonlog') as it is written.
local activity = require "dbobs.activity"
local dbobs = require "dbobs"
local events = require "events"

local collector = {
  name = "logs",
  -- Which events of events.lua are sent: those that are on there, changed by what is given here.
  options = { events = {} },
}

function collector.problem(options)
  return activity.problem(events, options.events)
end

function collector.collect(run)
  return activity.collect(run, events, run.options.events)
end

-- Times in the log are in the server's log_timezone: as the target says, else as the server says. An abbreviation like
-- IST means something only there, so without it the log is not read: the lines stay in the file.
local function log_timezone(run)
  if run.target.options.log_timezone then return run.target.options.log_timezone end
  local zone
  local _, cause = run:snapshot(nil, {
    {
      name = "log_timezone",
      sql = "select current_setting('log_timezone') as zone",
      each = function(rows) zone = rows:rows()[1].zone end,
    },
  })
  run.state.log_timezone = zone or run.state.log_timezone
  if run.state.log_timezone then return run.state.log_timezone end
  return nil, ("the log is read when the server has told its log_timezone (or give the target one): %s"):format(
    tostring(cause))
end

function collector.follow(run)
  if not run.target.options.log_file then return true end
  local zone, cause = log_timezone(run)
  if not zone then return nil, cause end
  local log
  log, cause = dbobs.tail.server_log {
    path = run.target.options.log_file,
    checkpoint = run:checkpoint(),
    timezone = zone,
    envelope = run:envelope(),
    to = run.sink,
    count = function(lines) run:count("lines", lines) end,
    fields = { target = run.target.name, collector = "logs" },
  }
  if not log then return nil, cause end
  return log:run()
end

-- What `dbobs check` says of the log file.
function collector.check(run)
  if not run.target.options.log_file then return "no log_file: the server's log is not read" end
  local zone, cause = log_timezone(run)
  if not zone then return nil, cause end
  local ok
  ok, cause = dbobs.tail.check_zone(zone)
  if not ok then return nil, cause end
  return dbobs.tail.describe(run.target.options.log_file)
end

return collector
