-- The PostgreSQL servers to watch. One { ... } for each; copy it for the next one.
--
-- Every libpq parameter can stand here under its own name (host, port, user, dbname, password, sslmode, service, ...);
-- what is left out comes from the PG* environment variables, the service file and the password file, as with psql.
-- Ours are: name, environment, tags, password_command, log_file, log_timezone, databases, exclude_databases,
-- connections, connect_timeout, statement_timeout, lock_timeout.
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

    -- A log in jsonlog format, when dbobs runs where the file is. A pattern like "/var/log/postgresql/*.json" works.
    log_file = dbobs.env "POSTGRES_LOG_FILE",

    -- tags = { team = "billing" },
  },

  -- {
  --   name = "orders",
  --   host = "db2.example.org",
  --   password_command = "cat /run/secrets/db2",
  --   tags = { team = "orders" },
  -- },
}
