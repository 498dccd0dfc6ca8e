--- What a server's own views say, in the shape of the collector's points: to compare the collector with. Asked by psql
--- in sessions of their own, and, where the collector reads catalogs and functions, by the views over them.
local json = require "cjson"

local M = {}

-- Each row: metric without its prefix, table, index, attributes, value.
local IN_DATABASE = [[
  select v.metric, schemaname || '.' || relname, null, v.attributes, v.value::numeric
  from pg_stat_user_tables, lateral (values
    ('rows', 'state=dead', n_dead_tup), ('rows', 'state=live', n_live_tup),
    ('operations', 'operation=ins', n_tup_ins), ('operations', 'operation=upd', n_tup_upd),
    ('operations', 'operation=del', n_tup_del), ('operations', 'operation=hot_upd', n_tup_hot_upd),
    ('sequential_scans', '', seq_scan), ('table.size', '', pg_relation_size(relid)),
    ('table.vacuum.count', '', vacuum_count)) v (metric, attributes, value)
  union all
  select 'blocks_read', schemaname || '.' || relname, null, v.attributes, coalesce(v.value, 0)
  from pg_statio_user_tables, lateral (values
    ('source=heap_read', heap_blks_read), ('source=heap_hit', heap_blks_hit),
    ('source=idx_read', idx_blks_read), ('source=idx_hit', idx_blks_hit),
    ('source=toast_read', toast_blks_read), ('source=toast_hit', toast_blks_hit),
    ('source=tidx_read', tidx_blks_read), ('source=tidx_hit', tidx_blks_hit)) v (attributes, value)
  union all
  select v.metric, relname, indexrelname, '', v.value
  from pg_stat_user_indexes, lateral (values
    ('index.scans', idx_scan), ('index.size', pg_relation_size(indexrelid))) v (metric, value)
  union all
  select 'table.count', null, null, '', count(*) from pg_stat_user_tables
  union all
  select 'function.calls', null, null,
    'function=' || case when (select count(*) from pg_stat_user_functions o where o.funcname = f.funcname) = 1
      then f.funcname else f.funcname || coalesce('_' || array_to_string(p.proargnames, '_'), '') end, calls
  from pg_stat_user_functions f join pg_proc p on p.oid = f.funcid
  union all
  select 'database.locks', null, null, format('lock_type=%s,mode=%s,relation=%s', locktype, mode, relname), count(*)
  from pg_locks l left join pg_class c on c.oid = l.relation
  where database = (select oid from pg_database where datname = current_database()) and pid <> pg_backend_pid()
  group by locktype, mode, relname]]

local OF_DATABASES = [[
  select d.datname, v.metric, v.attributes, v.value::numeric
  from pg_stat_database d join pg_stat_database_conflicts c using (datid)
    join pg_database b on b.oid = datid and not datistemplate, lateral (values
    ('commits', '', xact_commit), ('rollbacks', '', xact_rollback), ('deadlocks', '', deadlocks),
    ('temp.io', '', temp_bytes), ('temp_files', '', temp_files), ('tup_updated', '', tup_updated),
    ('tup_returned', '', tup_returned), ('tup_fetched', '', tup_fetched), ('tup_inserted', '', tup_inserted),
    ('tup_deleted', '', tup_deleted), ('blks_hit', '', blks_hit), ('blks_read', '', blks_read),
    ('db_size', '', pg_database_size(d.datid)),
    ('query.conflicts', 'postgresql.conflict.type=tablespace', confl_tablespace),
    ('query.conflicts', 'postgresql.conflict.type=lock', confl_lock),
    ('query.conflicts', 'postgresql.conflict.type=snapshot', confl_snapshot),
    ('query.conflicts', 'postgresql.conflict.type=bufferpin', confl_bufferpin),
    ('query.conflicts', 'postgresql.conflict.type=deadlock', confl_deadlock)) v (metric, attributes, value)
  union all
  select datname, 'backends', '', count(*) from pg_stat_activity
  where datname is not null and pid <> pg_backend_pid() group by datname
  union all
  select datname, 'query.execution.time', '', (sum(total_exec_time) / 1000)::numeric
  from pg_stat_statements join pg_database d on d.oid = dbid group by datname]]

local OF_SERVER = [[
  select v.metric, v.attributes, v.value::numeric from $bgwriter, lateral (values
    ('bgwriter.buffers.allocated', '', b.buffers_alloc), ('bgwriter.maxwritten', '', b.maxwritten_clean),
    ('bgwriter.buffers.writes', 'source=bgwriter', b.buffers_clean), $points) v (metric, attributes, value)
  union all select 'connection.max', '', setting::numeric from pg_settings where name = 'max_connections'
  union all select 'database.count', '', count(*) from pg_database where not datistemplate
  union all select 'wal.age', '', trunc(extract(epoch from now() - last_archived_time))::numeric
    from pg_stat_archiver where last_archived_time is not null
  union all
  select 'database.locks', format('lock_type=%s,mode=%s,relation=%s', locktype, mode, relname), count(*)
  from pg_locks l left join pg_class c on c.oid = l.relation
  where coalesce(database, 0) = 0 and pid <> pg_backend_pid() group by locktype, mode, relname]]

local UNTIL_16 = [[
  ('bgwriter.buffers.writes', 'source=backend', b.buffers_backend),
  ('bgwriter.buffers.writes', 'source=backend_fsync', b.buffers_backend_fsync),
  ('bgwriter.buffers.writes', 'source=checkpoints', b.buffers_checkpoint),
  ('bgwriter.checkpoint.count', 'type=requested', b.checkpoints_req),
  ('bgwriter.checkpoint.count', 'type=scheduled', b.checkpoints_timed),
  ('bgwriter.duration', 'type=sync', b.checkpoint_sync_time),
  ('bgwriter.duration', 'type=write', b.checkpoint_write_time)]]

local SINCE_17 = [[
  ('bgwriter.buffers.writes', 'source=checkpoints', c.buffers_written),
  ('bgwriter.checkpoint.count', 'type=requested', c.num_requested),
  ('bgwriter.checkpoint.count', 'type=scheduled', c.num_timed),
  ('bgwriter.duration', 'type=sync', c.sync_time), ('bgwriter.duration', 'type=write', c.write_time)]]

local function of_server(server)
  local new = tonumber(server.major) >= 17
  return (OF_SERVER:gsub("%$(%w+)", {
    bgwriter = new and "pg_stat_bgwriter b, pg_stat_checkpointer c" or "pg_stat_bgwriter b",
    points = new and SINCE_17 or UNTIL_16,
  }))
end

local function ask(server, sql, columns, database)
  local list = {}
  for i = 1, columns do list[i] = "coalesce(c" .. i .. "::text, '')" end
  local text = server:psql(("select coalesce(json_agg(json_build_array(%s)), '[]') from (%s) d (%s)"):format(
    table.concat(list, ", "), sql, (table.concat(list, ","):gsub("coalesce%((c%d)[^)]*%)", "%1"))), database)
  return json.decode(text)
end

--- How a point is called here: what tells it from all others.
---@return string
function M.name(database, relation, index, metric, attributes)
  return ("%s|%s|%s|%s{%s}"):format(database or "", relation or "", index or "", metric, attributes or "")
end

--- Everything that the views say now: from each name to a list of values as decimal texts (relations of the same name
--- in several schemas have one name).
---@param server table see support.servers
---@param databases string[]
---@return table<string, string[]>
function M.points(server, databases)
  local points = {}
  local function add(name, value)
    points[name] = points[name] or {}
    table.insert(points[name], value)
  end
  for _, row in ipairs(ask(server, of_server(server), 3)) do
    add(M.name(nil, nil, nil, "postgresql." .. row[1], row[2]), row[3])
  end
  for _, row in ipairs(ask(server, OF_DATABASES, 4)) do
    add(M.name(row[1], nil, nil, "postgresql." .. row[2], row[3]), row[4])
  end
  for _, database in ipairs(databases) do
    for _, row in ipairs(ask(server, IN_DATABASE, 5, database)) do
      add(M.name(database, row[2], row[3], "postgresql." .. row[1], row[4]), row[5])
    end
  end
  for _, values in pairs(points) do table.sort(values, function(a, b) return tonumber(a) < tonumber(b) end) end
  return points
end

return M
