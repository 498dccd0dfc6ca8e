#!/bin/bash
# How long it takes from the start of the process to the first line of Lua.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

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
