-- For queries.sh: statements with texts of 1 KB (fill=N makes them, load=N runs them all each 30 s), what collections
-- of them cost us and the server (count=N), and many targets (targets=N).
local collect = require "dbobs.collect"
local dbobs = require "dbobs"
local queries = require "collectors.queries"
local run = require "dbobs.run"
local targets = require "dbobs.target"

local given = dbobs.arguments {
  fill = "0", load = "0", count = "0", rounds = "20", targets = "0", brokers = "",
}
local COLUMNS = 100

local function connect()
  return assert(dbobs.postgres.connect {})
end

-- Names do not make statements differ for the server, columns do.
local function sql(i)
  local pad = {}
  for n = 1, 15 do pad[n] = ("%d as %s%d"):format(n, ("x"):rep(50), n) end
  return ("select c%d, c%d, %s from wide"):format(i % COLUMNS + 1, math.floor(i / COLUMNS) + 1, table.concat(pad, ", "))
end

local function run_all(db, count)
  for first = 1, count, 100 do
    local list = {}
    for i = first, math.min(first + 99, count) do list[#list + 1] = { sql(i) } end
    assert(db:pipeline(list))
  end
end

local function fill(count)
  local db = connect()
  assert(db:query "create table if not exists wide ()")
  for i = 1, COLUMNS do assert(db:query(("alter table wide add column if not exists c%d int"):format(i))) end
  assert(db:query "select pg_stat_statements_reset()")
  run_all(db, count)
  db:close()
end

-- CPU milliseconds of a process, from the scheduler's own account.
local function cpu_of(pid)
  local file = assert(io.open(("/proc/%d/schedstat"):format(pid)))
  local nanoseconds = file:read "*n"
  file:close()
  return nanoseconds / 1e6
end

local function new_run(to, options)
  local all = { text_every = "0s" }
  for name, value in pairs(queries.options) do all[name] = all[name] or value end
  for name, value in pairs(options) do all[name] = value end
  local job = { target = assert(targets.new { name = "bench" }), collector = queries, options = all, state = {} }
  return run.new(job, to, dbobs.batch())
end

-- Prints a line: label, our milliseconds and the server's, for one collection. `before` runs before each.
local function measure(label, kafka, options, before)
  local to = kafka:topic("raw-queries", { when_full = "drop_oldest" })
  local one = new_run(to, options)
  local pid
  one:snapshot(nil, { { name = "pid", sql = "select pg_backend_pid() as pid", each = function(rows)
    pid = rows:rows()[1].pid
  end } })
  local function once()
    one.time, one.batch = dbobs.now(), dbobs.batch()
    assert(queries.collect(one))
    kafka:flush "60s"
  end
  for _ = 1, 2 do once() end
  local ours, servers = 0, 0
  for round = 1, tonumber(given.rounds) do
    before(round)
    local our_start, server_start = os.clock(), cpu_of(pid)
    once()
    ours, servers = ours + os.clock() - our_start, servers + cpu_of(pid) - server_start
  end
  print(("%s\t%.2f\t%.2f"):format(label, ours * 1e3 / given.rounds, servers / given.rounds))
end

local function measure_all(count)
  local kafka = dbobs.kafka { ["bootstrap.servers"] = given.brokers }
  local db = connect()
  local function nothing() end
  local function change() run_all(db, count) end
  -- A collection each 30 s: one in two sees something new.
  local function one_in_two(round)
    if round % 2 == 0 then assert(db:query(("select c1, c2, c3, %s 1 as new from wide"):format(("1, "):rep(round)))) end
  end
  -- First, since one cache serves all.
  measure("nothing changed, no cache", kafka, { text_cache = 0 }, nothing)
  measure("all changed, no cache", kafka, { text_cache = 0 }, change)
  measure("nothing changed", kafka, {}, nothing)
  measure("one new statement a minute", kafka, {}, one_in_two)
  measure("all changed", kafka, {}, change)
  db:close()
  kafka:close()
end

-- Many targets, all of them this server.
local function crowd(count)
  local kafka = dbobs.kafka { ["bootstrap.servers"] = given.brokers }
  local to = kafka:topic "raw-queries"
  for i = 1, count do
    collect.collect(queries, { name = "t" .. i }, { every = "30s", jitter = "25s", to = to })
  end
end

if tonumber(given.fill) > 0 then fill(tonumber(given.fill)) end
if tonumber(given.count) > 0 then measure_all(tonumber(given.count)) end
if tonumber(given.load) > 0 then
  local db = connect()
  dbobs.every("30s", function() run_all(db, tonumber(given.load)) end)
end
if tonumber(given.targets) > 0 then crowd(tonumber(given.targets)) end
