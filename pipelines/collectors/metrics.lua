-- The metrics collector: what the OpenTelemetry Collector's PostgreSQL receiver sends, under its names.
--
-- Each block is one query: `from` is what follows FROM, and each line of `points` is a metric, the SQL expression of
-- its value, and the attributes of the point. NULL is not sent. `since` and `before` are major versions of the server.
-- To leave something out, delete its line or its block. To add a metric of your own, define it here and write its
-- block:
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

-- Relations that somebody is changing: asking for their size would wait.
local locked = [[
  (select relation from pg_locks where relation is not null and granted and mode = 'AccessExclusiveLock'
    and database = (select oid from pg_database where datname = current_database()))]]

local collector = metrics.collector {
  definitions = definitions,

  -- Which databases are collected, asked each time.
  database_list = "select datname from pg_database where " .. connectable .. " order by datname",
  database_count = "postgresql.database.count", -- how many these are

  -- Once per server: about the server itself.
  server = {
    {
      name = "background writer",
      before = 17,
      from = "pg_stat_bgwriter",
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
      name = "background writer and checkpointer",
      since = 17,
      from = "pg_stat_bgwriter b, pg_stat_checkpointer c",
      points = {
        { "postgresql.bgwriter.buffers.allocated", "b.buffers_alloc" },
        { "postgresql.bgwriter.buffers.writes", "c.buffers_written", source = "checkpoints" },
        { "postgresql.bgwriter.buffers.writes", "b.buffers_clean", source = "bgwriter" },
        { "postgresql.bgwriter.checkpoint.count", "c.num_requested", type = "requested" },
        { "postgresql.bgwriter.checkpoint.count", "c.num_timed", type = "scheduled" },
        { "postgresql.bgwriter.duration", "c.sync_time", type = "sync" },
        { "postgresql.bgwriter.duration", "c.write_time", type = "write" },
        { "postgresql.bgwriter.maxwritten", "b.maxwritten_clean" },
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
      -- A standby that has standbys of its own has no current position, but the last that it received.
      from = [[(
        select
          coalesce(client_addr::varchar, 'unix') as client,
          pg_wal_lsn_diff(
            case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
            replay_lsn) as bytes,
          extract(epoch from write_lag)::integer as write_lag,
          extract(epoch from flush_lag)::integer as flush_lag,
          extract(epoch from replay_lag)::integer as replay_lag
        from pg_stat_replication) standby]],
      attributes = { replication_client = "client" },
      points = {
        { "postgresql.replication.data_delay", "case when bytes >= 0 then bytes end" },
        { "postgresql.wal.lag", "write_lag", operation = "write" },
        { "postgresql.wal.lag", "flush_lag", operation = "flush" },
        { "postgresql.wal.lag", "replay_lag", operation = "replay" },
      },
    },
  },

  -- Once per server: about each database, whose name is in the column `database`.
  databases = {
    {
      name = "sessions",
      database = "datname",
      -- Our own sessions are left out.
      from = "pg_stat_activity where datname is not null and query not like '/* dbobs */%' group by datname",
      points = {
        { "postgresql.backends", "count(*)" },
      },
    },
    {
      name = "database sizes",
      database = "datname",
      from = "pg_database where " .. connectable,
      points = {
        { "postgresql.db_size", "pg_database_size(oid)" },
      },
    },
    {
      name = "database statistics",
      database = "datname",
      from = "pg_stat_database where datname is not null",
      points = {
        { "postgresql.commits", "xact_commit" },
        { "postgresql.rollbacks", "xact_rollback" },
      },
    },
  },

  -- In each database: every row is a table or an index.
  relations = {
    {
      name = "tables",
      from = [[pg_stat_user_tables t left join pg_statio_user_tables io using (relid)
        where relid not in ]] .. locked,
      resource = { ["postgresql.table.name"] = "t.schemaname || '.' || t.relname" },
      identity = "relid", -- a table that was dropped and made anew is another one
      count = "postgresql.table.count", -- how many rows there were
      points = {
        { "postgresql.rows", "n_dead_tup", state = "dead" },
        { "postgresql.rows", "n_live_tup", state = "live" },
        { "postgresql.operations", "n_tup_ins", operation = "ins" },
        { "postgresql.operations", "n_tup_upd", operation = "upd" },
        { "postgresql.operations", "n_tup_del", operation = "del" },
        { "postgresql.operations", "n_tup_hot_upd", operation = "hot_upd" },
        { "postgresql.table.size", "pg_relation_size(relid)" },
        { "postgresql.table.vacuum.count", "vacuum_count" },
        { "postgresql.blocks_read", "coalesce(heap_blks_read, 0)", source = "heap_read" },
        { "postgresql.blocks_read", "coalesce(heap_blks_hit, 0)", source = "heap_hit" },
        { "postgresql.blocks_read", "coalesce(idx_blks_read, 0)", source = "idx_read" },
        { "postgresql.blocks_read", "coalesce(idx_blks_hit, 0)", source = "idx_hit" },
        { "postgresql.blocks_read", "coalesce(toast_blks_read, 0)", source = "toast_read" },
        { "postgresql.blocks_read", "coalesce(toast_blks_hit, 0)", source = "toast_hit" },
        { "postgresql.blocks_read", "coalesce(tidx_blks_read, 0)", source = "tidx_read" },
        { "postgresql.blocks_read", "coalesce(tidx_blks_hit, 0)", source = "tidx_hit" },
      },
    },
    {
      name = "indexes",
      from = "pg_stat_user_indexes where indexrelid not in " .. locked,
      resource = { ["postgresql.table.name"] = "relname", ["postgresql.index.name"] = "indexrelname" },
      identity = "indexrelid",
      points = {
        { "postgresql.index.scans", "idx_scan" },
        { "postgresql.index.size", "pg_relation_size(indexrelid)" },
      },
    },
  },
}

return collector
