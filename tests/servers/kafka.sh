#!/usr/bin/env bash
# One Apache Kafka node (KRaft, broker and controller) in a directory, on free loopback ports: start, stop, and all
# that a test does to it. See README.md. DBOBS_KAFKA_JAVA_OPTS replaces the options of its Java machine.
set -euo pipefail
# shellcheck source=tests/servers/lib.sh
. "$(dirname "$0")/lib.sh"

usage="usage: kafka.sh start DIR [--set NAME=VALUE]... [--port N] [--owner PID]
       kafka.sh stop DIR [--keep] | restart DIR | kill DIR | pause DIR | resume DIR
       kafka.sh tools DIR CLASS [ARGUMENT]... | deny-create DIR | allow-create DIR"

read -ra java_options <<<"${DBOBS_KAFKA_JAVA_OPTS:--Xmx512m -XX:+UseSerialGC -Xshare:auto}"

node_java() { # ARGUMENT... : what runs in the node
	java "${java_options[@]}" -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$libs/*" "$@"
}

properties() { # PORT CONTROLLERPORT
	cat <<-END
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$2
		listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2
		advertised.listeners=PLAINTEXT://127.0.0.1:$1
		controller.listener.names=CONTROLLER
		listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
		log.dirs=$DIR/data
		offsets.topic.replication.factor=1
		offsets.topic.num.partitions=1
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		transaction.state.log.num.partitions=1
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
		group.initial.rebalance.delay.ms=0
		broker.session.timeout.ms=3000
		broker.heartbeat.interval.ms=500
		log.segment.delete.delay.ms=1000
	END
}

# Formatting takes a second of Java; all but the identifiers in meta.properties is the same for every node.
format() {
	local part
	if [ ! -d "$1" ]; then
		part=$(mktemp -d "$cache/.part.XXXXXX")
		sed "s|^log.dirs=.*|log.dirs=$part/data|" "$DIR/server.properties" >"$part/server.properties"
		if ! node_java kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAA -c "$part/server.properties" \
			>"$part/log" 2>&1; then
			show_log_end "$part/log"
			rm -rf "$part"
			die 1 "Kafka cannot format its storage"
		fi
		mv -T "$part/data" "$1" && rm -rf "$part"
	fi
	cp -a "$1" "$DIR/data.part"
	id() { echo "d$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-21)A"; } # 22 characters, 16 bytes
	sed -i "s/^cluster.id=.*/cluster.id=$(id)/; s/^directory.id=.*/directory.id=$(id)/" "$DIR/data.part/meta.properties"
	mv "$DIR/data.part" "$DIR/data"
}

ready_or_dead() {
	grep -q 'Kafka Server started' "$DIR/log/kafka.log" || ! main_pid >/dev/null
}

begin() {
	wait_until 5 kill_rest || true
	[ ! -e "$DIR/log/kafka.log" ] || cat "$DIR/log/kafka.log" >>"$DIR/log/kafka.log.old"
	: >"$DIR/log/kafka.log"
	detach "$DIR/log/kafka.log" java "${java_options[@]}" -Dorg.slf4j.simpleLogger.showDateTime=true \
		-cp "$libs/*" kafka.Kafka "$DIR/server.properties"
}

launch() {
	libs=$("$here/fetch.sh" kafka)
	main_pid >/dev/null || begin
	wait_until "$start_timeout" ready_or_dead || die 1 "Kafka in $DIR is not ready after $start_timeout s"
	# On a crowded machine, where process numbers come round within minutes, some were seen to end at once and without
	# a word: perhaps by a late signal to a number that they were given anew.
	if ! main_pid >/dev/null && [ ! -s "$DIR/log/kafka.log" ]; then
		begin
		wait_until "$start_timeout" ready_or_dead || die 1 "Kafka in $DIR is not ready after $start_timeout s"
	fi
	local pid
	if ! pid=$(main_pid); then
		show_log_end "$DIR/log/kafka.log"
		die 1 "Kafka in $DIR did not start"
	fi
	cat >"$DIR/env" <<-END
		bootstrap=127.0.0.1:$(sed -n 's/^advertised.listeners=.*://p' "$DIR/server.properties")
		pid=$pid
		data=$DIR/data
		log=$DIR/log/kafka.log
	END
	cat "$DIR/env"
}

start() {
	local owner='' port='' sets=() template
	claim_dir "${1-}"
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--set)
			[[ ${2-} == *=* ]] || die 2 "--set takes NAME=VALUE, not ${2-nothing}"
			sets+=("$2")
			;;
		--owner) owner=${2:-0} ;;
		--port) port=${2:?$usage} ;;
		*) die 2 "unknown option $1
$usage" ;;
		esac
		shift 2
	done
	watch_owner "$owner" "$here/kafka.sh"
	libs=$("$here/fetch.sh" kafka)
	if [ ! -e "$DIR/data" ]; then
		rm -rf "$DIR/data.part"
		mkdir -p "$DIR/log"
		properties "${port:-$(free_port)}" "$(free_port)" >"$DIR/server.properties"
		template=$cache/template-$(basename "$libs")-$(id -u)
		with_lock "$(basename "$template")" format "$template"
	fi
	[ -z "$port" ] || sed -i -E "s#^((advertised.)?listeners=PLAINTEXT://127.0.0.1:)[0-9]+#\1$port#" "$DIR/server.properties"
	[ ${#sets[@]} = 0 ] || printf '%s\n' "${sets[@]}" >>"$DIR/server.properties" # the last line of a name counts
	launch
}

end_server() {
	local pid
	if pid=$(main_pid); then
		signal_all CONT
		kill -TERM "$pid"
	fi
	wait_until 30 all_gone || wait_until 5 kill_rest || die 1 "cannot end the server in $DIR"
}

stop() {
	case ${2-} in
	'')
		[ -n "${1-}" ] || die 2 "$usage"
		[ -e "$1/.dbobs-server" ] || exit 0
		existing_dir "${1-}"
		remove_dir
		;;
	--keep)
		existing_dir "${1-}"
		end_server
		;;
	*) die 2 "unknown option $2" ;;
	esac
}

# A class of Kafka's tools, by its short name or its full one; told where the broker is unless an argument says it.
tools() { # DIR CLASS [ARGUMENT]...
	local class=${2:?$usage} server=()
	existing_dir "${1-}"
	shift 2
	[[ $class == *.* ]] || class=org.apache.kafka.tools.$class
	[[ "$*" == *bootstrap* ]] || server=(--bootstrap-server "$(sed -n 's/^bootstrap=//p' "$DIR/env")")
	libs=$("$here/fetch.sh" kafka)
	java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
		-cp "$libs/*" "$class" "${server[@]}" "$@"
}

# Whether clients may create topics; everything else stays allowed. Needs the node started with
# --set authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# --set allow.everyone.if.no.acl.found=true
allow_create() { # DIR add|remove
	tools "$1" AclCommand --add --allow-principal 'User:*' --operation All --cluster --topic '*' >"$1/log/acl.log" &&
		tools "$1" AclCommand "--$2" --force --deny-principal 'User:*' --operation Create --cluster --topic '*' \
			>>"$1/log/acl.log"
}

command=${1-}
shift || true
case $command in
start | stop | tools) "$command" "$@" ;;
restart)
	existing_dir "${1-}"
	end_server
	launch
	;;
kill)
	existing_dir "${1-}"
	kill -KILL "$(main_pid)" 2>/dev/null || die 1 "no server runs in $DIR"
	wait_until 5 kill_rest
	;;
pause)
	existing_dir "${1-}"
	pause_server
	;;
resume)
	existing_dir "${1-}"
	signal_all CONT
	;;
deny-create) allow_create "$1" add ;;
allow-create) allow_create "$1" remove ;;
*) die 2 "$usage" ;;
esac
