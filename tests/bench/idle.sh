#!/bin/bash
# What the pipeline takes while next to nothing happens: one target every 30 seconds.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_broker
start_postgres "$@"
echo "== idle with one target: pipelines/pg.lua every 30 s, memory and CPU over $idle_seconds s; beside it an idle psql"
KAFKA_BOOTSTRAP_SERVERS=$brokers MONITOR_USER=dbobs_monitor MONITOR_PASSWORD=monitor COLLECTION_INTERVAL=30s \
    "$musl" run pipelines/pg.lua 2>"$dir/run.log" &
collector=$!
pids+=("$collector")
sleep 6
sleep $((idle_seconds + 60)) | psql -q >/dev/null &
psql_pid=$!
pids+=("$psql_pid")
percent=$(idle_cpu "$collector")
a=$(rss_mib "$collector") b=$(rss_mib "$psql_pid")
echo "dbobs $a MiB, $percent % of a core   psql $b MiB   ratio $(ratio "$a" "$b")   (wanted: under 12 MiB, under 1 %)"
kill -TERM "$collector" "$psql_pid"
wait "$collector" || { cat "$dir/run.log" >&2; exit 1; }
