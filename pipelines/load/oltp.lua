-- sysbench's OLTP mixes: the same tables, statements and options, so that the figures compare.
--   dbobs run pipelines/load/oltp.lua prepare tables=4 table_size=100000
--   dbobs run pipelines/load/oltp.lua rate=1000 duration=60s connections=8     (mix=read_only, point_select, ...)
--   dbobs run pipelines/load/oltp.lua cleanup
-- The server is the one that target="host=... dbname=..." names, or the environment (PGHOST or POSTGRES_HOST, ...).
local dbobs = require "dbobs"

local function integer(name, default, help) return { name = name, type = "integer", default = default, help = help } end
local function switch(name, default, help) return { name = name, type = "boolean", default = default, help = help } end

local DISTRIBUTIONS = { "special", "uniform", "gaussian", "exponential", "zipfian" }

local options = {
  { name = "mix", type = { one = { "read_write", "read_only", "point_select", "write_only" } }, default = "read_write",
    help = "what an event is" },
  integer("tables", 1, "how many"),
  integer("table_size", 10000, "rows in each"),
  integer("scale", 1, "multiplies table_size"),
  integer("range_size", 100, "rows of a range select"),
  integer("point_selects", 10, "of each event"),
  integer("simple_ranges", 1, "of each event"),
  integer("sum_ranges", 1, "of each event"),
  integer("order_ranges", 1, "of each event"),
  integer("distinct_ranges", 1, "of each event"),
  integer("index_updates", 1, "of each event"),
  integer("non_index_updates", 1, "of each event"),
  integer("delete_inserts", 1, "of each event"),
  switch("range_selects", true, "false leaves out all four kinds of ranges"),
  switch("skip_trx", false, "no transaction around an event of the mix read_only or write_only"),
  switch("auto_inc", true, "prepare: ids come from a sequence"),
  switch("create_secondary", true, "prepare: an index on k"),
  { name = "rand_type", type = { one = DISTRIBUTIONS }, default = "special", help = "distribution of the ids" },
  { name = "rand_zipfian_exp", type = "number", default = 0.8, help = "exponent of the zipfian distribution" },
}

-- A statement's texts, one for each table, made once: a text is what a prepared statement is found by.
local function texts(template)
  return setmetatable({}, { __index = function(self, number)
    local text = template:gsub("sbtest", "sbtest" .. number)
    self[number] = text
    return text
  end })
end

local POINT = texts "SELECT c FROM sbtest WHERE id=$1"
local SIMPLE = texts "SELECT c FROM sbtest WHERE id BETWEEN $1 AND $2"
local SUM = texts "SELECT SUM(k) FROM sbtest WHERE id BETWEEN $1 AND $2"
local ORDER = texts "SELECT c FROM sbtest WHERE id BETWEEN $1 AND $2 ORDER BY c"
local DISTINCT = texts "SELECT DISTINCT c FROM sbtest WHERE id BETWEEN $1 AND $2 ORDER BY c"
local UPDATE_INDEX = texts "UPDATE sbtest SET k=k+1 WHERE id=$1"
local UPDATE = texts "UPDATE sbtest SET c=$1 WHERE id=$2"
local DELETE = texts "DELETE FROM sbtest WHERE id=$1"
local INSERT = texts "INSERT INTO sbtest (id, k, c, pad) VALUES ($1, $2, $3, $4)"

local C = ("###########-"):rep(10):sub(1, -2)
local PAD = ("###########-"):rep(5):sub(1, -2)

local function any_id(random, o)
  if o.rand_type == "zipfian" then return random:zipfian(1, o.table_size * o.scale, o.rand_zipfian_exp) end
  return random[o.rand_type](random, 1, o.table_size * o.scale)
end

local function any_table(random, o)
  return o.tables == 1 and 1 or random:uniform(1, o.tables)
end

local function point_selects(db, random, o, count)
  local number = any_table(random, o)
  for _ = 1, count do db:execute(POINT[number], any_id(random, o)) end
end

local function ranges(db, random, o, statement, count)
  if count == 0 then return end
  local number = any_table(random, o)
  for _ = 1, count do
    local id = any_id(random, o)
    db:execute(statement[number], id, id + o.range_size - 1)
  end
end

local function reads(db, random, o)
  point_selects(db, random, o, o.point_selects)
  if not o.range_selects then return end
  ranges(db, random, o, SIMPLE, o.simple_ranges)
  ranges(db, random, o, SUM, o.sum_ranges)
  ranges(db, random, o, ORDER, o.order_ranges)
  ranges(db, random, o, DISTINCT, o.distinct_ranges)
end

local function writes(db, random, o)
  local number = any_table(random, o)
  for _ = 1, o.index_updates do db:execute(UPDATE_INDEX[number], any_id(random, o)) end
  number = any_table(random, o)
  for _ = 1, o.non_index_updates do db:execute(UPDATE[number], random:pattern(C), any_id(random, o)) end
  number = any_table(random, o)
  for _ = 1, o.delete_inserts do
    local id = any_id(random, o)
    db:execute(DELETE[number], id)
    db:execute(INSERT[number], id, any_id(random, o), random:pattern(C), random:pattern(PAD))
  end
end

local mixes = {}

function mixes.point_select(db, random, o)
  db:execute(POINT[any_table(random, o)], any_id(random, o))
end

function mixes.read_only(db, random, o)
  if not o.skip_trx then db:begin() end
  reads(db, random, o)
  if not o.skip_trx then db:commit() end
end

function mixes.write_only(db, random, o)
  if not o.skip_trx then db:begin() end
  writes(db, random, o)
  if not o.skip_trx then db:commit() end
end

function mixes.read_write(db, random, o)
  db:begin()
  reads(db, random, o)
  writes(db, random, o)
  db:commit()
end

local function prepare_table(run, number)
  local o, random, name = run.options, run.random, "sbtest" .. number
  run:create(name, ([[(id %s NOT NULL, k integer DEFAULT 0 NOT NULL, c char(120) DEFAULT '' NOT NULL,
    pad char(60) DEFAULT '' NOT NULL, PRIMARY KEY (id))]]):format(o.auto_inc and "serial" or "integer"))
  local rows = o.table_size * o.scale
  run:copy(name, "id, k, c, pad", rows, function(id)
    return ("%d\t%d\t%s\t%s"):format(id, any_id(random, o), random:pattern(C), random:pattern(PAD))
  end)
  if o.auto_inc then run:execute(("SELECT setval(pg_get_serial_sequence('%s', 'id'), %d)"):format(name, rows)) end
  if o.create_secondary then run:execute(("CREATE INDEX k_%d ON %s(k)"):format(number, name)) end
  run:execute("VACUUM ANALYZE " .. name)
end

return dbobs.load.workload {
  name = "oltp",
  description = "sysbench's oltp_read_write, oltp_read_only, oltp_point_select and oltp_write_only.",
  options = options,
  -- As in sysbench: who loses a race for a row that was deleted and inserted again tries anew.
  retry_on = { "23505" },
  defaults = { retries = 100 },
  targets = dbobs.load.targets_of_environment,
  events = function(o) return { { name = o.mix, run = mixes[o.mix] } } end,
  prepare = function(run)
    for number = 1, run.options.tables do prepare_table(run, number) end
  end,
}
