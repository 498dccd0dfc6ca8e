#!/bin/bash
# Server logs to Kafka beside what others use for it: CPU, memory and wall time of a backlog, the delay of a single
# line, and what many files cost in which nothing happens.
#   tests/bench/logs.sh [MEGABYTES]
# Environment: BENCH_LOG_PARTS="backlog delay idle", BENCH_LOG_BROKERS="kafka mock", BENCH_LOG_PEERS="dbobs csvlog stderr
# kcat rsyslog rsyslog-json" (dbobs, csvlog, stderr: dbobs with the three formats; kcat, rsyslog: lines as they are;
# rsyslog-json: parsed and with our envelope), BENCH_LOG_DBOBS: another binary to be measured
# All produce with acks=all, linger.ms=50, 32 MiB of queue, no compression, to one partition; kcat and dbobs with
# enable.idempotence=true. kcat and rsyslog use Debian's librdkafka, dbobs its own.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

megabytes=${1:-${BENCH_LOG_MB:-300}}
parts=${BENCH_LOG_PARTS:-backlog delay idle}
peers=${BENCH_LOG_PEERS:-dbobs csvlog stderr kcat rsyslog rsyslog-json}
targets=${BENCH_LOG_BROKERS:-kafka mock}
binary=${BENCH_LOG_DBOBS:-$musl}
here=tests/bench/logs
prefix='%m [%p] %q%u@%d '
topics=0
broker_options=(--topics "$(seq -s, -f logs%g 100)")

stop_kafka() { tests/servers/kafka.sh stop "$dir/kafka" >/dev/null 2>&1 || true; }
trap 'stop_kafka; finish' EXIT

new_topic() { # [stamped=true] : its name is in $topic; the mock broker has made its topics at the start
    topic=logs$((++topics))
    [ "$target" = mock ] || "$musl" run "$here"/topic.lua brokers="$brokers" topic="$topic" "$@"
}
end_offset() { kcat -Q -b "$brokers" -t "$topic:0:-1" 2>/dev/null | sed 's/.* //'; }
wait_for_offset() { # RECORDS PID
    while [ "$(end_offset)" -lt "$1" ] && kill -0 "$2" 2>/dev/null; do sleep 0.2; done
}

log_of() { # PEER : the file that it reads
    case $1 in
        csvlog) echo "$dir/log.csv" ;;
        stderr) echo "$dir/log.log" ;;
        *) echo "$dir/log.json" ;;
    esac
}
format_of() { case $1 in csvlog | stderr) echo "$1" ;; *) echo jsonlog ;; esac }

rsyslog_conf() { # PEER FILE LINGER : prints the configuration
    local template='template(name="out" type="string" string="%msg%")' parse=''
    if [ "$1" = rsyslog-json ]; then
        parse='action(type="mmjsonparse" cookie="")'
        template='template(name="out" type="list") {
    constant(value="{\"timestamp\":\"") property(name="$!timestamp" format="json")
    constant(value="\",\"source\":\"postgresql\",\"data_type\":\"log\",\"host\":\"db1.example.org\",\"port\":5432,")
    constant(value="\"database\":\"") property(name="$!dbname" format="json")
    constant(value="\",\"environment\":\"bench\",\"tags\":{\"log_level\":\"")
    property(name="$!error_severity" format="json") constant(value="\"},\"payload\":{\"event_type\":\"log\",\"record\":")
    property(name="$!all-json") constant(value="}}")
}'
    fi
    cat <<-END
	global(workDirectory="$dir/rsyslog" maxMessageSize="64k")
	module(load="imfile" mode="inotify")
	module(load="omkafka")
	module(load="mmjsonparse")
	$template
	input(type="imfile" file="$2" tag="log" ruleset="send")
	ruleset(name="send") {
	    $parse
	    action(type="omkafka" broker=["$brokers"] topic="$topic" template="out"
	        confParam=["acks=all", "linger.ms=$3", "queue.buffering.max.kbytes=32768", "compression.codec=none"])
	}
	END
}

# Begins a peer that reads a file: its command is in $command.
command_of() { # PEER FILE LINGER WORD...
    local peer=$1 file=$2 linger=$3
    shift 3
    case $peer in
        kcat)
            command=(kcat -P -b "$brokers" -t "$topic" -l "$file" -X acks=all -X enable.idempotence=true
                -X linger.ms="$linger" -X queue.buffering.max.kbytes=32768 -X compression.codec=none)
            ;;
        rsyslog*)
            rm -rf "$dir/rsyslog"
            mkdir "$dir/rsyslog"
            rsyslog_conf "$peer" "$file" "$linger" >"$dir/rsyslog.conf"
            command=(rsyslogd -n -f "$dir/rsyslog.conf" -i "$dir/rsyslog.pid")
            ;;
        *)
            rm -f "$dir/checkpoint"
            command=("$binary" run "$here"/follow.lua path="$file" brokers="$brokers" topic="$topic" linger="$linger"
                checkpoint="$dir/checkpoint" format="$(format_of "$peer")" prefix="$prefix" "$@")
            ;;
    esac
}

# rsyslog does not end by itself: it is ended when its last line is in the topic.
measure() { # PEER : appends "PEER MB WALL CPU MB-PER-CPU-SECOND MIB RECORDS WANTED" to $dir/figures
    local peer=$1 file pid size records
    file=$(log_of "$peer")
    records=$(cat "$file.records")
    new_topic
    command_of "$peer" "$file" 50 once=true
    /usr/bin/time -f '%e %U %S %M' -o "$dir/time" "${command[@]}" >"$dir/out" 2>&1 &
    pid=$!
    if [[ $peer == rsyslog* ]]; then
        wait_for_file "$dir/rsyslog.pid"
        wait_for_offset "$records" "$pid"
        kill -TERM "$(cat "$dir/rsyslog.pid")"
    fi
    wait "$pid" || { cat "$dir/out" >&2; return 1; }
    size=$(stat -c %s "$file")
    awk -v peer="$peer" -v mb="$size" -v got="$(end_offset)" -v wanted="$records" '{
        cpu = $2 + $3
        print peer, mb / 1e6, $1, cpu, mb / 1e6 / cpu, $4 / 1024, got, wanted
    }' \
        "$dir/time" >>"$dir/figures"
}

show() { # prints $dir/figures with ratios to kcat's and rsyslog's
    awk '
        function against(name) {return rate[name] ? sprintf("%.2f", r / rate[name]) : "-"}
        {line[NR] = $0; rate[$1] = $5}
        END {
            print "peer           MB   wall s   CPU s  MB/CPU-s  to kcat  to rsyslog  to rsyslog-json" \
                "  peak MiB  records"
            for (i = 1; i <= NR; i++) {
                split(line[i], f, " "); r = f[5]
                printf "%-12s %4d %8.2f %7.2f %9.1f %8s %11s %16s %9.1f  %s\n", f[1], f[2], f[3], f[4], r,
                    against("kcat"), against("rsyslog"), against("rsyslog-json"), f[6],
                    f[7] == f[8] ? f[8] ", all" : f[7] " of " f[8]
            }
        }' "$dir/figures"
}

begin_broker() { # kafka|mock
    target=$1
    if [ "$target" = mock ]; then
        rm -f "$dir/address"
        start_broker
    elif [ ! -e "$dir/kafka" ]; then
        tests/servers/kafka.sh start "$dir/kafka" --owner $$ >/dev/null
    fi
    [ "$target" = kafka ] || return 0
    brokers=$(sed -n 's/^bootstrap=//p' "$dir/kafka/env")
    # Java gets faster with use: nobody shall be the first.
    for _ in 1 2 3 4; do
        seq 400000 | sed "s/.*/&$(printf '%0200d' 0)/" | kcat -P -b "$brokers" -t warm-up -X enable.idempotence=true
    done
}

backlog() {
    local name peer format count
    count=$(wc -l <"$here"/sample.json)
    for format in json csv log; do
        "$musl" run "$here"/generate.lua sample="$here"/sample.$format to="$dir/log.$format" records="$count" \
            megabytes="$megabytes" >"$dir/log.$format.records"
    done
    for name in $targets; do
        begin_broker "$name"
        echo "== a backlog of $megabytes MB of each format to $name (wanted: to kcat 1, to rsyslog 3, to rsyslog-json 10, 64 MiB)"
        for peer in $peers; do measure "$peer"; done
        show
        rm -f "$dir/figures"
    done
}

delay() {
    local peer linger lines=20000 pid
    begin_broker kafka
    echo "== from written to acknowledged, 1,000 lines/s for $((lines / 1000)) s, a real Kafka (wanted: p99 under 10 ms)"
    for peer in dbobs rsyslog; do
        for linger in 0 5; do
            new_topic stamped=true
            rm -f "$dir/live.json"
            : >"$dir/live.json"
            "$musl" run "$here"/write.lua path="$dir/live.json" rate=10 seconds=1
            command_of "$peer" "$dir/live.json" "$linger"
            "${command[@]}" >"$dir/out" 2>&1 &
            pid=$!
            wait_for_offset 10 "$pid"
            "$musl" run "$here"/write.lua path="$dir/live.json" seconds=$((lines / 1000))
            wait_for_offset $((lines + 10)) "$pid"
            kill -TERM "$pid"
            wait "$pid" || { cat "$dir/out" >&2; return 1; }
            printf '%-10s linger.ms=%-3s' "$peer" "$linger"
            "$musl" run "$here"/delay.lua brokers="$brokers" topic="$topic" skip=10 lines=$lines
        done
    done
}

idle() {
    local pid i
    begin_broker mock
    mkdir "$dir/many"
    for i in $(seq 1000); do head -n 1 "$here"/sample.json >"$dir/many/$i.json"; done
    new_topic
    command_of dbobs "$dir/many/*.json" 50
    "${command[@]}" >"$dir/out" 2>&1 &
    pid=$!
    pids+=("$pid")
    wait_for_offset 1000 "$pid"
    sleep 2
    echo "== 1,000 files in which nothing happens, over $idle_seconds s"
    echo "$(idle_cpu "$pid") % of a core, $(rss_mib "$pid") MiB"
    kill -TERM "$pid"
    wait "$pid"
}

for part in $parts; do "$part"; done
