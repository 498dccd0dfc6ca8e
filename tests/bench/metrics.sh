#!/bin/bash
# What a scrape of the metrics collector costs us and the server, by the number of databases of 20 tables with an index
# each; beside it postgres_exporter on the same server, and the OpenTelemetry Collector where it is installed.
# BENCH_DATABASES: the rows; BENCH_SCRAPES: scrapes measured; BENCH_OTELCOL: the Collector, with its PostgreSQL receiver
# and Kafka exporter.
#
# The server's CPU is that of its postmaster and of each process below it: those that run now from their schedstat
# (nanoseconds), those that have ended from what the postmaster has gathered of them (cutime, cstime).
# shellcheck source=tests/bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rows=${BENCH_DATABASES:-1 10 100 1000}
scrapes=${BENCH_SCRAPES:-5}
exporter=$(command -v prometheus-postgres-exporter || tests/servers/fetch.sh exporter || true)
otelcol=${BENCH_OTELCOL:-$(command -v otelcol || command -v otelcol-contrib || true)}
# Above it only we are measured: the peers hold a connection to every database, or take seconds.
peer_limit=100
# What a server's processes for 1,000 kept connections take, and some more: KiB.
memory_of_1000=8000000

server_cpu() {
    local children # one may have ended since it was listed
    read -ra children <"/proc/$postmaster/task/$postmaster/children"
    children=("${children[@]/#//proc/}")
    {
        awk -v hz="$(getconf CLK_TCK)" '{sub(/^.*\) /, ""); print ($14 + $15) * 1e9 / hz}' "/proc/$postmaster/stat"
        cat /proc/"$postmaster"/schedstat "${children[@]/%//schedstat}" 2>/dev/null || true
    } | awk '{n += $1} END {printf "%.2f", n / 1e6}'
}

sql() { psql -XqAt -v ON_ERROR_STOP=1 -c "$1"; }

# Memory that belongs to the scraper's connections alone, in MiB: what would be free without them.
backends_mib() {
    local pid
    for pid in $(sql "select pid from pg_stat_activity where usename = 'dbobs_monitor'"); do
        cat "/proc/$pid/smaps_rollup" 2>/dev/null || true # it may have ended
    done | awk '/^Private/ {n += $2} END {printf "%.0f", n / 1024}'
}

tell_statements() { # top|none: whether the server counts statements, which costs it something
    sql "alter system set pg_stat_statements.track = '$1'"
    sql "select pg_reload_conf()" >/dev/null
    until [ "$(sql 'show pg_stat_statements.track')" = "$1" ]; do sleep 0.05; done
    sleep 0.5
    sql "select pg_stat_statements_reset()" >/dev/null
}
statements() {
    sql "select coalesce(sum(calls), 0) from pg_stat_statements where userid = 'dbobs_monitor'::regrole"
}
sessions() { sql "select sum(sessions) from pg_stat_database"; }

make_template() {
    sql "create database template_bench"
    PGDATABASE=template_bench psql -Xq -v ON_ERROR_STOP=1 <<'SQL'
do $$
begin
    for i in 1..20 loop
        execute format('create table orders_%s (id bigint not null, customer bigint, total numeric, note text)', i);
        execute format('create index orders_%s_id on orders_%s (id)', i, i);
        execute format('insert into orders_%s select g, g, g, g::text from generate_series(1, 100) g', i);
    end loop;
end $$;
vacuum analyze;
SQL
}

databases=0
grow_to() { # N
    while [ "$databases" -lt "$1" ]; do
        databases=$((databases + 1))
        printf "create database bench_%04d template template_bench strategy file_copy;\n" "$databases"
    done >"$dir/create.sql"
    psql -Xq -v ON_ERROR_STOP=1 -f "$dir/create.sql"
    sql "checkpoint"
}

print_row() { # NAME OURS SERVER RSS PEAK HELD OPENED MEMORY STATEMENTS RECORDS POINTS LARGEST
    printf '%9s %-25s %9s %10s %9s %9s %6s %7s %9s %10s %8s %8s %8s\n' "$databases" "$@"
}
heading() {
    databases=databases print_row "" "CPU ms" "server ms" "RSS MiB" "peak MiB" "held" "opened" "their MiB" "statements" \
        "records" "points" "largest"
}

# One scraper's figures: dbobs with so many kept connections (0: the default).
declare -A before
ours() { # LABEL CONNECTIONS
    local pid line mine server0 server1 opened rss peak held memory counted
    rm -f "$dir"/go.*
    mkfifo "$dir/said"
    "$musl" run tests/bench/metrics.lua brokers="$brokers" host="$PGHOST" port="$PGPORT" connections="$2" \
        count="$scrapes" go="$dir/go" >"$dir/said" 2>"$dir/metrics.log" &
    pid=$!
    pids+=("$pid")
    exec 3<"$dir/said"
    rm "$dir/said"
    listen() { read -r line <&3 || { cat "$dir/metrics.log" >&2; return 1; }; }
    listen
    server0=$(server_cpu)
    touch "$dir/go.1"
    listen
    server1=$(server_cpu)
    mine=${line#measured }
    rss=$(rss_mib "$pid") peak=$(peak_mib "$pid")
    held=$(sql "select count(*) from pg_stat_activity where usename = 'dbobs_monitor'")
    memory=$(backends_mib)
    tell_statements top
    opened=$(sessions)
    sleep 0.2
    touch "$dir/go.2"
    listen
    opened=$(($(sessions) - opened - 1)) # the one is that which asked before
    counted=$(statements)
    tell_statements none
    touch "$dir/go.3"
    wait "$pid" || { cat "$dir/metrics.log" >&2; return 1; }
    local server
    server=$(awk -v a="$server0" -v b="$server1" -v n="$scrapes" 'BEGIN {printf "%.1f", (b - a) / n}')
    # shellcheck disable=SC2086 # three figures
    print_row "$1" "$mine" "$server" "$rss" "$peak" "$held" "$opened" "$memory" "$counted" ${line#counted }
    growth "$1" "$mine" "$server"
}

# What a database costs, and how that compares with the row before of the same kind.
growth() { # LABEL OURS SERVER
    local last=${before[$1]:-}
    local each
    each=$(awk -v a="$2" -v b="$3" -v n="$databases" 'BEGIN {printf "%.3f %.3f", a / n, b / n}')
    before[$1]=$each
    # shellcheck disable=SC2086 # two figures each
    set -- $each $last
    printf '%9s   each database: ours %s ms, the server %s ms' "" "$1" "$2"
    [ $# -lt 4 ] || printf '   (%s and %s times that of the row before)' "$(ratio "$1" "$3")" "$(ratio "$2" "$4")"
    echo
}

scrape_exporter() { # PORT
    exec 4<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&4
    cat <&4 >"$dir/scraped"
    exec 4>&-
}

peer() { # LABEL OPTION...
    local label=$1 port pid mine0 mine1 server0 server1 opened counted held memory
    shift
    port=$(bash -c '. tests/servers/lib.sh && free_port')
    DATA_SOURCE_NAME="postgresql://dbobs_monitor:monitor@$PGHOST:$PGPORT/postgres?sslmode=disable" \
        "$exporter" --web.listen-address="127.0.0.1:$port" --log.level=error "$@" >"$dir/exporter.log" 2>&1 &
    pid=$!
    pids+=("$pid")
    for _ in $(seq 100); do
        ! (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
        sleep 0.1
    done
    scrape_exporter "$port"
    mine0=$(process_cpu "$pid") server0=$(server_cpu)
    for _ in $(seq "$scrapes"); do scrape_exporter "$port"; done
    mine1=$(process_cpu "$pid") server1=$(server_cpu)
    held=$(sql "select count(*) from pg_stat_activity where usename = 'dbobs_monitor'")
    memory=$(backends_mib)
    tell_statements top
    opened=$(sessions)
    scrape_exporter "$port"
    opened=$(($(sessions) - opened - 1))
    counted=$(statements)
    tell_statements none
    # shellcheck disable=SC2046 # two figures
    print_row "$label" $(awk -v a="$mine0" -v b="$mine1" -v c="$server0" -v d="$server1" \
        -v n="$scrapes" 'BEGIN {printf "%.1f %.1f", (b - a) / n, (d - c) / n}') "$(rss_mib "$pid")" "$(peak_mib "$pid")" "$held" \
        "$opened" "$memory" "$counted" - "$(grep -vc '^#' "$dir/scraped")" -
    kill -TERM "$pid"
    wait "$pid" || true
}

# It cannot be told when to scrape: what it costs in a time, by the number of its intervals.
otel_collector() {
    local pid mine0 mine1 server0 server1 counted opened interval=2
    cat >"$dir/otelcol.yaml" <<YAML
receivers:
  postgresql:
    endpoint: $PGHOST:$PGPORT
    username: dbobs_monitor
    password: monitor
    exclude_databases: [postgres, app, template_bench]
    collection_interval: ${interval}s
    initial_delay: 100ms
    tls: { insecure: true }
exporters:
  kafka:
    brokers: ["$brokers"]
    producer: { max_message_bytes: 10000000 }
    metrics: { topic: bench-otelcol, encoding: otlp_proto }
service:
  telemetry: { metrics: { level: none }, logs: { level: error } }
  pipelines:
    metrics: { receivers: [postgresql], exporters: [kafka] }
YAML
    "$otelcol" --config "$dir/otelcol.yaml" >"$dir/otelcol.log" 2>&1 &
    pid=$!
    pids+=("$pid")
    sleep $((3 * interval))
    mine0=$(process_cpu "$pid") server0=$(server_cpu)
    sleep $((scrapes * interval))
    mine1=$(process_cpu "$pid") server1=$(server_cpu)
    tell_statements top
    opened=$(sessions)
    sleep "$interval"
    opened=$(($(sessions) - opened - 1))
    counted=$(statements)
    tell_statements none
    # shellcheck disable=SC2046 # two figures
    print_row "OpenTelemetry Collector" $(awk -v a="$mine0" -v b="$mine1" -v c="$server0" -v d="$server1" \
        -v n="$scrapes" 'BEGIN {printf "%.1f %.1f", (b - a) / n, (d - c) / n}') "$(rss_mib "$pid")" "$(peak_mib "$pid")" \
        "$(sql "select count(*) from pg_stat_activity where usename = 'dbobs_monitor'")" "$opened" "$(backends_mib)" \
        "$counted" - - -
    kill -TERM "$pid"
    wait "$pid" || true
}

start_broker
start_postgres --set autovacuum=off --set shared_buffers=128MB --set max_connections=1200 --set checkpoint_timeout=1h \
    --set max_wal_size=16GB --set log_connections=off --set log_disconnections=off \
    --set log_min_duration_statement=-1 --set pg_stat_statements.track=none --set pg_stat_statements.max=20000
make_template
echo "== metrics: a scrape of so many databases of 20 tables with an index each, mean of $scrapes, to a Kafka broker"
echo "   connections: held between scrapes and opened in one; their MiB: what the held ones' server processes keep"
sql "checkpoint"
sleep 1
a=$(server_cpu)
sleep 5
b=$(server_cpu)
echo "   the server's CPU with nobody scraping: $(awk -v a="$a" -v b="$b" 'BEGIN {printf "%.1f", (b - a) / 5}') ms a second"
heading
for row in $rows; do
    grow_to "$row"
    ours "dbobs" 0
    if [ "$row" -gt 100 ]; then
        ! awk -v least="$memory_of_1000" '/^MemAvailable/ {exit $2 < least}' /proc/meminfo || ours "dbobs, each kept" "$row"
    else
        before["dbobs, each kept"]=${before[dbobs]} # so few are all kept
        [ "$row" = 1 ] || ours "dbobs, 2 connections" 2
    fi
    [ -z "$exporter" ] || peer "postgres_exporter, server"
    [ "$row" -le "$peer_limit" ] || continue
    [ -z "$exporter" ] || peer "postgres_exporter, each" --auto-discover-databases \
        --exclude-databases=postgres,app,template_bench --extend.query-path=tests/bench/exporter.yaml
    [ -z "$otelcol" ] || otel_collector
done
