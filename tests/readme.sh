#!/bin/bash
# Runs the shell commands of README.md as they stand: the blocks fenced as ```sh, one after the other in one shell, in
# the folder where this is called. What follows the word sh says how a block is run:
#   sh              waited for; the run fails when one of its commands does
#   sh background   one command that goes on beside what follows; at the end it gets SIGTERM, and must end well
#   sh up           not here: needs what `make up` started; `tests/readme.sh up` runs these, and only these
#   sh ci           not here: CI has it as a lane or a spec
# README_BROKERS stands in for the README's localhost:9092, README_UI for its 127.0.0.1:8080, README_DURATION for a load
# test's duration=60s, README_LIMIT for its limit of 20ms.
set -uo pipefail
readme=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/README.md
mode=${1:-}

# All blocks as one script.
script() {
    awk -v mode="$mode" '
        /^```/ && fence { fence = ""; next }
        /^```/ {
            fence = $0
            wanted = mode == "up" ? fence == "```sh up" : fence == "```sh" || fence == "```sh background"
            if (wanted) print "echo \"== README.md, line " NR "\""
            next
        }
        fence && wanted && fence == "```sh background" { sub(/ +#.*/, ""); print $0 " & pids+=($!)"; next }
        fence && wanted { print }' "$readme" |
        sed -e "s/localhost:9092/${README_BROKERS:-localhost:9092}/g" \
            -e "s/127.0.0.1:8080/${README_UI:-127.0.0.1:8080}/g" \
            -e "s/duration=60s/duration=${README_DURATION:-60s}/g" -e "s/p99=20ms/p99=${README_LIMIT:-20ms}/g"
    cat <<'END'
for pid in ${pids[@]+"${pids[@]}"}; do
    kill -TERM "$pid"
    wait "$pid"
done
END
}

commands=$(script)
exec bash -eu -c "$commands"
