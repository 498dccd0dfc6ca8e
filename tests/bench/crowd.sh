#!/bin/bash
# Many timers, many connections and a steady stream of records in one process.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

crowd() { # LABEL OPTION...
    local label=$1 pid percent start took
    shift
    rm -f "$dir/ready"
    start=$EPOCHREALTIME
    "$musl" run tests/bench/crowd.lua ready="$dir/ready" brokers="$brokers" seconds=$((idle_seconds + 30)) "$@" 2>"$dir/crowd.log" &
    pid=$!
    pids+=("$pid")
    wait_for_file "$dir/ready" || { cat "$dir/crowd.log" >&2; return 1; }
    took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.0f", (b - a) * 1000}')
    percent=$(idle_cpu "$pid")
    echo "$label: ready after $took ms, $(rss_mib "$pid") MiB, $percent % of a core"
    kill -TERM "$pid"
    wait "$pid" || { cat "$dir/crowd.log" >&2; return 1; }
}

start_broker
start_postgres "$@"
echo "== a full house in one process"
crowd "nothing                                            " timers=0 connections=0
crowd "1,000 idle timers                                  " connections=0
crowd "1,000 idle timers, 200 connections                 "
crowd "1,000 idle timers, 200 connections, 10,000 records/s" rate=10000
