#!/bin/bash
# The figures that are promised: what musl costs beside glibc, start-up, memory and CPU of an idle collector, and a full
# house in one process. Ratios are against a peer measured in the same run; absolute figures are this machine's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

musl=${DBOBS:-$PWD/build/dbobs}
glibc=${DBOBS_GLIBC:-$PWD/build/glibc/dbobs}
rounds=${BENCH_ROUNDS:-5}
idle_seconds=${BENCH_IDLE_SECONDS:-20}
dir=$(mktemp -d "${TMPDIR:-/tmp}/dbobs-bench.XXXXXX")
chmod 755 "$dir"
pids=()

finish() {
    trap - EXIT
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || continue
        wait "$pid" 2>/dev/null || true
    done
    tests/servers/postgres.sh stop "$dir/pg" >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

median() { sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }
# CPU seconds (user and system) of a command
cpu() {
    local TIMEFORMAT='%U %S'
    { time "$@" >/dev/null 2>"$dir/err" || { cat "$dir/err" >&2; return 1; }; } 2>&1 | awk '{print $1 + $2}'
}
rss_mib() { awk '/^VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$1/status"; }
# CPU time of a process so far, in clock ticks
ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }
# percent of one core that a process takes over the idle time
idle_cpu() {
    local before after
    before=$(ticks "$1")
    sleep "$idle_seconds"
    after=$(ticks "$1")
    awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v s="$idle_seconds" 'BEGIN {printf "%.2f", 100 * t / hz / s}'
}
wait_for_file() {
    for _ in $(seq 300); do
        [ ! -s "$1" ] || return 0
        sleep 0.1
    done
    echo "waited in vain for $1" >&2
    return 1
}

"$musl" broker --address-file "$dir/address" >/dev/null 2>&1 &
pids+=($!)
wait_for_file "$dir/address"
brokers=$(cat "$dir/address")

echo "== produce: 500,000 records of 200 bytes, CPU seconds, the same code with musl and with glibc, $rounds rounds in turn"
for _ in $(seq "$rounds"); do
    cpu "$musl" run tests/bench/produce.lua brokers="$brokers" >>"$dir/musl"
    cpu "$glibc" run tests/bench/produce.lua brokers="$brokers" >>"$dir/glibc"
done
a=$(median <"$dir/musl") b=$(median <"$dir/glibc")
echo "musl $a s   glibc $b s   ratio $(ratio "$a" "$b")   (wanted: at most 1.10)"

echo "== start to the first Lua line, milliseconds, median of 41; beside it a small dynamic program (psql --version, whole run)"
for _ in $(seq 41); do
    # The time is taken in the child, right before the exec: a fork of the shell is no part of it.
    (exec "$musl" run tests/bench/first.lua start="$EPOCHREALTIME") >>"$dir/first"
    start=$EPOCHREALTIME
    psql --version >/dev/null
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {print (b - a) * 1000}' >>"$dir/psql"
done
a=$(median <"$dir/first") b=$(median <"$dir/psql")
echo "dbobs $a ms   psql $b ms   ratio $(ratio "$a" "$b")   (wanted: under 3 ms)"

while IFS='=' read -r name value; do
    case $name in
        host) export PGHOST=$value ;;
        port) export PGPORT=$value ;;
    esac
done < <(tests/servers/postgres.sh start "$dir/pg" --owner $$)
export PGUSER=postgres PGPASSWORD=postgres PGDATABASE=postgres

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

crowd() { # crowd LABEL OPTION...
    local label=$1 pid
    shift
    rm -f "$dir/ready"
    local start=$EPOCHREALTIME
    "$musl" run tests/bench/crowd.lua ready="$dir/ready" brokers="$brokers" seconds=$((idle_seconds + 30)) "$@" 2>"$dir/crowd.log" &
    pid=$!
    pids+=("$pid")
    wait_for_file "$dir/ready" || { cat "$dir/crowd.log" >&2; return 1; }
    local took
    took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.0f", (b - a) * 1000}')
    percent=$(idle_cpu "$pid")
    echo "$label: ready after $took ms, $(rss_mib "$pid") MiB, $percent % of a core"
    kill -TERM "$pid"
    wait "$pid" || { cat "$dir/crowd.log" >&2; return 1; }
}

echo "== a full house in one process"
crowd "nothing                                            " timers=0 connections=0
crowd "1,000 idle timers                                  " connections=0
crowd "1,000 idle timers, 200 connections                 "
crowd "1,000 idle timers, 200 connections, 10,000 records/s" rate=10000
