-- The logs collector: events from the server's views at each collection, and, where a target has a log_file, every line
-- of the server's log (log_destination = 'jsonlog') as it is written.
local dbobs = require "dbobs"

local collector = { name = "logs" }

-- Each row becomes a record; its columns are the fields of the payload. A column `database` names the record's
-- database; without it the record is about the server.
local events = {
  {
    name = "connection_stats",
    sql = [[
      select 'connection_stats' as event_type,
             count(*) as total,
             count(*) filter (where state = 'active') as active,
             count(*) filter (where state = 'idle') as idle,
             count(*) filter (where state like 'idle in transaction%') as idle_in_transaction,
             count(*) filter (where wait_event_type = 'Lock') as waiting,
             current_setting('max_connections')::int as max_connections
        from pg_stat_activity
       where coalesce(backend_type, 'client backend') = 'client backend' and datid is not null]],
  },
  {
    name = "deadlocks",
    log_level = "error",
    sql = [[
      select 'deadlocks' as event_type, datname as database, deadlocks as count
        from pg_stat_database
       where deadlocks > 0 and datname is not null]],
  },
  {
    name = "replication_lag",
    sql = [[
      select 'replication_lag' as event_type,
             host(client_addr) as client_addr, application_name, state,
             extract(epoch from write_lag) * 1000 as write_lag_ms,
             extract(epoch from flush_lag) * 1000 as flush_lag_ms,
             extract(epoch from replay_lag) * 1000 as replay_lag_ms,
             pg_wal_lsn_diff(here.lsn, write_lsn) as write_lag_bytes,
             pg_wal_lsn_diff(here.lsn, flush_lsn) as flush_lag_bytes,
             pg_wal_lsn_diff(here.lsn, replay_lsn) as replay_lag_bytes
        from pg_stat_replication,
             (select case when pg_is_in_recovery() then pg_last_wal_receive_lsn()
                          else pg_current_wal_lsn() end as lsn) here]],
  },
}

-- Without pg_monitor the sessions of others have no state.
local grants = [[
  select pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all, quote_ident(current_user) as me]]

function collector.collect(run)
  local allowed
  local statements = {}
  for i, event in ipairs(events) do
    local writer = dbobs.record.writer(run:envelope(), {
      data_type = "log",
      time = run.time,
      log_level = event.log_level or "info",
      database_column = "database",
    })
    statements[i] = {
      name = event.name,
      sql = event.sql,
      each = function(rows)
        assert(writer:rows(rows, run.sink, run.batch))
      end,
    }
  end
  statements[#statements + 1] = {
    name = "grants",
    sql = grants,
    each = function(rows) allowed = rows:rows()[1] or allowed end,
  }
  local failures, cause = run:snapshot(nil, statements)
  if not failures then return nil, cause end
  if allowed and not allowed.sees_all then
    run:partial("sessions of other users are hidden", ("run: GRANT pg_monitor TO %s"):format(allowed.me))
  end
  for name, failure in pairs(failures) do run:partial(name, failure.text) end
  return true
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
