-- pgbench's TPC-B-like transaction on pgbench's tables, so that tps compare with `pgbench` itself.
--   dbobs run pipelines/load/tpcb.lua prepare scale=10        (tables that `pgbench -i` made will do as well)
--   dbobs run pipelines/load/tpcb.lua duration=60s connections=8                (mix=simple_update, select_only)
--   dbobs run pipelines/load/tpcb.lua cleanup
-- The server is the one that target="host=... dbname=..." names, or the environment (PGHOST or POSTGRES_HOST, ...).
local dbobs = require "dbobs"

local ACCOUNTS, TELLERS = 100000, 10 -- of a branch

local UPDATE_ACCOUNT = "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2"
local SELECT_ACCOUNT = "SELECT abalance FROM pgbench_accounts WHERE aid = $1"
local UPDATE_TELLER = "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2"
local UPDATE_BRANCH = "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2"
local INSERT_HISTORY =
  "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)"

local mixes = {}

local function transact(db, random, whole)
  local branches = db.branches
  local aid = random:uniform(1, ACCOUNTS * branches)
  local bid, tid = random:uniform(1, branches), random:uniform(1, TELLERS * branches)
  local delta = random:uniform(-5000, 5000)
  db:begin()
  db:execute(UPDATE_ACCOUNT, delta, aid)
  db:execute(SELECT_ACCOUNT, aid)
  if whole then
    db:execute(UPDATE_TELLER, delta, tid)
    db:execute(UPDATE_BRANCH, delta, bid)
  end
  db:execute(INSERT_HISTORY, tid, bid, aid, delta)
  db:commit()
end

function mixes.tpcb(db, random) transact(db, random, true) end

function mixes.simple_update(db, random) transact(db, random, false) end

function mixes.select_only(db, random)
  db:execute(SELECT_ACCOUNT, random:uniform(1, ACCOUNTS * db.branches))
end

-- As many selects as asked for, in one round trip: what pgbench's \startpipeline is for.
function mixes.pipelined(db, random, o)
  db:start_pipeline()
  for _ = 1, o.pipeline do db:execute(SELECT_ACCOUNT, random:uniform(1, ACCOUNTS * db.branches)) end
  db:end_pipeline()
end

local function prepare(run)
  local scale = run.options.scale
  run:create("pgbench_history", "(tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))")
  run:create("pgbench_tellers", "(tid int not null, bid int, tbalance int, filler char(84)) with (fillfactor=100)")
  run:create("pgbench_accounts", "(aid int not null, bid int, abalance int, filler char(84)) with (fillfactor=100)")
  run:create("pgbench_branches", "(bid int not null, bbalance int, filler char(88)) with (fillfactor=100)")
  run:copy("pgbench_branches", "bid, bbalance", scale, function(i) return i .. "\t0" end)
  run:copy("pgbench_tellers", "tid, bid, tbalance", scale * TELLERS, function(i)
    return ("%d\t%d\t0"):format(i, math.floor((i - 1) / TELLERS) + 1)
  end)
  run:copy("pgbench_accounts", "aid, bid, abalance, filler", scale * ACCOUNTS, function(i)
    return ("%d\t%d\t0\t"):format(i, math.floor((i - 1) / ACCOUNTS) + 1)
  end)
  for _, name in ipairs { "branches", "tellers", "accounts", "history" } do
    run:execute("vacuum analyze pgbench_" .. name)
  end
  run:execute "alter table pgbench_branches add primary key (bid)"
  run:execute "alter table pgbench_tellers add primary key (tid)"
  run:execute "alter table pgbench_accounts add primary key (aid)"
end

return dbobs.load.workload {
  name = "tpcb",
  description = "pgbench's transactions, on its tables.",
  options = {
    { name = "mix", type = { one = { "tpcb", "simple_update", "select_only", "pipelined" } }, default = "tpcb",
      help = "what an event is" },
    { name = "scale", type = "integer", default = 1, help = "prepare: branches, each with 100000 accounts" },
    { name = "pipeline", type = "integer", default = 10, help = "selects of an event of the mix pipelined" },
  },
  targets = dbobs.load.targets_of_environment,
  prepare = prepare,
  connect = function(db)
    db.branches = db:rows("select count(*)::int as count from pgbench_branches")[1].count
    if db.branches == 0 then db:fail("42P01", "pgbench_branches is empty") end
  end,
  events = function(o) return { { name = o.mix, run = mixes[o.mix] } } end,
}
