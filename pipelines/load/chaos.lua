-- Trouble of every kind, so that server logs and activity views have something to show: deadlocks, lock waits, long and
-- idle transactions, temporary files, slow statements, errors, failed logins, storms of connections, checkpoints.
--   dbobs run pipelines/load/chaos.lua prepare
--   dbobs run pipelines/load/chaos.lua duration=5m
-- As superuser it also makes the server log each of them, in its own sessions only. Not for a server that others use.
local dbobs = require "dbobs"

local ROWS = 100

-- Only a superuser may set these; for others they stay as the server has them.
local LOGGED = {
  "log_lock_waits = on", "deadlock_timeout = '200ms'", "log_temp_files = 0", "log_min_duration_statement = '500ms'",
  "log_min_error_statement = error",
}

local UPDATE = "update dbobs_chaos set value = value + 1 where id = $1"

local events = {}

local function event(name, weight, run) events[#events + 1] = { name = name, weight = weight, run = run } end

-- Two that lock the same two rows in opposite order, at the same time.
event("deadlock", 3, function(db, random)
  local first = random:uniform(1, 2)
  db:begin()
  db:execute(UPDATE, first)
  db:sleep(0.1)
  db:execute(UPDATE, 3 - first)
  db:commit()
end)

event("lock_wait", 3, function(db, random)
  db:begin()
  db:execute(UPDATE, 3)
  db:sleep(0.2 + random:real())
  db:commit()
end)

event("long_transaction", 1, function(db, random, o)
  db:begin()
  db:execute("select count(*) from dbobs_chaos")
  db:execute("select pg_sleep($1)", o.long * random:real())
  db:commit()
end)

event("idle_in_transaction", 1, function(db, random, o)
  db:begin()
  db:execute(UPDATE, random:uniform(10, ROWS))
  db:sleep(o.long * random:real())
  db:commit()
end)

event("temp_file", 2, function(db)
  db:begin()
  db:execute "set local work_mem = '64kB'"
  db:execute "select count(*) from (select md5(i::text) as m from generate_series(1, 50000) i order by m) as sorted"
  db:commit()
end)

event("slow_query", 2, function(db, random)
  db:execute("select pg_sleep($1)", 0.6 + random:real())
end)

event("syntax_error", 2, function(db) db:script "selec 1" end)

event("missing_table", 2, function(db) db:script "select * from no_such_table" end)

event("division_by_zero", 2, function(db, random) db:execute("select 1 / $1::int", 0 * random:real()) end)

event("duplicate_key", 2, function(db, random)
  db:execute("insert into dbobs_chaos (id, value) values ($1, 0)", random:uniform(1, ROWS))
end)

event("statement_timeout", 1, function(db)
  db:begin()
  db:execute "set local statement_timeout = '100ms'"
  db:execute "select pg_sleep(5)"
end)

event("failed_login", 1, function(db, random)
  local stranger, cause, info = dbobs.postgres.connect {
    host = db.postgres.host, port = db.postgres.port, dbname = db.postgres.dbname, user = "nobody_" .. random:text(4),
    password = "wrong",
  }
  if stranger then stranger:close()
  else db:fail(info.sqlstate or "28000", cause) end
end)

-- Many connections at once, each for a moment.
event("connection_storm", 1, function(db, _, o)
  local tasks = {}
  for i = 1, o.storm do
    tasks[i] = dbobs.spawn(function()
      local extra = db:another()
      if extra then
        extra:query "select 1"
        extra:close()
      end
    end)
  end
  for _, one in ipairs(tasks) do dbobs.join(one) end
end)

event("checkpoint", 0.2, function(db) db:script "checkpoint" end)

event("bloat", 1, function(db) db:execute "update dbobs_chaos set value = value + 1 where id > 10" end)

return dbobs.load.workload {
  name = "chaos",
  description = "Deadlocks, lock waits, long transactions, temporary files, errors, connection storms.",
  options = {
    { name = "long", type = "duration", default = "5s", help = "how long a long transaction lasts at most" },
    { name = "storm", type = "integer", default = 20, help = "connections of a storm" },
  },
  defaults = { errors = "count", rate = 10, connections = 16, arrivals = "poisson", interval = "10s" },
  targets = dbobs.load.targets_of_environment,
  prepare = function(run)
    run:create("dbobs_chaos", "(id integer primary key, value bigint not null)")
    run:copy("dbobs_chaos", "id, value", ROWS, function(i) return i .. "\t0" end)
  end,
  connect = function(db)
    for _, setting in ipairs(LOGGED) do
      db:script("do $$ begin set " .. setting .. "; exception when insufficient_privilege then null; end $$")
    end
  end,
  events = events,
}
