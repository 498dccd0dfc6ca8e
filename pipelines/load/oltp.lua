-- A small shop under load: reads, joins, writes and now and then a slow query on tables users, products and orders.
--   dbobs run pipelines/load/oltp.lua create=true              makes the tables first, where they are missing
--   dbobs run pipelines/load/oltp.lua rate=200 duration=5m connections=8
-- The server is the one that psql would take (PGHOST, PGDATABASE, ...), or that POSTGRES_HOST and friends name. It may
-- be restarted meanwhile: the load goes on when it is back.
local dbobs = require "dbobs"

local options = dbobs.arguments {
  rate = tonumber(dbobs.env("QUERY_RATE", "50")), -- transactions a second; 0: as many as possible
  duration = "60s", -- "0s": until it is stopped
  connections = 4,
  slow = tonumber(dbobs.env("SLOW_QUERY_PROBABILITY", "0.01")), -- share of slow queries, 0 to 1
  write = tonumber(dbobs.env("WRITE_PROBABILITY", "0.2")), -- share of writes, 0 to 1
  create = false, -- make the tables where they are missing
}

local server = {
  host = dbobs.env "POSTGRES_HOST",
  port = dbobs.env "POSTGRES_PORT",
  user = dbobs.env "POSTGRES_USER",
  password = dbobs.env "POSTGRES_PASSWORD",
  dbname = dbobs.env "POSTGRES_DB",
  application_name = "dbobs-load",
  statement_timeout = "30s",
}

local TABLES = [[
  create table if not exists users (id bigint generated always as identity primary key, email text not null unique,
    name text not null, created_at timestamptz not null default now());
  create table if not exists products (id bigint generated always as identity primary key, name text not null,
    price numeric(10, 2) not null, stock integer not null);
  create table if not exists orders (id bigint generated always as identity primary key,
    user_id bigint not null references users, product_id bigint not null references products,
    quantity integer not null, total numeric(12, 2) not null, status text not null default 'new',
    created_at timestamptz not null default now());
  create index if not exists orders_user_id_idx on orders (user_id);
  insert into users (email, name) select 'user' || i || '@example.org', 'User ' || i from generate_series(1, 1000) i
    where not exists (select from users);
  insert into products (name, price, stock) select 'Product ' || i, 1 + i % 97 + 0.99, 1000000
    from generate_series(1, 200) i where not exists (select from products)]]

-- What a transaction can be. Each gets a connection and the highest ids of users and products.

local function read(db, ids)
  return db:query("select id, name, email from users where id = $1", math.random(ids.users))
end

local function join(db, ids)
  return db:query([[select o.id, p.name, o.quantity, o.total, o.status
    from orders o join products p on p.id = o.product_id
    where o.user_id = $1 order by o.created_at desc limit 10]], math.random(ids.users))
end

local function write(db, ids)
  local user, product, quantity = math.random(ids.users), math.random(ids.products), math.random(5)
  return db:transaction(function()
    local ok, cause, info = db:query("update products set stock = stock - $2 where id = $1", product, quantity)
    if not ok then return nil, cause, info end
    return db:query([[insert into orders (user_id, product_id, quantity, total)
      select $1, id, $3::int, price * $3::int from products where id = $2]], user, product, quantity)
  end)
end

local function slow(db)
  return db:query([[select u.name, count(*), sum(o.total), pg_sleep(0.2) from users u join orders o on o.user_id = u.id
    group by u.name order by 3 desc limit 5]])
end

local function choose()
  local dice = math.random()
  if dice < options.slow then return "slow", slow end
  if dice < options.slow + options.write then return "write", write end
  if dice < options.slow + options.write + 0.3 then return "join", join end
  return "read", read
end

local began = dbobs.monotonic()
local duration = dbobs.duration(options.duration)
local stop_at = duration > 0 and began + duration or math.huge
local counts = { read = 0, join = 0, write = 0, slow = 0, errors = 0, reconnects = 0 }
local total_seconds, slowest = 0, 0

-- Connects, again and again with growing pauses while the server is away. Any other refusal ends the load.
local function connect()
  local pause = 0.1
  while true do
    local db, cause, info = dbobs.postgres.connect(server)
    if not db and not info.retryable then error(cause, 0) end
    dbobs.log.condition("load", db == nil, "warn", "the server is away", { error = cause })
    if db then return db end
    if dbobs.monotonic() >= stop_at then return nil end
    dbobs.sleep(pause)
    pause = math.min(pause * 2, 5)
  end
end

local function highest_ids(db)
  local rows, cause, info = db:query "select (select max(id) from users) users, (select max(id) from products) products"
  if rows and rows[1].users and rows[1].products then return rows[1] end
  if info and info.lost then return nil end
  error((cause or "the tables are empty") .. "; users, products and orders are needed: add create=true", 0)
end

local function transact(db, ids)
  local kind, run = choose()
  local start = dbobs.monotonic()
  local ok, cause, info = run(db, ids)
  local seconds = dbobs.monotonic() - start
  if ok then
    counts[kind] = counts[kind] + 1
    total_seconds, slowest = total_seconds + seconds, math.max(slowest, seconds)
  elseif not info.lost then
    counts.errors = counts.errors + 1
    dbobs.log.warn("a transaction failed", { kind = kind, error = cause })
  end
end

-- One connection's load, at its share of the rate.
local function work()
  local period = options.rate > 0 and options.connections / options.rate or 0
  local due = dbobs.monotonic() + math.random() * period
  local db, ids
  while dbobs.monotonic() < stop_at do
    if not db or not db:alive() then
      if db then counts.reconnects = counts.reconnects + 1 end
      db = connect()
      ids = db and highest_ids(db)
    end
    if ids then transact(db, ids) end
    -- What is late is made up for, but not more than a second of it: that would be a flood after an outage.
    due = math.max(due + period, dbobs.monotonic() - 1)
    dbobs.sleep(math.max(math.min(due, stop_at) - dbobs.monotonic(), 0))
  end
  if db then db:close() end
end

local function create_tables()
  local db = connect()
  assert(db:query(TABLES))
  db:close()
end

if options.create then create_tables() end
local workers, failure = {}, nil
for i = 1, options.connections do
  workers[i] = dbobs.spawn(function()
    local ok, cause = pcall(work)
    if not ok then failure, stop_at = failure or cause, 0 end
  end)
end
local stopped, why = pcall(function()
  for _, worker in ipairs(workers) do dbobs.join(worker) end
end)
for _, worker in ipairs(workers) do dbobs.cancel(worker) end

local done = counts.read + counts.join + counts.write + counts.slow
local seconds = dbobs.monotonic() - began
dbobs.log.info("load: done", {
  reads = counts.read, joins = counts.join, writes = counts.write, slow = counts.slow, errors = counts.errors,
  reconnects = counts.reconnects, seconds = ("%.1f"):format(seconds), per_second = ("%.1f"):format(done / seconds),
  mean_ms = ("%.2f"):format(done > 0 and total_seconds / done * 1e3 or 0), slowest_ms = ("%.0f"):format(slowest * 1e3),
})
if failure then error(failure, 0) end
if not stopped then error(why, 0) end
