#!/bin/bash
# What a collection of statements costs us and the server, by the number of statements with texts of 1 KB; beside it a
# psql that reads SELECT * FROM pg_stat_statements, as a small script would each 30 s. Then a hundred targets in one
# process, whose 5,000 statements all change between two collections.
# BENCH_STATEMENTS: the rows; BENCH_COLLECTIONS: collections measured; BENCH_TARGETS: of the process.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rows=${BENCH_STATEMENTS:-100 1000 5000}
collections=${BENCH_COLLECTIONS:-20}
targets=${BENCH_TARGETS:-100}
changing=5000

# Debian's psql is a Perl script before the real one.
psql=$(printf '%s\n' /usr/lib/postgresql/*/bin/psql | tail -n 1)
[ -x "$psql" ] || psql=psql

bench() { "$musl" run tests/bench/queries.lua brokers="$brokers" "$@"; }
# CPU milliseconds of the server's processes that have ended
ended_cpu() { awk -v hz="$(getconf CLK_TCK)" '{sub(/^.*\) /, ""); print ($14 + $15) * 1000 / hz}' "/proc/$postmaster/stat"; }
read_all() {
    for _ in $(seq "$collections"); do "$psql" -XqAt -c "select * from pg_stat_statements"; done
}

start_broker
start_postgres --set pg_stat_statements.max=20000 --set max_connections=$((targets + 50)) --set autovacuum=off

for count in $rows; do
    echo "== $count statements: CPU milliseconds of one collection, ours and the server's, mean of $collections"
    bench fill="$count"
    before=$(ended_cpu)
    ours=$(cpu read_all | awk -v n="$collections" '{printf "%.2f", $1 * 1000 / n}')
    theirs=$(awk -v a="$before" -v b="$(ended_cpu)" -v n="$collections" 'BEGIN {printf "%.2f", (b - a) / n}')
    printf '%-28s %8s %8s\n' "psql, SELECT *" "$ours" "$theirs"
    bench count="$count" rounds="$collections" 2>/dev/null | while IFS=$'\t' read -r label us server; do
        printf '%-28s %8s %8s   ratio %s, server %s\n' "$label" "$us" "$server" "$(ratio "$us" "$ours")" \
            "$(ratio "$server" "$theirs")"
    done
done

echo "== $targets targets of $changing statements that all change each 30 s, over 60 s (wanted: under 10 %, 96 MiB)"
bench fill="$changing"
"$musl" run tests/bench/queries.lua load="$changing" 2>"$dir/load.log" &
pids+=($!)
idle_seconds=60
"$musl" run tests/bench/queries.lua brokers="$brokers" targets="$targets" 2>"$dir/crowd.log" &
crowd=$!
pids+=("$crowd")
sleep 60 # the first collection sends all, with their texts
percent=$(idle_cpu "$crowd")
echo "$percent % of a core, $(rss_mib "$crowd") MiB, at most $(peak_mib "$crowd") MiB"
kill -TERM "$crowd"
wait "$crowd" || { cat "$dir/crowd.log" >&2; exit 1; }
grep -E ' (WARN|ERROR) ' "$dir/crowd.log" >&2 || true
