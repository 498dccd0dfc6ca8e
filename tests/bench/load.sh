#!/bin/bash
# What the client costs: dbobs beside pgbench and sysbench on one server, 8 connections each, one thread, in turns.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${BENCH_LOAD_SECONDS:-4}
start_postgres --bare --set max_connections=200
pgbench -i -q >/dev/null 2>&1
"$musl" run pipelines/load/oltp.lua prepare >/dev/null
cat >"$dir/pipeline.sql" <<'END'
\set a random(1, 100000)
\set b random(1, 100000)
\set c random(1, 100000)
\set d random(1, 100000)
\set e random(1, 100000)
\startpipeline
SELECT abalance FROM pgbench_accounts WHERE aid = :a;
SELECT abalance FROM pgbench_accounts WHERE aid = :b;
SELECT abalance FROM pgbench_accounts WHERE aid = :c;
SELECT abalance FROM pgbench_accounts WHERE aid = :d;
SELECT abalance FROM pgbench_accounts WHERE aid = :e;
\endpipeline
END

# run NAME COMMAND...: appends "rate microseconds" to $dir/NAME, from the command's own count of events and its CPU time.
run() {
    local name=$1 used events TIMEFORMAT='%U %S'
    shift
    used=$({ time "$@" >"$dir/out" 2>"$dir/err"; } 2>&1 | awk '{print $1 + $2}')
    events=$(sed -nE 's/^number of transactions actually processed: ([0-9]+).*/\1/p; s/^.* s, ([0-9]+) events, .*/\1/p; s/^ *transactions: +([0-9]+) .*/\1/p' \
        "$dir/out")
    [ -n "$events" ] || { cat "$dir/out" "$dir/err" >&2; return 1; }
    awk -v e="$events" -v u="$used" -v s="$seconds" 'BEGIN {printf "%.0f %.2f\n", e / s, u / e * 1e6}' >>"$dir/$name"
}
peer() { run "$@"; }
ours() { # NAME WORKLOAD OPTION...
    local name=$1 workload=$2
    shift 2
    run "$name" "$musl" run "pipelines/load/$workload.lua" "duration=$seconds" connections=8 threads=1 "$@"
}
pgbench_run() { # NAME ARGUMENT...
    local name=$1
    shift
    peer "$name" pgbench -n -c 8 -j 1 -T "$seconds" "$@"
}
point_select() {
    peer "$1" sysbench oltp_point_select --db-driver=pgsql --pgsql-host="$PGHOST" --pgsql-port="$PGPORT" --pgsql-user="$PGUSER" \
        --pgsql-password="$PGPASSWORD" --pgsql-db="$PGDATABASE" --threads=8 --time="$seconds" --table-size=10000 run
}
column() { awk -v n="$2" '{print $n}' "$dir/$1" | median; }
line() { # TEXT PEER OURS
    local a b
    a=$(column "$3" 2) b=$(column "$2" 2)
    printf '%-34s %9s/s %8s us   dbobs %9s/s %8s us   CPU ratio %s\n' "$1" "$(column "$2" 1)" "$b" "$(column "$3" 1)" "$a" \
        "$(ratio "$a" "$b")"
}

echo "== client CPU a transaction, 8 connections, one thread, $seconds s each, median of $rounds (wanted: at most the peer's)"
for _ in $(seq "$rounds"); do
    pgbench_run prepared -S -M prepared
    ours our_prepared tpcb mix=select_only
    pgbench_run simple -S -M simple
    ours our_simple tpcb mix=select_only protocol=simple
    pgbench_run pipelined -M prepared -f "$dir/pipeline.sql"
    ours our_pipelined tpcb mix=pipelined pipeline=5
    pgbench_run tpcb -M prepared
    ours our_tpcb tpcb mix=tpcb
    point_select sysbench
    ours our_point_select oltp mix=point_select
done
line "pgbench -S -M prepared" prepared our_prepared
line "pgbench -S -M simple" simple our_simple
line "pgbench pipelined, 5 selects" pipelined our_pipelined
line "pgbench -M prepared (TPC-B-like)" tpcb our_tpcb
line "sysbench oltp_point_select" sysbench our_point_select

echo "== 10,000 timers at 10,000 events a second, 5 s: what was reached, and how late"
"$musl" run tests/bench/load_timers.lua
