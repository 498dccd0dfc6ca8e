-- The PostgreSQL servers to watch. One { ... } for each; copy it for the next one. Lists that change while dbobs runs
-- (a directory, a query, a function) are at the end.
--
-- Every libpq parameter can stand here under its own name (host, port, user, dbname, password, sslmode, service, ...);
-- what is left out comes from the PG* environment variables, the service file and the password file, as with psql.
-- Ours are: name, environment, tags, password_command, log_source, log_file, log_directory, log_queries, log_format,
-- log_timezone, log_line_prefix, databases, exclude_databases, connections, connect_timeout, statement_timeout,
-- lock_timeout.
--
-- connections: how many connections to single databases stay open between two collections, beside the one to `dbname`.
-- By default 100, but at most a third of the server's max_connections, and none behind a pooler. One that stays costs
-- the server some 4 MB, and saves it nine tenths of the work of a new one; past the limit a database is connected to
-- anew each time. They are closed at once when somebody drops, renames or copies their database. Only `dbname` cannot
-- be dropped meanwhile, and DROP DATABASE ... WITH (FORCE) fails for an owner who may not end this user's sessions.
--
-- The user needs no more than:  CREATE ROLE dbobs LOGIN PASSWORD '...'; GRANT pg_monitor TO dbobs;
local dbobs = require "dbobs"

return {
  {
    host = dbobs.env("POSTGRES_HOST", dbobs.env("PGHOST", "localhost")),
    port = dbobs.env("POSTGRES_PORT", dbobs.env("PGPORT", "5432")),
    user = dbobs.env("MONITOR_USER", dbobs.env("PGUSER", "dbobs")),
    password = dbobs.env("MONITOR_PASSWORD", dbobs.env "PGPASSWORD"),
    dbname = dbobs.env("POSTGRES_DB", dbobs.env("PGDATABASE", "postgres")),

    -- The server's log, when dbobs runs where the file is: a file, a pattern like "/var/log/postgresql/*.json", or a
    -- directory, of which the files of log_format are read. It may be rotated in any way, and compressed (gzip, zstd)
    -- or removed while dbobs is away: what is still there, under whatever name beside it, is read.
    -- Files named *.json are read as jsonlog, *.csv as csvlog, others as the plain format (also as a container runtime
    -- stores it); log_format = "jsonlog", "csvlog" or "stderr" says otherwise. Time zone and prefix are asked from the
    -- server.
    log_file = dbobs.env "POSTGRES_LOG_FILE",
    -- log_source = "file" asks the server where its files are and how they are written, and notices when that changes;
    -- log_directory = "/mnt/db1-log" says where their directory is seen from here.
    -- log_source = "sql" reads the same over the connection, without a file here: see the end of this file.

    -- tags = { team = "billing" },
  },

  -- {
  --   name = "orders",
  --   host = "db2.example.org",
  --   password_command = "cat /run/secrets/db2",
  --   tags = { team = "orders" },
  -- },

  -- The log over SQL, with nothing of ours on the server's machine: each second its log directory is listed, and what
  -- is new is read in pieces of at most 1 MiB, over a connection of its own. Where the server logs every statement
  -- (log_statement = 'all', log_min_duration_statement = 0) it logs these too: one a second, and one for each piece.
  -- `dbobs check` prints the statements that give the role the right, and those of helper functions that read the log
  -- alone, which are used where they are there. They belong to `dbname`.
  -- { host = "db5.example.org", log_source = "sql" },
  --
  -- A service that has functions of its own for that: the function returns two queries. list gives a row for each file:
  -- name, size in bytes, time of the last write (NULL where it is not known); read gives the bytes of file $1 from
  -- offset $2 on, at most $3, as bytea or text. Only the files of one format may be listed.
  -- {
  --   host = "db6.example.org", log_source = "sql", log_format = "csvlog",
  --   log_queries = function()
  --     return {
  --       list = "select file_name, file_size, modified from service_log_files() where file_name like '%.csv'",
  --       read = "select service_log_read($1, $2, $3)",
  --     }
  --   end,
  -- },

  -- Servers that come and go: lists that are read again every so often, while dbobs runs. What is new is taken up, what
  -- is gone is dropped, what changed is both; a list or file with an error changes nothing and is told in the log. A
  -- target goes by its name (by default "host", or "host:port"), which must be its own. `defaults` holds for every
  -- target that does not say otherwise.
  --
  -- A directory with one file for each target, or for several: *.lua like this one, or *.json with an object or an
  -- array of them, {"host": "db3.example.org", "tags": {"team": "orders"}}.
  -- dbobs.targets { directory = "/etc/dbobs/targets.d", every = "10s" },
  --
  -- A query; each row is a target, each column a parameter (tags as JSON).
  -- dbobs.targets {
  --   query = "select host, port, json_build_object('team', team) as tags from servers where monitored",
  --   on = { host = "inventory.example.org", dbname = "inventory", user = "reader" },
  --   defaults = { user = "dbobs", password_command = "cat /run/secrets/dbobs" },
  --   every = "1m",
  -- },
  --
  -- Whatever a function returns.
  -- dbobs.targets {
  --   list = function() return { { host = "db4.example.org" }, { host = "db5.example.org" } } end,
  --   every = "1m",
  -- },
}
