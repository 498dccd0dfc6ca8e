-- What a server holds in database postgres unless it is --bare, for postgres.sh; read as app.sql is.
create extension pg_stat_statements;

create role dbobs_monitor login password 'monitor';

grant pg_monitor to dbobs_monitor;

create database app;

