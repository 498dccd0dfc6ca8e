#!/bin/bash
# The development environment: PostgreSQL with a load on it, one Kafka, the collector and the topic monitor; as containers
# where Docker Compose has an engine, else as processes with the servers that the tests use. `make help` lists its
# commands, each a target of the Makefile. Settings are in .env (see .env.example), state and logs in build/up.
# shellcheck disable=SC2030,SC2031 # what is exported in a subshell is for the process that is started there
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD
up=$(realpath -m "${UP_DIR:-build/up}") # as /proc names it
dbobs=${DBOBS:-$root/build/dbobs}
services=(postgres kafka collector simulator ui)

die() {
    echo "$*" >&2
    exit 1
}

# ---- settings ----

declare -A settings=(
    [ENGINE]=auto [POSTGRES_PORT]=5432 [KAFKA_PORT]=9092 [UI_PORT]=8080 [HEALTH_PORT]=13133 [KAFKA_UI_PORT]=8081
    [POSTGRES_PASSWORD]=postgres [MONITOR_PASSWORD]=monitor [COLLECTION_INTERVAL]=30s [COLLECT_METRICS]=on [QUERY_RATE]=10
    [SLOW_QUERY_PROBABILITY]=0.01 [WRITE_PROBABILITY]=0.2 [DBOBS_IMAGE]=dbobs:local
    [POSTGRES_IMAGE]=docker.io/library/postgres:17.6-bookworm [KAFKA_IMAGE]=docker.io/apache/kafka:4.1.0
    [OTEL_IMAGE]=docker.io/otel/opentelemetry-collector-contrib:0.157.0
    [KAFKA_UI_IMAGE]=ghcr.io/kafbat/kafka-ui:v1.3.0
)

# Lines NAME=VALUE as Docker Compose reads them; a value may stand in quotes, a comment may follow. What the environment
# has goes first.
read_settings() {
    local file=${ENV_FILE:-$root/.env} line name value number=0
    if [ -e "$file" ]; then
        while IFS= read -r line || [ -n "$line" ]; do
            number=$((number + 1))
            line=${line%$'\r'}
            [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
            [[ $line =~ ^([A-Z_][A-Z0-9_]*)=(.*)$ ]] || die "$file:$number: NAME=VALUE expected"
            name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
            [ -n "${settings[$name]+known}" ] ||
                die "$file:$number: there is no setting $name; known are: $(tr ' ' '\n' <<<"${!settings[*]}" | sort | xargs)"
            if [[ $value =~ ^\"([^\"]*)\"[[:space:]]*(#.*)?$ || $value =~ ^\'([^\']*)\'[[:space:]]*(#.*)?$ ]]; then
                value=${BASH_REMATCH[1]}
            elif [[ $value == [\"\']* ]]; then
                die "$file:$number: the quote of $name is not closed, or something follows it"
            else
                value=${value%%[[:space:]]#*}
                value=${value%"${value##*[![:space:]]}"}
            fi
            settings[$name]=$value
        done <"$file"
    fi
    for name in "${!settings[@]}"; do
        [ -z "${!name:-}" ] || settings[$name]=${!name}
    done
    for name in POSTGRES_PORT KAFKA_PORT UI_PORT HEALTH_PORT KAFKA_UI_PORT; do
        [[ ${settings[$name]} =~ ^[0-9]+$ && ${settings[$name]} -ge 1 && ${settings[$name]} -le 65535 ]] ||
            die "${file##*/}: $name must be a port from 1 to 65535, got '${settings[$name]}'"
    done
    case ${settings[ENGINE]} in
        auto | docker | none) ;;
        *) die "${file##*/}: ENGINE must be auto, docker or none, got '${settings[ENGINE]}'" ;;
    esac
    case ${settings[COLLECT_METRICS]} in
        on | off) ;;
        *) die "${file##*/}: COLLECT_METRICS must be on or off, got '${settings[COLLECT_METRICS]}'" ;;
    esac
}

of() { printf '%s\n' "${settings[$1]}"; }

brokers() { echo "127.0.0.1:$(of KAFKA_PORT)"; }

# ---- containers ----

has_engine() {
    case $(of ENGINE) in
        none) return 1 ;;
        docker) docker compose version >/dev/null || die "ENGINE=docker: 'docker compose' does not work here" ;;
        auto) docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1 ;;
    esac
}

compose() {
    local name
    for name in "${!settings[@]}"; do export "$name=$(of "$name")"; done
    docker compose -p dbobs -f docker/compose.yaml --project-directory . "$@"
}

# The services' names in compose.yaml: ours, but for Kafka's.
compose_names() {
    local service
    for service in "$@"; do echo "${service/#kafka/kafka-ingestion}"; done
}

# ---- processes ----

# A process is told by its number and the time of its start, for numbers are given again.
born() { # born PID: the 22nd field of /proc/PID/stat; the 2nd may hold blanks
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    read -ra stat <<<"${stat##*) }"
    [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

# The servers are told by the directory that they work in, as their own scripts do.
server_pid() { # server_pid FOLDER: sets pid
    read -r pid <"$up/$1/pid" && [ "$(readlink "/proc/$pid/cwd")" = "$up/$1/data" ]
}

pid_of() { # pid_of SERVICE: prints the pid when it runs
    local pid time
    case $1 in
        postgres) server_pid postgres ;;
        kafka) server_pid kafka-ingestion ;;
        *) read -r pid time <"$up/$1.pid" && [ "$(born "$pid")" = "$time" ] ;;
    esac 2>/dev/null && born "$pid" >/dev/null && echo "$pid"
}

log_of() {
    case $1 in
        postgres) cat "$up"/postgres/log/*.log "$up"/postgres/log/*.json 2>/dev/null ;;
        kafka) cat "$up/kafka-ingestion/log/kafka.log" ;;
        *) cat "$up/$1.log" ;;
    esac
}

start_process() { # start_process SERVICE COMMAND...
    local service=$1 pid
    shift
    setsid "$@" </dev/null >>"$up/$service.log" 2>&1 &
    pid=$!
    echo "$pid $(born "$pid")" >"$up/$service.pid"
}

start_postgres() {
    local known=()
    [ ! -e "$up/postgres/data" ] || known=(--set "port=$(of POSTGRES_PORT)")
    tests/servers/postgres.sh start "$up/postgres" --port "$(of POSTGRES_PORT)" --password "$(of POSTGRES_PASSWORD)" \
        "${known[@]}" >"$up/postgres.start" || return 1
    # They may have changed since the data was made. psql quotes them; they are in no command line.
    POSTGRES_PASSWORD=$(of POSTGRES_PASSWORD) MONITOR_PASSWORD=$(of MONITOR_PASSWORD) \
        tests/servers/postgres.sh psql "$up/postgres" -qX -v ON_ERROR_STOP=1 <<'END'
\getenv ours POSTGRES_PASSWORD
\getenv monitor MONITOR_PASSWORD
alter role postgres password :'ours';
alter role dbobs_monitor password :'monitor';
END
}

start_kafka() {
    tests/servers/kafka.sh start "$up/kafka-ingestion" --port "$(of KAFKA_PORT)" >"$up/kafka.start" || return 1
    "$dbobs" topics create --brokers "$(brokers)" >>"$up/kafka.start"
}

# What targets.lua would heed before ours.
unset POSTGRES_HOST POSTGRES_DB

start_service() (
    export PGHOST=127.0.0.1 PGPORT PGDATABASE KAFKA_BOOTSTRAP_SERVERS
    PGPORT=$(of POSTGRES_PORT) KAFKA_BOOTSTRAP_SERVERS=$(brokers)
    case $1 in
        postgres) start_postgres ;;
        kafka) start_kafka ;;
        collector)
            export PGDATABASE=postgres MONITOR_USER=dbobs_monitor MONITOR_PASSWORD COLLECTION_INTERVAL HEALTH_ADDRESS \
                COLLECT_METRICS POSTGRES_LOG_FILE="$up/postgres/log/*.json" DBOBS_STATE_DIR="$up/state"
            MONITOR_PASSWORD=$(of MONITOR_PASSWORD) COLLECTION_INTERVAL=$(of COLLECTION_INTERVAL)
            COLLECT_METRICS=$(of COLLECT_METRICS)
            HEALTH_ADDRESS=127.0.0.1:$(of HEALTH_PORT)
            start_process collector "$dbobs" run pipelines/pg.lua
            ;;
        simulator)
            export PGDATABASE=app PGUSER=postgres PGPASSWORD QUERY_RATE SLOW_QUERY_PROBABILITY WRITE_PROBABILITY
            PGPASSWORD=$(of POSTGRES_PASSWORD) QUERY_RATE=$(of QUERY_RATE)
            SLOW_QUERY_PROBABILITY=$(of SLOW_QUERY_PROBABILITY) WRITE_PROBABILITY=$(of WRITE_PROBABILITY)
            start_process simulator "$dbobs" run pipelines/load/simulator.lua
            ;;
        ui) start_process ui "$dbobs" ui --address "127.0.0.1:$(of UI_PORT)" ;;
    esac
)

stop_service() {
    local pid
    case $1 in
        postgres) [ ! -d "$up/postgres" ] || tests/servers/postgres.sh stop "$up/postgres" --keep ;;
        kafka) [ ! -d "$up/kafka-ingestion" ] || tests/servers/kafka.sh stop "$up/kafka-ingestion" --keep ;;
        *)
            pid=$(pid_of "$1") || return 0
            kill -TERM "$pid"
            wait_for 40 ended "$1" || kill -KILL "$pid"
            rm -f "$up/$1.pid"
            ;;
    esac
}

ended() { ! pid_of "$1" >/dev/null; }

wait_for() { # wait_for SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

port_of() {
    case $1 in
        postgres) of POSTGRES_PORT ;;
        kafka) of KAFKA_PORT ;;
        collector) of HEALTH_PORT ;;
        ui) of UI_PORT ;;
    esac
}

port_name() {
    case $1 in
        postgres) echo POSTGRES_PORT ;;
        kafka) echo KAFKA_PORT ;;
        collector) echo HEALTH_PORT ;;
        ui) echo UI_PORT ;;
    esac
}

answers() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Says what is wrong with a service, nothing when all is well; succeeds either way.
problem_of() {
    pid_of "$1" >/dev/null || {
        echo "not running"
        return
    }
    case $1 in
        postgres) tests/servers/postgres.sh psql "$up/postgres" -AtqXc 'select 1' >/dev/null 2>&1 || echo "does not answer" ;;
        kafka) "$dbobs" topics --brokers "$(brokers)" --timeout 5s >/dev/null 2>&1 || echo "does not answer" ;;
        collector) "$dbobs" health --address "127.0.0.1:$(of HEALTH_PORT)" 2>&1 | sed -n '1!d; /^ok$/d; p' || true ;;
        ui) answers "$(of UI_PORT)" || echo "does not answer" ;;
    esac
}

is_well_or_dead() { ended "$1" || is_well "$1"; }

is_well() { [ -z "$(problem_of "$1")" ]; }

# Before anything is started: every port that a service of ours, unless it runs already, would take.
check_ports() { # check_ports RUNNINGSERVICE...
    local service port name taken=''
    for service in "${services[@]}"; do
        port=$(port_of "$service") name=$(port_name "$service")
        if [ -n "$port" ] && [[ " $* " != *" $service "* ]] && answers "$port"; then
            echo "port $port is taken$("$dbobs" run docker/port_holder.lua port="$port"): set $name in .env to another" >&2
            taken=yes
        fi
    done
    [ -z "$taken" ] || exit 1
}

running() {
    local service
    for service in "${services[@]}"; do ended "$service" || echo "$service"; done
}

alone() {
    mkdir -p "$up"
    exec 8>"$up/.lock"
    flock -n 8 || die "another 'make up' or 'make down' is at work"
}

up_processes() {
    local service started=''
    [ -x "$dbobs" ] || die "$dbobs is not there: make build"
    ./build.sh install up
    alone
    # shellcheck disable=SC2046 # a list of names
    check_ports $(running)
    for service in "${services[@]}"; do
        if ended "$service"; then
            echo "starting $service"
            start_service "$service" 8>&- || die "$service did not start: make logs-$service, then make down"
            started=yes
        fi
    done
    [ -n "$started" ] || echo "it is up already"
    for service in "${services[@]}"; do
        wait_for 60 is_well_or_dead "$service" || true
        is_well "$service" || die "$service is not well: $(problem_of "$service"). See make logs-$service"
    done
    show
}

# ---- commands ----

show() {
    local service port state code=0
    printf '%-10s %-8s %-22s %s\n' service pid address state
    for service in "${services[@]}"; do
        port=$(port_of "$service")
        state=$(problem_of "$service")
        printf '%-10s %-8s %-22s %s\n' "$service" "$(pid_of "$service" || echo -)" "${port:+127.0.0.1:$port}" "${state:-ok}"
        [ -z "$state" ] || code=1
    done
    return $code
}

check_name() {
    [[ " ${services[*]} " == *" $1 "* ]] || die "there is no service '$1': ${services[*]}"
}

command_up() {
    if has_engine; then
        # shellcheck disable=SC2046 # a list of names
        check_ports $(compose ps --services --filter status=running | sed 's/^kafka-ingestion$/kafka/')
        DBOBS_IMAGE=$(of DBOBS_IMAGE) docker/image.sh
        if [ "$(of COLLECT_METRICS)" = off ]; then compose --profile otel up --detach --wait; else compose up --detach --wait; fi
    else
        up_processes
    fi
}

command_down() {
    local i
    if has_engine; then compose --profile '*' down; return; fi
    alone
    for ((i = ${#services[@]} - 1; i >= 0; i--)); do stop_service "${services[i]}"; done
    echo "it is down; its data is in $up: make clean removes it"
}

command_restart() {
    command_down
    command_up
}

command_clean() {
    if has_engine; then compose --profile '*' down --volumes; else
        command_down >/dev/null
        for service in postgres:postgres kafka:kafka-ingestion; do
            tests/servers/"${service%:*}".sh stop "$up/${service#*:}"
        done
    fi
    rm -rf "$up"
}

command_ps() {
    if has_engine; then compose ps --all; else show || true; fi
}

command_health() {
    local code=0
    if has_engine; then compose ps --all; else show || code=1; fi
    "$dbobs" health --address "127.0.0.1:$(of HEALTH_PORT)" || code=1
    return $code
}

command_logs() {
    local service
    for service in "$@"; do check_name "$service"; done
    if has_engine; then
        # shellcheck disable=SC2046 # a list of names
        compose logs --tail "${LINES_SHOWN:-200}" $(compose_names "$@")
        return
    fi
    for service in "${@:-${services[@]}}"; do
        [ $# = 1 ] || echo "== $service"
        log_of "$service" 2>/dev/null | tail -n "${LINES_SHOWN:-200}" || true
    done
}

# Ours is there in both ways; the other one is an image.
command_kafka_ui() {
    has_engine || die "the Kafka UI is a container image, and no container engine runs here. The topic monitor of dbobs
is on http://127.0.0.1:$(of UI_PORT)/"
    compose --profile kafka-ui up --detach --wait kafka-ui
    echo "http://127.0.0.1:$(of KAFKA_UI_PORT)/"
}

command_topics() { "$dbobs" topics --brokers "$(brokers)"; }

command_consume() {
    local topic
    case $1 in
        metrics) topic=otel-metrics ;;
        logs) topic=raw-logs ;;
        queries) topic=raw-queries ;;
        *) die "there is no stream '$1': metrics, logs or queries" ;;
    esac
    "$dbobs" consume "$topic" --brokers "$(brokers)" --from "${FROM:--10}" ${FOLLOW:+--follow} ${COUNT:+--count "$COUNT"}
}

command_psql() {
    local plain=(-T)
    if has_engine; then
        [ ! -t 0 ] || plain=()
        compose exec "${plain[@]}" postgres psql -U postgres -d app "$@"
        return
    fi
    PGPASSWORD=$(of POSTGRES_PASSWORD) psql -h 127.0.0.1 -p "$(of POSTGRES_PORT)" -U postgres -d app "$@"
}

command_check_pg_stats() {
    command_psql -X -d postgres -c "select calls, round(total_exec_time) as total_ms, round(mean_exec_time::numeric, 2) as
        mean_ms, rows, left(regexp_replace(query, '\s+', ' ', 'g'), 60) as query
        from pg_stat_statements order by total_exec_time desc limit 15"
}

command_start() {
    if has_engine; then compose start "$1"; return; fi
    ended postgres && die "PostgreSQL does not run: make up"
    if ended "$1"; then start_service "$1"; fi
    echo "$1 runs"
}

command_stop() {
    if has_engine; then compose stop "$1"; else stop_service "$1"; fi
    echo "$1 is stopped"
}

# A shell like the collector's: its environment, dbobs in the PATH.
command_shell_collector() {
    export PATH="${dbobs%/*}:$PATH" PGHOST=127.0.0.1 PGDATABASE=postgres MONITOR_USER=dbobs_monitor
    export PGPORT MONITOR_PASSWORD KAFKA_BOOTSTRAP_SERVERS HEALTH_ADDRESS
    PGPORT=$(of POSTGRES_PORT) MONITOR_PASSWORD=$(of MONITOR_PASSWORD) KAFKA_BOOTSTRAP_SERVERS=$(brokers)
    HEALTH_ADDRESS=127.0.0.1:$(of HEALTH_PORT)
    echo "try: dbobs check pipelines/pg.lua; dbobs health; dbobs repl; exit" >&2
    exec "${SHELL:-/bin/bash}"
}

command_collect_test_data() {
    local dir=${DIR:-$root/build/test-data}
    mkdir -p "$dir"
    KAFKA_BOOTSTRAP_SERVERS=$(brokers) "$dbobs" run docker/test_data.lua dir="$dir" count="${COUNT:-20}"
}

# Stars in the place of each secret, whatever characters it has, and of what a text calls a password.
without_secrets() {
    local name secret line secrets=()
    for name in POSTGRES_PASSWORD MONITOR_PASSWORD; do
        secret=$(of "$name")
        # The words of the default are names of the server and its users as well: no secrets.
        case $secret in
            postgres | monitor) ;;
            *) secrets+=("$secret") ;;
        esac
    done
    while IFS= read -r line; do
        for secret in "${secrets[@]}"; do line=${line//"$secret"/"********"}; done
        printf '%s\n' "$line"
    done | sed -E 's/(password[^=:]{0,20}[=:] ?)[^ ,;"]+/\1********/Ig'
}

print_debug() {
    local name
    echo "== versions"
    "$dbobs" version | head -3 || true
    uname -srm
    sed -n 's/^PRETTY_NAME=//p' /etc/os-release
    echo "== settings"
    for name in "${!settings[@]}"; do echo "$name=$(of "$name")"; done | sort
    echo "== services"
    command_ps
    echo "== health"
    "$dbobs" health --json --address "127.0.0.1:$(of HEALTH_PORT)" || true
    echo "== topics"
    command_topics || true
    LINES_SHOWN=${LINES_SHOWN:-40} command_logs collector simulator kafka postgres
}

# What a bug report needs.
command_debug() { print_debug 2>&1 | without_secrets; }

read_settings
case ${1:-} in
    up | down | restart | clean | ps | health | debug | logs | topics | psql) command=$1 ;;
    consume | start | stop)
        [ $# -ge 2 ] || die "usage: docker/environment.sh $1 NAME"
        command=$1
        ;;
    check-pg-stats | kafka-ui | shell-collector | collect-test-data) command=${1//-/_} ;;
    *) die "usage: docker/environment.sh COMMAND; 'make help' lists them" ;;
esac
shift
"command_$command" "$@"
