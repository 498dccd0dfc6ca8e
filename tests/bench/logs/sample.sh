#!/bin/bash
# Writes sample.json, sample.csv and sample.log anew: one and the same log of a real server in its three formats, with
# statements, errors, connections, plans and checkpoints. They are kept, so that every run measures the same lines.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=tests/bench/logs

start_postgres --major 18 --set log_destination=stderr,csvlog,jsonlog --set logging_collector=on \
    --set log_directory="$dir/pg/log" --set log_filename=server.log --set log_timezone=UTC \
    --set "log_line_prefix=%m [%p] %q%u@%d " --set log_min_duration_statement=0 --set log_connections=all \
    --set log_disconnections=on --set log_temp_files=0 --set log_lock_waits=on --set log_checkpoints=on \
    --set work_mem=64kB --set session_preload_libraries=auto_explain --set auto_explain.log_min_duration=3
export PGDATABASE=app PGAPPNAME=shop
for round in 1 2 3 4 5 6; do
    # The long query only now and then.
    if [ $((round % 3)) = 1 ]; then cat "$here/shop.sql"; else sed '/^select u.name/,/^limit/d' "$here/shop.sql"; fi |
        psql -q >/dev/null 2>&1 || true
done
psql -q -c checkpoint -c 'vacuum users' >/dev/null
PGPASSWORD=wrong psql -q -c 'select 1' >/dev/null 2>&1 || true
sleep 1
for format in json csv log; do cp "$dir/pg/log/server.$format" "$here/sample.$format"; done
