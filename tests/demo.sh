#!/bin/bash
# The main job on one machine: a throwaway PostgreSQL with a little load, the embedded broker, the pipelines as they are
# in the binary, and their records decoded on the terminal as they arrive. Ends by itself after DEMO_SECONDS (25) with
# a summary; leaves nothing running and nothing on disk, also after Ctrl-C.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dbobs=${DBOBS:-$PWD/build/dbobs}
seconds=${DEMO_SECONDS:-25}
dir=$(mktemp -d "${TMPDIR:-/tmp}/dbobs-demo.XXXXXX")
chmod 755 "$dir"
pids=()

finish() {
    local code=$?
    trap - EXIT INT TERM
    # The collectors first: they drain into the broker.
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || continue
        wait "$pid" 2>/dev/null || true
    done
    tests/servers/postgres.sh stop "$dir/pg" >/dev/null 2>&1 || true
    rm -rf "$dir"
    exit "$code"
}
trap finish EXIT
# Where the position in the log is kept, which must go with the rest.
export DBOBS_STATE_DIR=$dir/state
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

say "PostgreSQL: a throwaway server with pg_stat_statements, a monitoring role and a log in JSON"
# A file that a server printed is data: only the names that are expected are taken.
while IFS='=' read -r name value; do
    case $name in
        host) host=$value ;;
        port) port=$value ;;
        log) log=$value ;;
        major) major=$value ;;
    esac
done < <(tests/servers/postgres.sh start "$dir/pg" --owner $$)
[ -n "${port:-}" ] || exit 1
echo "PostgreSQL $major on $host:$port"

say "dbobs broker: the embedded broker, for trying and testing"
"$dbobs" broker --address-file "$dir/broker" >"$dir/broker.log" 2>&1 &
broker=$!
for _ in $(seq 100); do
    [ -s "$dir/broker" ] && break
    kill -0 "$broker" 2>/dev/null || { cat "$dir/broker.log" >&2; exit 1; }
    sleep 0.1
done
address=$(cat "$dir/broker")
echo "$address"

say "dbobs run pipelines/load/simulator.lua: a little load"
PGHOST=$host PGPORT=$port PGUSER=postgres PGPASSWORD=postgres PGDATABASE=app \
    "$dbobs" run pipelines/load/simulator.lua rate=20 duration=$((seconds + 30)) >"$dir/load.log" 2>&1 &
load=$!

say "dbobs run pipelines/pg.lua: metrics, statements and log events, every 5 s (logs of dbobs below are its own)"
PGHOST=$host PGPORT=$port PGDATABASE=postgres MONITOR_USER=dbobs_monitor MONITOR_PASSWORD=monitor \
    POSTGRES_LOG_FILE=$log KAFKA_BOOTSTRAP_SERVERS=$address COLLECTION_INTERVAL=5s \
    "$dbobs" run pipelines/pg.lua &
collector=$!
pids=("$collector" "$load" "$broker")

say "dbobs consume: the records of the three topics as they arrive, for $seconds s"
"$dbobs" consume --brokers "$address" --follow --from beginning --for "${seconds}s" --summary

say "The same against your own server: edit pipelines/targets.lua after 'build/dbobs init', then 'build/dbobs check pipelines/pg.lua'"
