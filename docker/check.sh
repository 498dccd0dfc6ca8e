#!/bin/bash
# Runs every target of the environment without an engine, on free ports and in a folder of its own; builds the image and
# runs what is in it; has the compose file checked. The last line is "N passed, N failed".
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=tests/servers/lib.sh
. tests/servers/lib.sh

dir=$(mktemp -d "${TMPDIR:-/tmp}/dbobs-environment.XXXXXX")
chmod 755 "$dir"
export UP_DIR=$dir/up ENV_FILE=$dir/env DBOBS_IMAGE=localhost/dbobs-check:latest
passed=0 failed=0

settings() {
    printf '%s\n' ENGINE=none "POSTGRES_PORT=$(free_port)" "KAFKA_PORT=$(free_port)" "UI_PORT=$(free_port)" \
        "HEALTH_PORT=$(free_port)" COLLECTION_INTERVAL=2s "MONITOR_PASSWORD='a b&c' # with a blank" POSTGRES_PASSWORD=Geheim_4711
}
settings >"$ENV_FILE"
value() { sed -n "s/^$1=//p" "$ENV_FILE"; }

finish() {
    docker/environment.sh clean >/dev/null 2>&1
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

check() { # check NAME PATTERN COMMAND... : it succeeds and prints the pattern
    local name=$1 pattern=$2 output code
    shift 2
    output=$("$@" 2>&1 </dev/null)
    code=$?
    report "$name" "$code" "$output" "$pattern"
}

refused() { # refused NAME PATTERN COMMAND... : it fails and prints the pattern
    local name=$1 pattern=$2 output code=0
    shift 2
    output=$("$@" 2>&1 </dev/null) && code=1
    report "$name" "$code" "$output" "$pattern"
}

report() { # report NAME CODE OUTPUT PATTERN
    if [ "$2" = 0 ] && grep -qE -- "$4" <<<"$3"; then
        passed=$((passed + 1))
        echo "ok     $1"
    else
        failed=$((failed + 1))
        printf 'FAILED %s\n---- %s\nexit %s, /%s/ expected in:\n%s\n' "$1" "$1" "$2" "$4" "$3"
    fi
}

listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

get() { # get PORT: the page there
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
    cat <&3
}

no_secret() { ! "$@" 2>&1 | grep -E 'Geheim_4711|b&c'; }

make() { command make --no-print-directory "$@"; }

# ---- as processes ----

check "make help names every target" 'make collect-test-data ' make help
check "make up" 'ui +[0-9]+ +127.0.0.1:[0-9]+ +ok' make up
check "a second make up starts nothing" 'it is up already' make up
check "make ps" 'simulator +[0-9]+ +ok' make ps
check "make health" '^ok$' make health
check "make kafka-topics" '^raw-queries ' make kafka-topics
for stream in metrics:otel-metrics logs:raw-logs queries:raw-queries; do
    for _ in $(seq 60); do # the first collection comes within its period
        make "kafka-consume-${stream%:*}" 2>/dev/null | grep -q "${stream#*:}" && break
        sleep 1
    done
    check "make kafka-consume-${stream%:*}" "${stream#*:} 127.0.0.1" make "kafka-consume-${stream%:*}"
done
check "topics have their retention" '2592000000' build/dbobs topics describe raw-logs --brokers "127.0.0.1:$(value KAFKA_PORT)"
check "the monitoring role has pg_monitor and no more" '^pg_monitor\|f\|f\|f$' tests/servers/postgres.sh psql "$UP_DIR/postgres" \
    -AtqX -c "select string_agg(r.rolname, ','), m.rolsuper, m.rolcreatedb, m.rolcreaterole from pg_roles m
    join pg_auth_members a on a.member = m.oid join pg_roles r on r.oid = a.roleid where m.rolname = 'dbobs_monitor' group by m.oid, 2, 3, 4"
for service in collector simulator kafka postgres ui; do check "make logs-$service" . make "logs-$service"; done
check "make logs" '== simulator' make logs
check "make collect-test-data" 'otel-metrics +[0-9]+ records, valid' make collect-test-data DIR="$dir/data" COUNT=3
check "its files" 'resourceMetrics' cat "$dir/data/otel-metrics-001.json"
check "make check-pg-stats" 'total_ms' make check-pg-stats
check "make shell-pg" '^ +[0-9]{4}' bash -c 'echo "select count(*) from users" | make --no-print-directory shell-pg'
check "make shell-collector" 'try: dbobs check' bash -c 'SHELL=/bin/true make --no-print-directory shell-collector'
check "make stop-simulator" 'simulator is stopped' make stop-simulator
refused "make health without it" 'simulator +- +not running' make health
refused "make health tells what is not well" 'collector +[0-9]+ .* no dbobs answers' env HEALTH_PORT="$(free_port)" make health
check "a half-started environment is completed" 'starting simulator' make up
check "make stop-simulator once more" 'simulator is stopped' make stop-simulator
check "make start-simulator" 'simulator runs' make start-simulator
check "make debug" '== health' make debug
check "make debug without secrets" '' no_secret make debug
refused "make kafka-ui without an engine" 'no container engine runs here' make kafka-ui
check "the topic monitor" '<title>' get "$(value UI_PORT)"
check "the README's commands for it" 'README.md, line' tests/readme.sh up
# ---- the image, with the environment as what it watches ----

buildah() { command buildah --storage-driver vfs --root "$dir/storage" --runroot "$dir/run" "$@"; }
in_image() {
    buildah run --isolation chroot --env PGHOST=127.0.0.1 --env "PGPORT=$(value POSTGRES_PORT)" --env PGDATABASE=postgres \
        --env MONITOR_USER=dbobs_monitor --env "MONITOR_PASSWORD=a b&c" "$container" -- "$@"
}
docker/image.sh --layout
check "the image is built" . buildah build --isolation chroot --format docker -t "$DBOBS_IMAGE" build/image
container=$(buildah from "$DBOBS_IMAGE")
check "the image's binary runs" '^dbobs [0-9]' in_image /dbobs version
check "the image's binary collects" 'postgresql.backends' in_image /dbobs run --once --to stdout pipelines/pg.lua
check "the image's user is not root" '"User": "65532:65532"' buildah inspect --type image "$DBOBS_IMAGE"
check "the image has a health check" '"/dbobs",' buildah inspect --type image "$DBOBS_IMAGE"
refused "the image's health check fails where nothing runs" 'no dbobs answers' in_image /dbobs health --timeout 1s
buildah rm "$container" >/dev/null

# ---- and its end ----

sed -i 's/Geheim_4711/Other_4711/' "$ENV_FILE"
check "make restart" 'collector +[0-9]+ +127.0.0.1:[0-9]+ +ok' make restart
check "a password that has changed" '^ +[0-9]{4}' bash -c 'echo "select count(*) from users" | make --no-print-directory shell-pg'
check "make down" 'it is down' make down
check "nothing runs after it" 'collector +- ' docker/environment.sh ps
echo $$ >"$UP_DIR/postgres/pid"
check "a number that another process has now" 'postgres +- ' docker/environment.sh ps

# ---- bad input ----

printf 'POSTGRES_PORT=1\nKAFKA-PORT 9\n' >"$dir/damaged"
refused "a damaged .env" 'damaged:2: NAME=VALUE expected' env ENV_FILE="$dir/damaged" docker/environment.sh ps
echo 'POSTGRES_PROT=1' >"$dir/damaged"
refused "an unknown setting" 'damaged:1: there is no setting POSTGRES_PROT' env ENV_FILE="$dir/damaged" docker/environment.sh ps
refused "a port that is none" 'POSTGRES_PORT must be a port' env POSTGRES_PORT=70000 docker/environment.sh ps
refused "an unknown service" "there is no service 'nonsense'" make logs-nonsense
build/dbobs ui --address "127.0.0.1:$(value UI_PORT)" --brokers 127.0.0.1:1 >/dev/null 2>&1 &
other=$!
wait_until 60 listens "$(value UI_PORT)"
refused "a port that is taken" "port $(value UI_PORT) is taken \(dbobs, process $other\): set UI_PORT" make up
kill "$other"
wait "$other" 2>/dev/null
check "the environment's data goes" '' docker/environment.sh clean
check "its folder is gone" '' test ! -e "$UP_DIR"

# ---- where an engine runs: one that only says what it is told ----

with_engine() { env ENGINE=auto PATH="$dir/bin:$PATH" "$@"; }
mkdir "$dir/bin"
printf '#!/bin/sh\ncase "$*" in *" ps --services "*) ;; *) echo "docker $*" ;; esac\n' >"$dir/bin/docker"
chmod +x "$dir/bin/docker"
check "make up with an engine" 'compose.yaml .* up --detach --wait$' with_engine make up
check "with the other collector" '--profile otel up --detach --wait$' with_engine env COLLECT_METRICS=off make up
check "make down with an engine" 'compose.yaml .* down$' with_engine make down
check "make kafka-ui with an engine" "http://127.0.0.1:8081/" with_engine make kafka-ui

# ---- the compose file ----

compose() { env -u DBOBS_IMAGE docker-compose -f docker/compose.yaml --project-directory . "$@"; }
check "compose.yaml is valid" 'service_healthy' compose config
check "compose.yaml takes the settings" "127.0.0.1:$(value UI_PORT):8080" env UI_PORT="$(value UI_PORT)" \
    docker-compose -f docker/compose.yaml --project-directory . config
unpinned() { compose --profile otel --profile kafka-ui config | grep -E '^ *image: ' | grep -vE ":(local|v?[0-9]+\.[0-9.]+[^ ]*)\$"; }
refused "images are pinned to a version" '' unpinned

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
