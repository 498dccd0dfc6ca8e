-- The sessions collector: an active session history. At each look one record for each session that is not idle, with
-- what it does and what it waits for. It has a topic of its own: see topics.lua and pg.lua.
local activity = require "dbobs.activity"

local collector = {
  name = "sessions",
  -- A server in trouble answers late: then a sample is late, and those that would have come meanwhile are counted.
  options = { every = "1s", deadline = "30s" },
  kinds = { every = "duration", deadline = "duration" },
}

-- Written as those of events.lua. Only who waits for a lock is asked by whom it is blocked.
local samples = {
  {
    name = "session_sample",
    on = true,
    sql = [[
      select 'session_sample' as event_type, a.datname as database, a.pid, a.usename as "user",
             nullif(a.application_name, '') as application_name, host(a.client_addr) as client_addr,
             a.backend_type, a.leader_pid, a.state, a.wait_event_type, a.wait_event,
             a.query_id::text as query_id, -- since 14
             ms_since(a.xact_start) as transaction_ms, ms_since(a.query_start) as query_ms,
             ms_since(a.state_change) as state_ms,
             case when a.wait_event_type = 'Lock'
                  then to_json(nullif(pg_blocking_pids(a.pid), '{}')) end as blocking_pids
        from pg_stat_activity a
       where a.state <> 'idle' and a.backend_type <> 'walsender' and not starts_with(a.query, '/* dbobs */')]],
  },
}

function collector.collect(run)
  return activity.collect(run, samples, {})
end

return collector
