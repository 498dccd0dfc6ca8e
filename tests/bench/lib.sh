# shellcheck shell=bash
# What the benchmarks share: the binaries, a directory that goes at the end, servers, and figures of processes.
# Sourced by each subject's file. Ratios are against a peer measured in the same run; absolute figures are this machine's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

musl=${DBOBS:-$PWD/build/dbobs}
# shellcheck disable=SC2034 # the sourcing scripts use these
{
    glibc=${DBOBS_GLIBC:-$PWD/build/glibc/dbobs}
    rounds=${BENCH_ROUNDS:-5}
    idle_seconds=${BENCH_IDLE_SECONDS:-20}
}
dir=$(mktemp -d "${TMPDIR:-/tmp}/dbobs-bench.XXXXXX")
chmod 755 "$dir"
pids=()

finish() {
    trap - EXIT
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || continue
        wait "$pid" 2>/dev/null || true
    done
    tests/servers/postgres.sh stop "$dir/pg" >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

median() { sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {if (b > 0) printf "%.2f", a / b; else printf "-"}'; }
# CPU seconds (user and system) of a command
cpu() {
    local TIMEFORMAT='%U %S'
    { time "$@" >/dev/null 2>"$dir/err" || { cat "$dir/err" >&2; return 1; }; } 2>&1 | awk '{print $1 + $2}'
}
rss_mib() { awk '/^VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$1/status"; }
peak_mib() { awk '/^VmHWM/ {printf "%.1f", $2 / 1024}' "/proc/$1/status"; }
# CPU time of a process so far, in clock ticks
ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }
# percent of one core that a process takes over the idle time
idle_cpu() {
    local before after
    before=$(ticks "$1")
    sleep "$idle_seconds"
    after=$(ticks "$1")
    awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v s="$idle_seconds" 'BEGIN {printf "%.2f", 100 * t / hz / s}'
}
# CPU milliseconds of a process's threads so far, from the scheduler's own account
process_cpu() { cat "/proc/$1"/task/*/schedstat 2>/dev/null | awk '{n += $1} END {printf "%.2f", n / 1e6}'; }
wait_for_file() {
    for _ in $(seq 300); do
        [ ! -s "$1" ] || return 0
        sleep 0.1
    done
    echo "waited in vain for $1" >&2
    return 1
}

# A broker in a process of its own, with these words for `dbobs broker`; its address is in $brokers.
broker_options=()
start_broker() {
    "$musl" broker --address-file "$dir/address" "${broker_options[@]}" >/dev/null 2>&1 &
    pids+=($!)
    wait_for_file "$dir/address"
    # shellcheck disable=SC2034 # the sourcing scripts use it
    brokers=$(cat "$dir/address")
}

# PostgreSQL with further words of postgres.sh; libpq's environment leads to it as superuser, $postmaster is its pid.
start_postgres() {
    local value
    value=$(tests/servers/postgres.sh start "$dir/pg" --owner $$ "$@")
    PGHOST=$(sed -n 's/^host=//p' <<<"$value")
    PGPORT=$(sed -n 's/^port=//p' <<<"$value")
    # shellcheck disable=SC2034 # the sourcing scripts use it
    postmaster=$(sed -n 's/^pid=//p' <<<"$value")
    export PGHOST PGPORT PGUSER=postgres PGPASSWORD=postgres PGDATABASE=postgres
}
