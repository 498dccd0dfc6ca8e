-- The metrics collector: what the OpenTelemetry Collector's PostgreSQL receiver sends, under its names.
--
-- Each block is one query: `from`, `where` and `group` are what follows FROM, WHERE and GROUP BY, and each line of
-- `points` is a metric, the SQL expression of its value, and the attributes of the point. NULL is not sent. `since` and
-- `before` are major versions of the server. Most of the receiver's optional metrics are off until a pipeline switches
-- them on; a metric that is off costs nothing:
--   dbobs.collect(require "collectors.metrics", target, { metrics = { ["postgresql.deadlocks"] = true }, ... })
-- To add a metric of your own, define it here and write its block:
local definitions = {
  -- ["orders.waiting"] = { unit = "{order}", kind = "gauge", description = "Orders that wait" },
}
-- Kinds: "counter" only rises, "sum" goes up and down, "gauge" is a reading. Add type = "double" for fractions.

local metrics = require "dbobs.metrics"

-- Databases that can be connected to, without templates and the cloud services' own. $wanted is the choice that a
-- target makes by its options `databases` and `exclude_databases`.
local connectable = [[
  $wanted and datallowconn and not datistemplate and datconnlimit <> -2 and has_database_privilege(oid, 'CONNECT')
  and datname not in (
    'rdsadmin', 'cloudsqladmin', 'alloydbadmin', 'alloydbmetadata', 'azure_maintenance', 'azure_sys')]]

-- Everybody's schemas but the system's.
local user_schema = [[
  n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast']]

-- Partitioned tables have no storage: of them nothing is read.
local function stored(expression)
  return ("case when c.relkind <> 'p' then %s end"):format(expression)
end

local function microseconds_since(time)
  return ("trunc(extract(epoch from clock_timestamp() - %s) * 1e6)"):format(time)
end

local collector = metrics.collector {
  definitions = definitions,

  -- Which databases are collected, asked each time.
  database_list = "select datname from pg_database where " .. connectable .. " order by datname",
  database_count = "postgresql.database.count", -- how many these are

  -- Once per server: about the server itself.
  server = {
    {
      name = "background writer and checkpoints",
      before = 17,
      from = "pg_stat_bgwriter",
      reset_age = microseconds_since "stats_reset",
      points = {
        { "postgresql.bgwriter.buffers.allocated", "buffers_alloc" },
        { "postgresql.bgwriter.buffers.writes", "buffers_backend", source = "backend" },
        { "postgresql.bgwriter.buffers.writes", "buffers_backend_fsync", source = "backend_fsync" },
        { "postgresql.bgwriter.buffers.writes", "buffers_checkpoint", source = "checkpoints" },
        { "postgresql.bgwriter.buffers.writes", "buffers_clean", source = "bgwriter" },
        { "postgresql.bgwriter.checkpoint.count", "checkpoints_req", type = "requested" },
        { "postgresql.bgwriter.checkpoint.count", "checkpoints_timed", type = "scheduled" },
        { "postgresql.bgwriter.duration", "checkpoint_sync_time", type = "sync" },
        { "postgresql.bgwriter.duration", "checkpoint_write_time", type = "write" },
        { "postgresql.bgwriter.maxwritten", "maxwritten_clean" },
      },
    },
    {
      name = "background writer",
      since = 17,
      from = "pg_stat_bgwriter",
      reset_age = microseconds_since "stats_reset",
      points = {
        { "postgresql.bgwriter.buffers.allocated", "buffers_alloc" },
        { "postgresql.bgwriter.buffers.writes", "buffers_clean", source = "bgwriter" },
        { "postgresql.bgwriter.maxwritten", "maxwritten_clean" },
      },
    },
    {
      name = "checkpointer",
      since = 17,
      from = "pg_stat_checkpointer",
      reset_age = microseconds_since "stats_reset",
      points = {
        { "postgresql.bgwriter.buffers.writes", "buffers_written", source = "checkpoints" },
        { "postgresql.bgwriter.checkpoint.count", "num_requested", type = "requested" },
        { "postgresql.bgwriter.checkpoint.count", "num_timed", type = "scheduled" },
        { "postgresql.bgwriter.duration", "sync_time", type = "sync" },
        { "postgresql.bgwriter.duration", "write_time", type = "write" },
      },
    },
    {
      name = "connection limit",
      points = {
        { "postgresql.connection.max", "current_setting('max_connections')" },
      },
    },
    {
      name = "WAL archiving",
      from = "pg_stat_archiver",
      points = {
        { "postgresql.wal.age", "trunc(extract(epoch from current_timestamp - last_archived_time))" },
      },
    },
    {
      name = "replication",
      -- A standby that has standbys of its own has no current position, but the last that it received or replayed.
      from = [[(
        select
          coalesce(client_addr::varchar, 'unix') as client,
          pg_wal_lsn_diff(
            case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
              else pg_current_wal_lsn() end,
            replay_lsn) as bytes,
          extract(epoch from write_lag) as write_lag,
          extract(epoch from flush_lag) as flush_lag,
          extract(epoch from replay_lag) as replay_lag
        from pg_stat_replication) standby]],
      attributes = { replication_client = "client" },
      points = {
        { "postgresql.replication.data_delay", "case when bytes >= 0 then bytes end" },
        { "postgresql.wal.lag", "write_lag::integer", operation = "write" },
        { "postgresql.wal.lag", "flush_lag::integer", operation = "flush" },
        { "postgresql.wal.lag", "replay_lag::integer", operation = "replay" },
        { "postgresql.wal.delay", "write_lag", operation = "write" },
        { "postgresql.wal.delay", "flush_lag", operation = "flush" },
        { "postgresql.wal.delay", "replay_lag", operation = "replay" },
      },
    },
  },

  -- Once per server: about each database, whose name is `database`.
  databases = {
    {
      name = "sessions",
      database = "datname",
      from = "pg_stat_activity",
      -- Our own sessions are left out.
      where = "datname is not null and query not like '/* dbobs */%'",
      group = "datname",
      points = {
        { "postgresql.backends", "count(*)" },
      },
    },
    {
      name = "database sizes",
      database = "datname",
      from = "pg_database",
      where = connectable,
      points = {
        { "postgresql.db_size", "pg_database_size(oid)" },
      },
    },
    {
      name = "database statistics",
      database = "datname",
      from = "pg_stat_database",
      where = "datname is not null",
      points = {
        { "postgresql.blks_hit", "blks_hit" },
        { "postgresql.blks_read", "blks_read" },
        { "postgresql.commits", "xact_commit" },
        { "postgresql.deadlocks", "deadlocks" },
        { "postgresql.rollbacks", "xact_rollback" },
        { "postgresql.temp.io", "temp_bytes" },
        { "postgresql.temp_files", "temp_files" },
        { "postgresql.tup_deleted", "tup_deleted" },
        { "postgresql.tup_fetched", "tup_fetched" },
        { "postgresql.tup_inserted", "tup_inserted" },
        { "postgresql.tup_returned", "tup_returned" },
        { "postgresql.tup_updated", "tup_updated" },
      },
    },
    {
      name = "recovery conflicts",
      database = "datname",
      from = "pg_stat_database_conflicts",
      points = {
        { "postgresql.query.conflicts", "confl_bufferpin", ["postgresql.conflict.type"] = "bufferpin" },
        { "postgresql.query.conflicts", "confl_deadlock", ["postgresql.conflict.type"] = "deadlock" },
        { "postgresql.query.conflicts", "confl_lock", ["postgresql.conflict.type"] = "lock" },
        { "postgresql.query.conflicts", "confl_snapshot", ["postgresql.conflict.type"] = "snapshot" },
        { "postgresql.query.conflicts", "confl_tablespace", ["postgresql.conflict.type"] = "tablespace" },
      },
    },
  },

  -- In each database. With `resource` or `identity` each row is a resource of its own: a table, an index, a function.
  -- What the receiver's views show is read here from the catalogs and the functions behind them, at half their cost.
  -- `locks` is the relation that a function of sizes would wait for: locked ones are left out.
  relations = {
    {
      name = "tables",
      from = [[pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        left join lateral (
          select sum(pg_stat_get_blocks_fetched(indexrelid)) as fetched, sum(pg_stat_get_blocks_hit(indexrelid)) as hit
          from pg_index where indrelid = c.oid) idx on true
        left join lateral (
          select sum(pg_stat_get_blocks_fetched(indexrelid)) as fetched, sum(pg_stat_get_blocks_hit(indexrelid)) as hit
          from pg_index where indrelid = c.reltoastrelid) tidx on true]],
      -- Partitioned tables have statistics since version 14.
      where = [[
        (c.relkind in ('r', 'm') or c.relkind = 'p' and current_setting('server_version_num')::integer >= 140000)
        and]] .. user_schema,
      resource = { ["postgresql.schema.name"] = "n.nspname", ["postgresql.table.name"] = "c.relname" },
      identity = "c.oid", -- a table that was dropped and made anew is another one
      locks = "c.oid",
      count = "postgresql.table.count", -- how many rows there were
      points = {
        { "postgresql.rows", "pg_stat_get_dead_tuples(c.oid)", state = "dead" },
        { "postgresql.rows", "pg_stat_get_live_tuples(c.oid)", state = "live" },
        { "postgresql.operations", "pg_stat_get_tuples_inserted(c.oid)", operation = "ins" },
        { "postgresql.operations", "pg_stat_get_tuples_updated(c.oid)", operation = "upd" },
        { "postgresql.operations", "pg_stat_get_tuples_deleted(c.oid)", operation = "del" },
        { "postgresql.operations", "pg_stat_get_tuples_hot_updated(c.oid)", operation = "hot_upd" },
        { "postgresql.sequential_scans", "pg_stat_get_numscans(c.oid)" },
        { "postgresql.table.size", "pg_relation_size(c.oid)" },
        { "postgresql.table.vacuum.count", "pg_stat_get_vacuum_count(c.oid)" },
        { "postgresql.blocks_read",
          stored "pg_stat_get_blocks_fetched(c.oid) - pg_stat_get_blocks_hit(c.oid)",
          source = "heap_read" },
        { "postgresql.blocks_read", stored "pg_stat_get_blocks_hit(c.oid)", source = "heap_hit" },
        { "postgresql.blocks_read", stored "coalesce(idx.fetched - idx.hit, 0)", source = "idx_read" },
        { "postgresql.blocks_read", stored "coalesce(idx.hit, 0)", source = "idx_hit" },
        { "postgresql.blocks_read",
          stored "pg_stat_get_blocks_fetched(c.reltoastrelid) - pg_stat_get_blocks_hit(c.reltoastrelid)",
          source = "toast_read" },
        { "postgresql.blocks_read", stored "pg_stat_get_blocks_hit(c.reltoastrelid)", source = "toast_hit" },
        { "postgresql.blocks_read", stored "coalesce(tidx.fetched - tidx.hit, 0)", source = "tidx_read" },
        { "postgresql.blocks_read", stored "coalesce(tidx.hit, 0)", source = "tidx_hit" },
      },
    },
    {
      name = "indexes",
      from = [[pg_index x
        join pg_class i on i.oid = x.indexrelid
        join pg_class t on t.oid = x.indrelid
        join pg_namespace n on n.oid = t.relnamespace]],
      where = "t.relkind in ('r', 'm') and" .. user_schema,
      resource = {
        ["postgresql.schema.name"] = "n.nspname",
        ["postgresql.table.name"] = "t.relname",
        ["postgresql.index.name"] = "i.relname",
      },
      identity = "x.indexrelid",
      locks = "x.indexrelid",
      points = {
        { "postgresql.index.scans", "pg_stat_get_numscans(x.indexrelid)" },
        { "postgresql.index.size", "pg_relation_size(x.indexrelid)" },
      },
    },
  },
}

return collector
