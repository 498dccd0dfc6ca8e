#!/bin/bash
# The benchmarks: all, or the subjects named (produce, first, idle, crowd, metrics, queries, logs, load). They print
# figures and assert none.
set -euo pipefail
[ $# -gt 0 ] || set -- produce first idle crowd metrics queries logs load
for subject; do
    "$(dirname "${BASH_SOURCE[0]}")/$subject.sh"
done
