#!/bin/bash
# Log delivery under kills: logs of numbered records in all formats are written and rotated in every way while dbobs is
# killed at random moments, the broker stops, dies or hangs, and the disk of the checkpoint is full. Then the oracle
# reads the topic and says what is lost, repeated, out of order, torn. Fails when something is lost, with exactly_once
# also when something is repeated for a read_committed reader.
# Environment: KILLS (100), SEED (the time), DELIVERY (at_least_once, exactly_once, or both, which is the default),
# FORMAT (jsonlog, csvlog, stderr, or all, which is the default), SOURCE (file, which is the default, or sql). The last
# line is "N passed, N failed".
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
export DBOBS=${DBOBS:-$PWD/build/dbobs}
export LUA_PATH="$PWD/tests/spec/?.lua;./?.lua"
case ${DELIVERY:-both} in
both) deliveries="at_least_once exactly_once" ;;
*) deliveries=$DELIVERY ;;
esac
passed=0 failed=0
mkdir -p build
for delivery in $deliveries; do
    "$DBOBS" run tests/chaos/chaos.lua "kills=${KILLS:-100}" "seed=${SEED:-$(date +%s)}" "delivery=$delivery" \
        "format=${FORMAT:-all}" "source=${SOURCE:-file}" | tee build/chaos.out
    ended=${PIPESTATUS[0]}
    if [[ $(tail -1 build/chaos.out) =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
    else
        echo "chaos ended with code $ended before its verdict" >&2
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
