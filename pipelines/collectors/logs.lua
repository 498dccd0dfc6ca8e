-- The logs collector: events from the server's views at each collection, and, where a target has a log_file, every
-- record of the server's log as it is written: jsonlog, csvlog or the plain format of stderr.
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

function collector.follow(run)
  if not run.target.options.log_file then return true end
  local settings, cause = log_settings(run)
  if not settings then return nil, cause end
  local log
  log, cause = dbobs.tail.server_log {
    path = run.target.options.log_file,
    format = log_format(run.target.options),
    log_line_prefix = settings.log_line_prefix,
    timezone = settings.log_timezone,
    checkpoint = run:checkpoint(),
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
  local settings, cause = log_settings(run)
  if not settings then return nil, cause end
  local ok
  ok, cause = dbobs.tail.check_zone(settings.log_timezone)
  if not ok then return nil, cause end
  return dbobs.tail.describe(run.target.options.log_file)
end

return collector
