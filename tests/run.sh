#!/bin/bash
# Runs the specs in the binary under test ($DBOBS, default build/dbobs). Arguments are spec files or folders and busted's
# options, for one run of them. Without any, every file of tests/spec runs in a process of its own, JOBS of them at once
# (default: one more than there are processors, since most of a spec's time is waiting), and what each printed comes
# when it has ended. The specs start the servers that they need and stop them.
# The last line is "N passed, N failed"; a skipped spec fails where CI is set. A file that ends without counting is one
# failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

export DBOBS=${DBOBS:-$PWD/build/dbobs}
export LUA_PATH="$PWD/tests/spec/?.lua;./?.lua"
# The environment of the person who runs the tests must not reach them.
for name in $(compgen -e | grep -E '^(PG|POSTGRES_|MONITOR_|KAFKA_)|^(ENVIRONMENT|COLLECTION_INTERVAL)$'); do
    unset "$name"
done
# Several pipelines run at once: none of them takes the usual port, unless its spec says so.
export HEALTH_ADDRESS=off
logs=build/test
rm -rf "$logs"
mkdir -p "$logs"

if [ $# -gt 0 ]; then
    "$DBOBS" test "$@" | tee "$logs/all" | sed '$d'
else
    run_file() { # run_file SPEC
        local log=$logs/${1//\//_}
        "$DBOBS" test "$1" >"$log" 2>&1 </dev/null
        tail -1 "$log" | grep -qE '^[0-9]+ passed, [0-9]+ failed' || echo "---- $1 ended without counting" >>"$log"
        flock "$logs" cat "$log"
    }
    jobs=${JOBS:-$(($(nproc) + 1))}
    running=0
    while read -r _ spec; do
        if [ "$running" -ge "$jobs" ]; then
            wait -n
            running=$((running - 1))
        fi
        run_file "$spec" &
        running=$((running + 1))
        # The largest files first, so that none of them is the last one alone.
    done < <(find tests/spec/live tests/spec/unit -name '*_spec.lua' -printf '%s %p\n' | sort -rn)
    wait
    # What failed, once more, where it is seen.
    for log in "$logs"/*; do sed -n '/^---- /,/^[0-9]* passed, /p' "$log"; done
fi
counts=$(tail -qn 1 "$logs"/* | awk '
    /^[0-9]+ passed, [0-9]+ failed/ { passed += $1; failed += $3; skipped += $5; next }
    { failed++ }
    END { print passed + 0, failed + 0, skipped + 0 }')
read -r passed failed skipped <<<"$counts"
if [ "$skipped" -gt 0 ] && [ -n "${CI:-}" ]; then
    echo "skipped specs count as failures in CI" >&2
    failed=$((failed + skipped))
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
