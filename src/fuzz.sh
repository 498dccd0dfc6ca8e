#!/bin/bash
# Runs every fuzz target of build/fuzz for a bounded number of inputs, beginning with its corpus in tests/fuzz/NAME.
# FUZZ_RUNS says how many inputs. A target that crashes leaves its input in build/fuzz.
# The last line is "N passed, N failed", one for each target.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

passed=0
failed=0
for source in src/fuzz/*.c; do
    [ -f "$source" ] || continue
    name=$(basename "$source" .c)
    mkdir -p "build/fuzz/corpus/$name"
    seeds=()
    [ ! -d "tests/fuzz/$name" ] || seeds=("tests/fuzz/$name")
    # New inputs go to the first folder, so the committed corpus stays as it is.
    if "build/fuzz/$name" -runs="${FUZZ_RUNS:-20000}" -max_total_time=60 -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="build/fuzz/$name-" "build/fuzz/corpus/$name" "${seeds[@]}" >"build/fuzz/$name.log" 2>&1; then
        passed=$((passed + 1))
    else
        echo "fuzz: $name failed:" >&2
        tail -30 "build/fuzz/$name.log" >&2
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
