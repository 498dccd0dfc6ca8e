-- Keeps a development database busy: users, products and orders are read, joined and written, and now and then a query
-- is slow. Runs for ever, also through a restart of the server, with a line of figures each minute.
--   dbobs run pipelines/load/simulator.lua prepare
--   dbobs run pipelines/load/simulator.lua
-- QUERY_RATE (queries a second), SLOW_QUERY_PROBABILITY and WRITE_PROBABILITY (0 to 1) set it, or rate=, slow=, write=.
-- The server is the one that target="host=... dbname=..." names, or the environment (PGHOST or POSTGRES_HOST, ...).
local dbobs = require "dbobs"

local function number(name, default) return tonumber(dbobs.env(name, default)) or default end

local function user(db, random) return random:uniform(1, db.users) end
local function product(db, random) return random:uniform(1, db.products) end

local events = {}

-- Reads share what slow queries and writes leave; writes go to all three tables.
local function weight_of(share)
  return function(o)
    if share.slow then return o.slow end
    if share.write then return (1 - o.slow) * o.write * share.write end
    return (1 - o.slow) * (1 - o.write) * share.read
  end
end

local function event(name, share, run) events[#events + 1] = { name = name, weight = weight_of(share), run = run } end

event("user", { read = 0.4 }, function(db, random)
  db:execute("select id, name, email, created_at from users where id = $1", user(db, random))
end)

event("product", { read = 0.2 }, function(db, random)
  db:execute("select id, name, price, stock from products where id = $1", product(db, random))
end)

event("orders_of_user", { read = 0.3 }, function(db, random)
  db:execute([[select o.id, p.name, o.quantity, o.total, o.status from orders o join products p on p.id = o.product_id
    where o.user_id = $1 order by o.created_at desc limit 10]], user(db, random))
end)

event("best_sellers", { read = 0.1 }, function(db)
  db:execute [[select p.id, p.name, sum(o.quantity) as sold from products p join orders o on o.product_id = p.id
    where o.created_at > now() - interval '1 hour' group by p.id order by sold desc limit 5]]
end)

event("new_order", { write = 0.4 }, function(db, random)
  db:execute([[insert into orders (user_id, product_id, quantity, total)
    select $1, id, $3::int, price * $3::int from products where id = $2]], user(db, random), product(db, random),
    random:uniform(1, 5))
end)

event("change_stock", { write = 0.3 }, function(db, random)
  db:execute("update products set stock = greatest(0, stock + $2::int) where id = $1", product(db, random),
    random:uniform(-5, 5))
end)

event("change_user", { write = 0.2 }, function(db, random)
  db:execute("update users set name = $2 where id = $1", user(db, random), "User " .. random:text(8))
end)

event("new_user", { write = 0.1 }, function(db, random)
  db:execute("insert into users (email, name) values ($1 || gen_random_uuid(), $2) on conflict do nothing",
    random:text(10), "User " .. random:text(8))
end)

event("slow_query", { slow = 1 }, function(db, random)
  db:execute([[select u.name, count(o.id), sum(o.total), pg_sleep($1)
    from users u left join orders o on o.user_id = u.id where u.id = $2 group by u.name]],
    1 + random:real(), user(db, random))
end)

local function prepare(run)
  local users, products, orders = run.options.users, run.options.products, run.options.orders
  run:create("users", [[(id bigint generated always as identity primary key, email text not null unique,
    name text not null, created_at timestamptz not null default now())]])
  run:create("products", [[(id bigint generated always as identity primary key, name text not null,
    price numeric(10, 2) not null, stock integer not null)]])
  run:create("orders", [[(id bigint generated always as identity primary key, user_id bigint not null references users,
    product_id bigint not null references products, quantity integer not null, total numeric(12, 2) not null,
    status text not null default 'new', created_at timestamptz not null default now())]])
  run:copy("users", "email, name", users, function(i) return ("user%d@example.org\tUser %d"):format(i, i) end)
  run:copy("products", "name, price, stock", products, function(i)
    return ("Product %d\t%d.99\t1000"):format(i, 1 + i % 97)
  end)
  local random = run.random
  run:copy("orders", "user_id, product_id, quantity, total, status", orders, function()
    local quantity = random:uniform(1, 5)
    return ("%d\t%d\t%d\t%.2f\t%s"):format(random:uniform(1, users), random:uniform(1, products), quantity,
      quantity * 9.99, random:choice { "new", "paid", "sent" })
  end)
  run:execute "create index on orders (user_id); create index on orders (created_at)"
  for _, name in ipairs { "users", "products", "orders" } do run:execute("vacuum analyze " .. name) end
end

return dbobs.load.workload {
  name = "simulator",
  description = "Keeps a development database busy with reads, joins, writes and slow queries on a small shop.",
  options = {
    { name = "slow", type = "number", default = number("SLOW_QUERY_PROBABILITY", 0.01),
      help = "share of queries that take 1 to 2 s" },
    { name = "write", type = "number", default = number("WRITE_PROBABILITY", 0.2), help = "share of writes" },
    { name = "users", type = "integer", default = 1000, help = "prepare: rows" },
    { name = "products", type = "integer", default = 200, help = "prepare: rows" },
    { name = "orders", type = "integer", default = 5000, help = "prepare: rows" },
  },
  defaults = {
    rate = number("QUERY_RATE", 10), duration = "0s", interval = "60s", arrivals = "poisson",
    -- Slow queries hold a connection for 1.5 s in the mean: there are enough others beside them.
    connections = function(o) return math.min(1000, 8 + math.ceil(o.rate * o.slow * 1.5 * 2 + o.rate / 200)) end,
  },
  targets = dbobs.load.targets_of_environment,
  prepare = prepare,
  connect = function(db)
    local rows = db:rows("select (select max(id) from users) as users, (select max(id) from products) as products")[1]
    db.users, db.products = rows.users, rows.products
    if not (db.users and db.products) then db:fail("42P01", "the tables users and products are empty") end
  end,
  events = events,
}
