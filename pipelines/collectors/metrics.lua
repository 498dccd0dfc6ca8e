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

-- Everybody's relations but the system's: by schema, and by number, which skips the catalogs with an index. (What a
-- server in single-user mode makes may have numbers below 16384.)
local function of_users(oid)
  return oid .. " >= 12000 and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'"
end

-- Partitioned tables have no storage: of them nothing is read.
local function stored(expression)
  return ("case when c.relkind <> 'p' then %s end"):format(expression)
end

-- Locks that are not our own sessions'. A prepared transaction's have no pid.
local held_by_others = [[
  (l.pid is null or l.pid not in (select pid from pg_stat_activity where query like '/* dbobs */%'))]]

-- Statements of the current database that are not our own.
local statements_of_others = [[
  dbid = (select oid from pg_database where datname = current_database())
  and strpos(left(query, 40), '/* dbobs */') = 0]]

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
      -- Locks of no database: of transactions, and of relations that all databases share. The others are below.
      name = "locks of the server",
      from = "pg_locks l left join pg_class c on c.oid = l.relation",
      where = "coalesce(l.database, 0) = 0 and " .. held_by_others,
      group = "c.relname, l.mode, l.locktype",
      attributes = { relation = "coalesce(c.relname, '')", mode = "l.mode", lock_type = "l.locktype" },
      points = {
        { "postgresql.database.locks", "count(*)" },
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
    {
      name = "time in statements",
      extensions = { "pg_stat_statements" },
      database = "d.datname",
      -- Without the statements' texts: reading them is the dear part.
      from = "{pg_stat_statements}(false) s join pg_database d on d.oid = s.dbid",
      group = "d.datname",
      points = {
        { "postgresql.query.execution.time", "sum(s.total_exec_time) / 1000" },
      },
    },
  },

  -- In each database. With `resource` or `identity` each row is a resource of its own: a table, an index, a function.
  -- Without, it is about the database. What the views for tables and indexes show is read here from the catalogs and
  -- the functions behind them, at half their cost. `locks` is the relation that a function of sizes would wait for:
  -- locked ones are left out. A database without one of the `extensions` is left out.
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
      where = [[(c.relkind in ('r', 'm')
        or c.relkind = 'p' and current_setting('server_version_num')::integer >= 140000) and ]] .. of_users "c.oid",
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
      where = "t.relkind in ('r', 'm') and " .. of_users "x.indexrelid",
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
    {
      name = "functions",
      -- Functions that share a name are told apart by the names of their arguments.
      from = [[(
        select schemaname, function, sum(calls) as calls
        from (
          select
            schemaname,
            case when count(*) over (partition by funcname) > 1 and proargnames is not null
              then funcname || '_' || array_to_string(proargnames, '_') else funcname end as function,
            calls
          from pg_stat_user_functions join pg_proc p on p.oid = funcid) named
        group by schemaname, function) f]],
      resource = { ["postgresql.schema.name"] = "schemaname" },
      identity = "schemaname || '.' || function",
      attributes = { ["function"] = "function" },
      points = {
        { "postgresql.function.calls", "calls" },
      },
    },
    {
      name = "locks",
      from = "pg_locks l left join pg_class c on c.oid = l.relation",
      where = "l.database = (select oid from pg_database where datname = current_database()) and " .. held_by_others,
      group = "c.relname, l.mode, l.locktype",
      attributes = { relation = "coalesce(c.relname, '')", mode = "l.mode", lock_type = "l.locktype" },
      points = {
        { "postgresql.database.locks", "count(*)" },
      },
    },
    {
      name = "searches for vectors",
      extensions = { "vector", "pg_stat_statements" },
      -- What a statement searches by is told by its text: pgvector's operators and functions.
      from = [[(
        select calls, rows, total_exec_time,
          case
            when strpos(query, '<=>') > 0 or strpos(lower(query), 'cosine_distance') > 0 then 'cosine'
            when strpos(query, '<->') > 0 or strpos(lower(query), 'l2_distance') > 0 then 'l2'
            when strpos(query, '<#>') > 0 or strpos(lower(query), 'inner_product') > 0 then 'inner_product'
            when strpos(query, '<+>') > 0 or strpos(lower(query), 'l1_distance') > 0 then 'l1'
            when strpos(query, '<~>') > 0 or strpos(lower(query), 'hamming_distance') > 0 then 'hamming'
            when strpos(query, '<%>') > 0 or strpos(lower(query), 'jaccard_distance') > 0 then 'jaccard'
          end as distance
        from {pg_stat_statements}
        where ]] .. statements_of_others .. ") search",
      where = "distance is not null",
      group = "distance",
      attributes = { ["postgresql.distance.function.name"] = "distance" },
      points = {
        { "postgresql.vector.search.calls", "sum(calls)" },
        { "postgresql.vector.search.duration", "sum(total_exec_time) / 1000" },
        { "postgresql.vector.search.rows_returned", "sum(rows)" },
      },
    },
    {
      name = "inserted vectors",
      extensions = { "vector", "pg_stat_statements" },
      -- Statements that insert into a table with vectors, which is told by the name in their text.
      from = [[(
        select rows, total_exec_time, regexp_match(query,
          '^\s*(?:insert\s+into\s+(?:only\s+)?("[^"]+"|[^\s(.]+)(?:\.("[^"]+"|[^\s(.]+))?'
          || '|copy\s+("[^"]+"|[^\s(.]+)(?:\.("[^"]+"|[^\s(.]+))?(?:\s*\([^)]*\))?\s+from\M)', 'i') as name
        from {pg_stat_statements}
        where ]] .. statements_of_others .. [[) statement,
        lateral (select lower(replace(coalesce(name[1], name[3]), '"', '')) as first,
          lower(replace(coalesce(name[2], name[4]), '"', '')) as second) target]],
      where = [[exists (
        select from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
          join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          join pg_type t on t.oid = a.atttypid and t.typname in ('vector', 'halfvec', 'sparsevec')
        where c.relkind in ('r', 'p') and lower(c.relname) = coalesce(second, first)
          and (second is null or lower(n.nspname) = first))]],
      points = {
        { "postgresql.vector.insert.duration", "sum(total_exec_time) / 1000" },
        { "postgresql.vector.insert.rows", "sum(rows)" },
      },
    },
  },
}

return collector
