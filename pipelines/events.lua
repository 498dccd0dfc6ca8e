-- The activity events of the logs collector: what the server's views tell at each collection. A pipeline switches them:
--
--   dbobs.collect(require "collectors.logs", target, { every = every, to = kafka:topic(topics.logs),
--     events = { long_transaction = "5m", blocked = true, deadlocks = false } })
--
-- Each is one query and each of its rows one record, whose payload has the columns that are not NULL under their names;
-- the column `database` names the record's database. `on` ones are sent when the pipeline does not say; one with
-- `longer_than` takes a duration of its own instead of true ($1, in milliseconds). A line that ends in `-- since 14` or
-- `-- before 14` is for those versions of the server alone; ms_since(x) is how many milliseconds ago x was.
-- To add an event of your own, write it here.

-- What is said of a session `a`.
local whose = [[
  a.datname as database, a.usename as "user", ms_since(a.xact_start) as transaction_ms,]]
local session = [[
  a.pid, nullif(a.application_name, '') as application_name, host(a.client_addr) as client_addr,
  a.backend_type, a.leader_pid, a.state, a.wait_event_type, a.wait_event,
  a.query_id::text as query_id, -- since 14
  ms_since(a.query_start) as query_ms, ms_since(a.state_change) as state_ms, a.query]]

-- dbobs itself is told by its comment.
local not_ours = "not starts_with(coalesce(a.query, ''), '/* dbobs */')"

-- A standby has no current position, but what it received, or replayed from an archive.
local position = [[
  (select case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
          else pg_current_wal_lsn() end as lsn) here]]

return {
  {
    name = "connection_stats",
    on = true,
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
    on = true,
    log_level = "error",
    sql = [[
      select 'deadlocks' as event_type, datname as database, deadlocks as count
        from pg_stat_database
       where deadlocks > 0 and datname is not null]],
  },
  {
    name = "replication_lag",
    on = true,
    sql = [[
      select 'replication_lag' as event_type,
             host(client_addr) as client_addr, application_name, state,
             extract(epoch from write_lag) * 1000 as write_lag_ms,
             extract(epoch from flush_lag) * 1000 as flush_lag_ms,
             extract(epoch from replay_lag) * 1000 as replay_lag_ms,
             pg_wal_lsn_diff(here.lsn, write_lsn) as write_lag_bytes,
             pg_wal_lsn_diff(here.lsn, flush_lsn) as flush_lag_bytes,
             pg_wal_lsn_diff(here.lsn, replay_lsn) as replay_lag_bytes
        from pg_stat_replication, ]] .. position,
  },
  {
    -- The statistics of pg_stat_statements were thrown away, all of them, since the last look.
    name = "statements_reset",
    on = true,
    since = 14,
    view = [[
      select c.oid::regclass::text as view
        from pg_extension e
        join pg_class c on c.relnamespace = e.extnamespace and c.relname = 'pg_stat_statements_info'
       where e.extname = 'pg_stat_statements' and current_setting('pg_stat_statements.max', true) is not null
         and has_schema_privilege(e.extnamespace, 'usage') and has_table_privilege(c.oid, 'select')]],
    when_changed = "stats_reset",
    sql = "select 'statements_reset' as event_type, stats_reset, dealloc from {view}",
  },
  {
    -- Transactions that are open for long, also prepared ones (they have a gid and no pid).
    name = "long_transaction",
    longer_than = "5m",
    sql = [[
      select 'long_transaction' as event_type, p.gid,
             coalesce(a.datname, p.database) as database, coalesce(a.usename, p.owner) as "user",
             ms_since(coalesce(a.xact_start, p.prepared)) as transaction_ms,
             age(coalesce(a.backend_xmin, p.transaction)) as xmin_age, ]] .. session .. [[

        from pg_stat_activity a full join pg_prepared_xacts p on false
       where ms_since(coalesce(a.xact_start, p.prepared)) >= $1 and a.leader_pid is null and ]] .. not_ours,
  },
  {
    -- Sessions that do nothing in an open transaction.
    name = "idle_in_transaction",
    longer_than = "1m",
    sql = "select 'idle_in_transaction' as event_type, " .. whose .. session .. [[

        from pg_stat_activity a
       where a.state like 'idle in transaction%' and ms_since(a.state_change) >= $1 and ]] .. not_ours,
  },
  {
    -- Sessions that wait for a lock, with what they wait for and all who stand before them. Those of them who wait for
    -- nobody are told with more in `blockers`: there the chain begins. pid 0 is a prepared transaction.
    name = "blocked",
    longer_than = "0s",
    sql = [[
      with session as materialized (
        select * from pg_stat_activity
      ), lock as materialized (
        select * from pg_locks where not granted or pid is null or locktype = 'tuple'
      ), waiting as materialized (
        select *, pg_blocking_pids(pid) as blocking from lock where not granted
      ), head as materialized (
        select * from session
         where pid in (select unnest(blocking) from waiting) and pid not in (select pid from waiting)
      ), place as materialized (
        -- Who waits for the end of a transaction that changed a row holds a lock on that row's place meanwhile.
        select distinct on (pid) pid, database, relation from lock where granted and locktype = 'tuple'
      )
      select 'blocked' as event_type, ]] .. whose .. session .. [[,
             ms_since(w.waitstart) as wait_ms, -- since 14
             w.locktype, w.mode, coalesce(w.relation, p.relation) as relation_oid,
             n.nspname || '.' || c.relname as relation,
             to_json(w.blocking) as blocking_pids,
             (select json_agg(json_strip_nulls(one)) from (
                select json_build_object('pid', b.pid, 'user', b.usename, 'database', b.datname,
                         'application_name', nullif(b.application_name, ''), 'client_addr', host(b.client_addr),
                         'backend_type', b.backend_type, 'state', b.state,
                         'wait_event_type', b.wait_event_type, 'wait_event', b.wait_event,
                         'query_id', b.query_id::text, -- since 14
                         'transaction_ms', ms_since(b.xact_start), 'state_ms', ms_since(b.state_change)) as one
                  from head b
                 where b.pid = any (w.blocking)
                union all
                select json_build_object('pid', 0, 'gid', x.gid, 'user', x.owner, 'database', x.database,
                         'transaction_ms', ms_since(x.prepared))
                  from lock l
                  join lock own on own.pid is null and own.virtualtransaction = l.virtualtransaction
                  join pg_prepared_xacts x on x.transaction = own.transactionid
                 where 0 = any (w.blocking) and l.pid is null
                   and (l.locktype, l.database, l.relation, l.page, l.tuple, l.transactionid, l.classid, l.objid,
                        l.objsubid) is not distinct from
                       (w.locktype, w.database, w.relation, w.page, w.tuple, w.transactionid, w.classid, w.objid,
                        w.objsubid)
              ) blocker) as blockers
        from waiting w
        join session a on a.pid = w.pid
        left join place p on p.pid = w.pid and w.locktype = 'transactionid'
        -- Names are known of the relations of this database and of those that all databases share.
        left join pg_class c on c.oid = coalesce(w.relation, p.relation) and coalesce(w.database, p.database)
          in (0, (select oid from pg_database where datname = current_database()))
        left join pg_namespace n on n.oid = c.relnamespace
       where w.blocking <> '{}' and ]] .. not_ours .. [[

         and coalesce(ms_since(w.waitstart), 0) >= $1 -- since 14
         and coalesce(ms_since(a.query_start), $1) >= $1 -- before 14
]],
  },
  {
    -- How far each database is from the wraparound of transaction numbers.
    name = "xid_age",
    sql = [[
      select 'xid_age' as event_type, datname as database,
             age(datfrozenxid) as xid_age, mxid_age(datminmxid) as mxid_age,
             current_setting('autovacuum_freeze_max_age')::int8 as autovacuum_freeze_max_age,
             current_setting('autovacuum_multixact_freeze_max_age')::int8 as autovacuum_multixact_freeze_max_age
        from pg_database]],
  },
  {
    -- What each slot keeps the server from removing.
    name = "replication_slot",
    sql = [[
      select 'replication_slot' as event_type, database, slot_name, slot_type, plugin, temporary, active,
             active_pid as pid,
             two_phase, -- since 14
             conflicting, -- since 16
             failover, synced, inactive_since, ms_since(inactive_since) as inactive_ms, invalidation_reason, -- since 17
             pg_wal_lsn_diff(here.lsn, restart_lsn) as retained_bytes,
             pg_wal_lsn_diff(here.lsn, confirmed_flush_lsn) as unconfirmed_bytes,
             wal_status, safe_wal_size as safe_wal_size_bytes,
             age(xmin) as xmin_age, age(catalog_xmin) as catalog_xmin_age
        from pg_replication_slots, ]] .. position,
  },
}
