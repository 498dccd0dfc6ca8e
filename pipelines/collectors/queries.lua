-- The queries collector: every statement of pg_stat_statements with all that the server knows of it, one record each.
-- A column of the query below becomes a field of the record's payload under its own name. Values are cumulative.
local dbobs = require "dbobs"

local collector = {
  name = "queries",
  extensions = { "pg_stat_statements" }, -- that `dbobs check` says how to have
  options = {
    -- Which statements: the first so many by a column (0: all); those called so often; those of some databases, like
    -- { "app", "shop_*" }; not those with texts like { "FETCH *", "*pg_catalog*" }.
    top = 0,
    order_by = "total_time_ms",
    min_calls = 0,
    databases = {},
    exclude = {},
    -- A statement is sent when its counters changed; all are, changed or not, so often:
    full_every = "1h",
    -- New statements wait for a read of their texts, which costs the server as much for one as for all:
    text_every = "60s",
    -- Characters of a text that are sent (0: the whole), and bytes of memory for the texts of all targets.
    text_max = 0,
    text_cache = 64 * 2 ^ 20,
    -- Passwords in statements like ALTER ROLE ... PASSWORD 'secret' are sent as '***'.
    mask_passwords = true,
  },
  kinds = dbobs.statements.kinds,
  problem = dbobs.statements.problem,
}

-- {columns} are all columns of the view, which differ by version; {view} is pg_stat_statements, with its schema, and
-- {texts} whether the texts are read. A statement of a database that was dropped has the database's number.
local statements = [[
  select s.queryid::text as queryid,
         {columns},
         case when s.shared_blks_hit + s.shared_blks_read > 0
              then s.shared_blks_hit::float8 / (s.shared_blks_hit + s.shared_blks_read) end as cache_hit_ratio,
         r.rolname as "user",
         coalesce(d.datname, s.dbid::text) as database
    from {view}({texts}) s
    left join pg_roles r on r.oid = s.userid
    left join pg_database d on d.oid = s.dbid
   where {conditions}
   {order}]]

-- Goes with every record.
local info = "select dealloc, stats_reset from {view}_info"

-- Our own statements are left out: they carry a comment. But from version 16 on everybody's COMMIT is one entry, under
-- the text that came first.
local shared, none = { "/* dbobs */ commit", "/* dbobs */ rollback" }, {}

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

-- Where the view is, what it has, whether we may see all of it, and which setting of the server keeps it from counting.
-- The name has its schema, for somebody else's function may come first in search_path.
local view = [[
  select c.relnamespace::regnamespace || '.' || quote_ident(c.relname) as name,
         (select string_agg(quote_ident(attname), ' ' order by attnum) from pg_attribute
           where attrelid = c.oid and attnum > 0 and not attisdropped) as columns,
         exists (select from pg_class where relnamespace = c.relnamespace and relname = e.extname || '_info') as info,
         e.extversion as version,
         (select default_version from pg_available_extensions where name = e.extname) as newest,
         current_setting('server_version_num')::int >= 160000 as shares_commit,
         pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all,
         quote_ident(current_user) as me,
         (select format('%s is %s', name, setting) from pg_settings
           where (name, setting) in (('pg_stat_statements.track', 'none'), ('compute_query_id', 'off'))
             and source not in ('user', 'database', 'database user', 'session') limit 1) as off
    from pg_extension e
    join pg_class c on c.relnamespace = e.extnamespace and c.relname = e.extname
   where e.extname = 'pg_stat_statements']]

-- Of that, what can change while we run; and memory for what the view returns, which would else go to a temporary file.
local settings = [[
  select concat_ws(' ', current_setting('pg_stat_statements.track', true), current_setting('compute_query_id', true),
           pg_has_role(current_user, 'pg_read_all_stats', 'usage'), e.extversion) as seen,
         case when pg_size_bytes(current_setting('work_mem')) < 33554432
              then set_config('work_mem', '32MB', true) end
    from pg_extension e
   where e.extname = 'pg_stat_statements']]

-- SQLSTATEs with a meaning here: not loaded; and no such relation, function, schema, column.
local NOT_LOADED = "55000"
local GONE = { ["42P01"] = true, ["42883"] = true, ["3F000"] = true, ["42703"] = true }

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

-- Tells what keeps the view from showing all that it could.
local function tell(run, found)
  run:tell("pg_stat_statements is older than the server", found.version ~= found.newest,
    ("version %s of %s: run ALTER EXTENSION pg_stat_statements UPDATE"):format(found.version, tostring(found.newest)))
  run:tell("the server counts no statements", found.off ~= nil,
    ("%s: run ALTER SYSTEM SET %s, then SELECT pg_reload_conf()"):format(tostring(found.off),
      found.off == "compute_query_id is off" and "compute_query_id = auto" or "pg_stat_statements.track = top"))
  if found.sees_all then return run:tell("statements of other users are hidden", false) end
  run:partial("statements of other users are hidden", ("run: GRANT pg_monitor TO %s"):format(found.me))
end

-- What is known of the view is asked again when something of it has changed.
local function look(run)
  local state, now = run.state, dbobs.monotonic()
  if not state.found or now >= state.look_due then
    local found, cause = find_view(run)
    if not found then return nil, cause end
    local reads
    reads, cause = dbobs.statements.reads(found, run.options, { statements = statements, info = info, names = names })
    if not reads then return nil, cause end
    reads.keep = found.shares_commit and shared or none
    reads.before = { { name = "settings", sql = settings, each = function(rows)
      local seen = rows:rows()[1].seen
      if state.seen and seen ~= state.seen then state.look_due = 0 end
      state.seen = seen
    end } }
    state.found, state.reads, state.seen = found, reads, nil
    state.look_due = now + dbobs.duration(run.options.full_every)
  end
  tell(run, state.found)
  return state.reads
end

function collector.collect(run)
  local known = run.state.found
  local reads, cause = look(run)
  if not reads then return nil, cause end
  local ok, failure
  ok, cause, failure = dbobs.statements.collect(run, reads)
  if ok or not failure then return ok, cause end
  run.state.found = nil
  -- Perhaps it was created anew, in another version or schema.
  if known and GONE[failure.sqlstate] then return collector.collect(run) end
  return nil, problem(failure)
end

return collector
