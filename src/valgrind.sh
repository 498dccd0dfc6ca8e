#!/bin/bash
# The specs that need no server, in the glibc binary ($DBOBS) under valgrind: reads of what was never written, which
# AddressSanitizer does not see, and leaks.
# The last line is the specs' own "N passed, N failed"; an error that valgrind finds counts as one more failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

export LUA_PATH="$PWD/tests/spec/?.lua;./?.lua"
log=build/valgrind.log
valgrind --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --num-callers=30 --suppressions=src/valgrind.supp --log-file="$log" \
    "${DBOBS:-build/glibc/dbobs}" test tests/spec/unit | tee build/valgrind.out
code=${PIPESTATUS[0]}
counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed' build/valgrind.out | tail -1)
passed=$(sed -nE 's/^([0-9]+) passed.*/\1/p' <<<"$counts")
failed=$(sed -nE 's/.* ([0-9]+) failed.*/\1/p' <<<"$counts")
if [ "$code" = 99 ]; then
    cat "$log" >&2
    failed=$((${failed:-0} + 1))
fi
echo "${passed:-0} passed, ${failed:-1} failed"
[ "$code" = 0 ]
