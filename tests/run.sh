#!/bin/bash
# Runs the specs in the binary under test ($DBOBS, default build/dbobs). Arguments are spec files or folders and busted's
# options (default: all of tests/spec). The specs start the servers that they need and stop them.
# The last line is "N passed, N failed"; a skipped spec fails where CI is set.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

export DBOBS=${DBOBS:-$PWD/build/dbobs}
export LUA_PATH="$PWD/tests/spec/?.lua;./?.lua"
# The environment of the person who runs the tests must not reach them.
for name in $(compgen -e | grep -E '^(PG|POSTGRES_|MONITOR_|KAFKA_)|^(ENVIRONMENT|COLLECTION_INTERVAL)$'); do
    unset "$name"
done
mkdir -p build
[ $# -gt 0 ] || set -- tests/spec
"$DBOBS" test "$@" | tee build/test.out
code=${PIPESTATUS[0]}
if [ -n "${CI:-}" ] && tail -1 build/test.out | grep -q skipped; then
    echo "skipped specs count as failures in CI" >&2
    sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' build/test.out |
        { read -r passed failed skipped && echo "$passed passed, $((failed + skipped)) failed"; }
    exit 1
fi
exit "$code"
