set application_name = 'shop';
select id, email, name from users where email = 'user17@example.org';
begin;
select p.id, p.name, p.price, p.stock from products p where p.id = 42 for update;
insert into orders (user_id, product_id, quantity, total) values (17, 42, 2, 87.98) returning id;
update products set stock = stock - 2 where id = 42;
commit;
select o.id, o.status, o.created_at, p.name, o.quantity, o.total from orders o join products p on p.id = o.product_id where o.user_id = 17 order by o.created_at desc limit 20;
update users set name = 'Zoë "Zo" Müller – Köln' where id = 18;
insert into users (email, name) values ('user17@example.org', 'again');
select * from order_lines where order_id = 4711;
select 1/(select count(*) - count(*) from products);
update orders set status = 'paid' where id = 815 and status = 'new';
select u.name,
       count(*) as orders,
       sum(o.total) as revenue
from users u
join orders o on o.user_id = u.id
where o.status in ('paid', 'sent')
  and o.created_at > now() - interval '30 days'
group by u.name
order by revenue desc
limit 10;
select name, price from products where name ilike '%7' and price between 10 and 50;
prepare by_id(bigint) as select * from orders where id = $1;
execute by_id(99);
execute by_id(100);
select count(*) from orders where status = 'new';
delete from orders where id = 3 and status = 'cancelled';
insert into orders (user_id, product_id, quantity, total) values (999999, 1, 1, 1);
select id from users where id = 5;
select id from users where id = 6;
select pg_sleep(0.004);
