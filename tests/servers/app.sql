-- What the database app holds, for postgres.sh: single-user mode reads it, where a statement ends with an empty line.
create table users (
  id bigint generated always as identity primary key,
  email text not null unique,
  name text not null,
  created_at timestamptz not null default now()
);

create table products (
  id bigint generated always as identity primary key,
  name text not null,
  price numeric(10, 2) not null,
  stock integer not null
);

create table orders (
  id bigint generated always as identity primary key,
  user_id bigint not null references users,
  product_id bigint not null references products,
  quantity integer not null,
  total numeric(12, 2) not null,
  status text not null default 'new',
  created_at timestamptz not null default now()
);

create index on orders (user_id);

insert into users (email, name) select 'user' || i || '@example.org', 'User ' || i from generate_series(1, 1000) i;

insert into products (name, price, stock) select 'Product ' || i, 1 + i % 97 + 0.99, 1000 from generate_series(1, 200) i;

insert into orders (user_id, product_id, quantity, total, status)
  select 1 + i % 1000, 1 + i % 200, 1 + i % 5, (1 + i % 5) * 9.99, (array['new', 'paid', 'sent'])[1 + i % 3]
  from generate_series(1, 5000) i;

