#!/bin/bash
# What musl costs beside glibc where it would show most: in producing records.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_broker
echo "== produce: 500,000 records of 200 bytes, CPU seconds, the same code with musl and with glibc, $rounds rounds in turn"
for _ in $(seq "$rounds"); do
    cpu "$musl" run tests/bench/produce.lua brokers="$brokers" >>"$dir/musl"
    cpu "$glibc" run tests/bench/produce.lua brokers="$brokers" >>"$dir/glibc"
done
a=$(median <"$dir/musl") b=$(median <"$dir/glibc")
echo "musl $a s   glibc $b s   ratio $(ratio "$a" "$b")   (wanted: at most 1.10)"
