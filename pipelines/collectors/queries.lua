-- The queries collector: every statement of pg_stat_statements with all that the server knows of it, one record each.
-- A column of the query below becomes a field of the record's payload under its own name. Values are cumulative.
local dbobs = require "dbobs"

local collector = {
  name = "queries",
  -- Passwords in statements like ALTER ROLE ... PASSWORD 'secret' are sent as '***'.
  options = { mask_passwords = true },
}

-- {columns} are all columns of the view, which differ by version; {view} is pg_stat_statements, with its schema.
-- A statement of a database that was dropped has the database's number. Our own statements are left out: they carry a
-- comment. But from version 16 on everybody's COMMIT is one entry, under the text that came first.
local statements = [[
  select s.queryid::text as queryid,
         coalesce(s.query, '') as query,
         {columns},
         case when s.shared_blks_hit + s.shared_blks_read > 0
              then s.shared_blks_hit::float8 / (s.shared_blks_hit + s.shared_blks_read) end as cache_hit_ratio,
         r.rolname as "user",
         coalesce(d.datname, s.dbid::text) as database
    from {view} s
    left join pg_roles r on r.oid = s.userid
    left join pg_database d on d.oid = s.dbid
   where strpos(left(coalesce(s.query, ''), 40), '/* dbobs */') = 0
      or (s.query in ('/* dbobs */ commit', '/* dbobs */ rollback')
          and current_setting('server_version_num')::int >= 160000)]]

-- Fields have the view's newest names; those that end in _time are milliseconds and get _ms. But these are called:
local names = {
  total_exec_time = "total_time_ms",
  mean_exec_time = "mean_time_ms",
  min_exec_time = "min_time_ms",
  max_exec_time = "max_time_ms",
  stddev_exec_time = "stddev_time_ms",
  blk_read_time = "shared_blk_read_time_ms", -- until 16
  blk_write_time = "shared_blk_write_time_ms",
}

-- Where the view is, what it has, and whether we may see all of it.
local view = [[
  select c.oid::regclass::text as name,
         (select string_agg(quote_ident(attname), ' ' order by attnum) from pg_attribute
           where attrelid = c.oid and attnum > 0 and not attisdropped) as columns,
         e.extversion as version,
         (select default_version from pg_available_extensions where name = e.extname) as newest,
         pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all,
         quote_ident(current_user) as me
    from pg_extension e
    join pg_class c on c.relnamespace = e.extnamespace and c.relname = e.extname
   where e.extname = 'pg_stat_statements']]

-- SQLSTATEs with a meaning here.
local NOT_LOADED, NO_UTF8 = "55000", "22021"

local function problem(failure)
  if failure.sqlstate ~= NOT_LOADED then return failure.text end
  return "pg_stat_statements is not loaded: add it to shared_preload_libraries in postgresql.conf and restart "
    .. "the server"
end

local function find_view(run)
  local found
  local failures, cause = run:snapshot(nil, {
    { name = "pg_stat_statements", sql = view, each = function(rows) found = rows:rows()[1] or found end },
  })
  if not failures then return nil, cause end
  if failures.pg_stat_statements then return nil, problem(failures.pg_stat_statements) end
  if found then return found end
  return nil, "pg_stat_statements is not installed in database " .. run.target.database
    .. ": add it to shared_preload_libraries in postgresql.conf, restart the server, then run there: "
    .. "CREATE EXTENSION pg_stat_statements"
end

local function complete(found, from)
  local columns = {}
  for column in found.columns:gmatch "%S+" do
    if column ~= "queryid" and column ~= "query" then
      local name = names[column] or column:gsub("_time$", "_time_ms")
      columns[#columns + 1] = ("s.%s as %s"):format(column, name)
    end
  end
  return (statements:gsub("{(%w+)}", { columns = table.concat(columns, ", "), view = from }))
end

function collector.collect(run)
  local found, cause = find_view(run)
  if not found then return nil, cause end
  run:tell("pg_stat_statements is older than the server", found.version ~= found.newest,
    ("version %s of %s: run ALTER EXTENSION pg_stat_statements UPDATE"):format(found.version, tostring(found.newest)))
  if not found.sees_all then
    run:partial("statements of other users are hidden", ("run: GRANT pg_monitor TO %s"):format(found.me))
  end

  local writer = dbobs.record.writer(run:envelope(), {
    data_type = "query",
    time = run.time,
    database_column = "database",
    masked_column = run.options.mask_passwords and "query" or nil,
  })
  local function read(from)
    return run:snapshot(nil, {
      {
        name = "statements",
        sql = complete(found, from),
        each = function(rows)
          assert(writer:rows(rows, run.sink, run.batch))
        end,
      },
    })
  end
  local failures
  failures, cause = read(found.name)
  if failures and failures.statements and failures.statements.sqlstate == NO_UTF8 then
    -- A SQL_ASCII database holds statements that this database's encoding cannot show: all without their texts.
    run:partial("query texts are left out", "a statement of a SQL_ASCII database is no UTF-8: let dbname be that "
      .. "database and create the extension there, or SELECT pg_stat_statements_reset()")
    failures, cause = read(found.name .. "(false)")
  end
  if not failures then return nil, cause end
  if failures.statements then return nil, problem(failures.statements) end
  return true
end

return collector
