#!/bin/bash
# What the database of the environment holds, run once by the PostgreSQL image: the same files that make the servers of
# the tests, and the monitoring role's password.
set -euo pipefail
run() { psql -qX -v ON_ERROR_STOP=1 -U postgres "$@"; }
run -d postgres -f /dbobs/postgres.sql
run -d app -f /dbobs/app.sql
run -d postgres <<'END'
\getenv password MONITOR_PASSWORD
alter role dbobs_monitor password :'password';
END
