#!/usr/bin/env bash
# One PostgreSQL server in a directory, on a free loopback port: start, stop, and all that a test does to it.
# See README.md. As root it runs as user postgres (DBOBS_PG_USER names another), else as ourselves.
set -euo pipefail
# shellcheck source=tests/servers/lib.sh
. "$(dirname "$0")/lib.sh"

usage="usage: postgres.sh start DIR [--major N] [--set NAME=VALUE]... [--bare] [--fresh] [--tls] [--password P]
                           [--port N] [--owner PID]
       postgres.sh standby DIR PRIMARYDIR [--set NAME=VALUE]... [--owner PID]
       postgres.sh stop DIR [--keep] | restart DIR [fast|immediate|smart] | kill DIR | pause DIR | resume DIR
       postgres.sh psql DIR [ARGUMENT]..."

# The user's command prefix. A server's user may not reach a home directory or a `mktemp -d` of root's, where the
# cache and DIR often are: it is given the one capability for that, and the secure bit with which access(2) heeds it.
as_user=()
if [ "$(id -u)" = 0 ]; then
	user=${DBOBS_PG_USER:-$(id -un postgres 2>/dev/null || echo nobody)}
	as_user=(setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups)
	read -r _ capabilities < <(grep CapEff /proc/self/status)
	for bit in 2:dac_read_search 1:dac_override; do
		if ((0x$capabilities >> ${bit%:*} & 0x$capabilities >> 8 & 1)); then # bit 8: setpcap
			as_user+=(--securebits=+no_setuid_fixup --inh-caps="+${bit#*:}" --ambient-caps="+${bit#*:}")
			break
		fi
	done
fi

own() { # PATH... : gives them to the server's user
	[ "$(id -u)" != 0 ] || chown -R "$user:" "$@"
}

find_server() { # MAJOR or nothing: sets major, bin, libs
	local newest
	major=$1
	newest=$(find /usr/lib/postgresql/*/bin/postgres -prune 2>/dev/null | cut -d/ -f5 | sort -n | tail -n 1)
	major=${major:-${newest:-18}}
	bin=/usr/lib/postgresql/$major/bin libs=
	if [ ! -x "$bin/postgres" ]; then
		bin=$("$here/fetch.sh" postgres "$major")/bin
		libs=${bin%/bin}/lib
	fi
}

server_env() { env ${libs:+LD_LIBRARY_PATH="$libs"} "$@"; }

# A new data directory. It takes most of a second, so the first one is kept and copied. The copies have one system
# identifier; --fresh makes one with its own.
init_data() { # DATA KIND PASSWORD
	local data=$1 kind=$2 secret=$1.password name
	mkdir -m 700 "$data"
	(umask 077 && echo "$3" >"$secret")
	own "$data" "$secret"
	cd "$data"
	server_env "${as_user[@]}" "$bin/initdb" -D "$data" -N -E UTF8 --locale=C.UTF-8 -U postgres --pwfile="$secret" \
		--auth-local=trust --auth-host=scram-sha-256 || return 1
	rm "$secret"
	{
		echo "password_encryption = 'scram-sha-256'"
		echo "include_if_exists 'dbobs.conf'"
	} >>"$data/postgresql.conf"
	[ "$kind" = full ] || return 0
	for name in postgres app; do
		server_env "${as_user[@]}" "$bin/postgres" --single -j -c exit_on_error=on -c log_min_messages=fatal \
			-D "$data" "$name" <"$here/$name.sql" >/dev/null || return 1
	done
}

make_template() { # TEMPLATE KIND PASSWORD
	local part
	[ ! -d "$1" ] || return 0
	find "$cache" -maxdepth 1 \( -name "template-*" -o -name ".part.*" \) -mtime +7 -exec rm -rf {} +
	part=$(mktemp -d "$cache/.part.XXXXXX")
	chmod 755 "$part"
	if ! (init_data "$part/data" "$2" "$3") >"$part/log" 2>&1; then
		show_log_end "$part/log"
		rm -rf "$part"
		die 1 "cannot make a database with $bin/initdb"
	fi
	mv -T "$part/data" "$1" && rm -rf "$part"
}

new_data() { # KIND PASSWORD FRESH
	local template
	if [ -n "$3" ]; then
		(init_data "$DIR/data" "$1" "$2") >"$DIR/initdb.log" 2>&1 && return 0
		show_log_end "$DIR/initdb.log"
		die 1 "cannot make a database with $bin/initdb"
	fi
	template=$(server_env "$bin/postgres" --version
		id -u
		echo "$1 $2 ${user-}"
		declare -f init_data
		cat "$here/postgres.sql" "$here/app.sql")
	template=$cache/template-$major-$(cksum <<<"$template" | cut -d' ' -f1)
	with_lock "$(basename "$template")" make_template "$template" "$1" "$2"
	cp -a --reflink=auto "$template" "$DIR/data"
}

settings() {
	local format=csvlog
	[ "$major" -lt 15 ] || format=jsonlog
	cat <<-END
		listen_addresses = '127.0.0.1'
		max_connections = 300
		shared_buffers = 32MB
		max_wal_size = 256MB
		fsync = off
		dynamic_shared_memory_type = mmap # in the data directory: nothing stays in /dev/shm after a kill
		shared_preload_libraries = 'pg_stat_statements'
		track_io_timing = on
		timezone = 'UTC'
		logging_collector = on
		log_destination = 'stderr,$format'
		log_filename = 'postgresql.log'
		log_file_mode = 0644
		log_timezone = 'UTC'
		log_min_duration_statement = 100ms
		log_connections = on
		log_disconnections = on
		log_checkpoints = on
		log_lock_waits = on
	END
	if [ "$major" -lt 13 ]; then echo "wal_keep_segments = 8"; else echo "wal_keep_size = 128MB"; fi
}

own_settings() { # PORT: what differs from server to server
	cat <<-END
		port = $1
		unix_socket_directories = '"$DIR"'
		log_directory = '$DIR/log'
	END
}

add_settings() { # NAME=VALUE...
	local item value
	for item; do
		value=${item#*=}
		printf "%s = '%s'\n" "${item%%=*}" "${value//\'/''}"
	done
}

make_certificate() {
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \
		-addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
		-keyout "$DIR/data/server.key" -out "$DIR/data/server.crt" 2>"$DIR/openssl.log" ||
		die 1 "openssl cannot make a certificate: $(tail -n 1 "$DIR/openssl.log")"
	chmod 600 "$DIR/data/server.key"
	own "$DIR/data/server.key" "$DIR/data/server.crt"
	cp "$DIR/data/server.crt" "$DIR/server.crt"
	add_settings ssl=on
}

ready_or_dead() { # PID
	local lines
	mapfile -t lines 2>/dev/null <"$DIR/data/postmaster.pid" || true
	if [ "${lines[0]-}" = "$1" ]; then
		case ${lines[7]-} in ready* | standby*) return 0 ;; esac
	fi
	! main_pid >/dev/null
}

# Starts the server on the data directory that is there, or waits for the one that is starting.
launch() {
	local pid port cert=
	find_server "$(cat "$DIR/data/PG_VERSION")"
	pid=$(main_pid) || {
		wait_until 10 all_gone || kill_rest || true # those which a killed postmaster left
		# A killed one that nobody has reaped yet would count as running by it.
		rm -f "$DIR/data/postmaster.pid" "$DIR"/.s.PGSQL.*
		detach "$DIR/postmaster.log" env ${libs:+LD_LIBRARY_PATH="$libs"} "${as_user[@]}" "$bin/postgres" -D "$DIR/data"
		pid=$(cat "$DIR/pid")
	}
	wait_until "$start_timeout" ready_or_dead "$pid" || die 1 "PostgreSQL in $DIR is not ready after $start_timeout s"
	if ! main_pid >/dev/null; then
		show_log_end "$DIR/postmaster.log"
		[ ! -s "$DIR/log/postgresql.log" ] || show_log_end "$DIR/log/postgresql.log"
		die 1 "PostgreSQL in $DIR did not start"
	fi
	port=$(sed -n 4p "$DIR/data/postmaster.pid")
	[ ! -e "$DIR/server.crt" ] || cert=$DIR/server.crt
	local log=$DIR/log/postgresql.csv
	[ "$major" -lt 15 ] || log=$DIR/log/postgresql.json
	cat >"$DIR/env" <<-END
		host=127.0.0.1
		port=$port
		socket=$DIR
		user=postgres
		password=$(cat "$DIR/password")
		pid=$pid
		data=$DIR/data
		log=$log
		major=$major
	END
	[ -z "$cert" ] || echo "cert=$cert" >>"$DIR/env"
	cat "$DIR/env"
}

# Opens DIR to the server's user and makes the directory of its logs.
lay_out() { # PASSWORD
	[ ${#DIR} -le 90 ] || die 2 "$DIR is too long for the path of a unix socket (90 characters)"
	mkdir -p "$DIR/log"
	echo "$1" >"$DIR/password"
	own "$DIR"
	chmod 755 "$DIR" "$DIR/log"
}

start() {
	local major='' kind=full tls='' fresh='' password=${DBOBS_PG_PASSWORD:-postgres} port='' owner='' sets=()
	claim_dir "${1-}"
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--bare) kind=bare ;;
		--fresh) fresh=1 ;;
		--tls) tls=1 ;;
		--major | --set | --password | --port | --owner)
			[ $# -ge 2 ] || die 2 "$1 needs a value"
			case $1 in
			--set)
				[[ $2 == *=* ]] || die 2 "--set takes NAME=VALUE, not $2"
				sets+=("$2")
				;;
			*) printf -v "${1#--}" %s "$2" ;;
			esac
			shift
			;;
		*) die 2 "unknown option $1
$usage" ;;
		esac
		shift
	done
	watch_owner "$owner" "$here/postgres.sh"
	if [ ! -e "$DIR/password" ] || [ ! -e "$DIR/data/dbobs.conf" ]; then
		rm -rf "$DIR/data" # of a start that was broken off
		find_server "$major"
		lay_out "$password"
		new_data "$kind" "$password" "$fresh"
		{
			settings
			own_settings "${port:-$(free_port)}"
			[ -z "$tls" ] || make_certificate
		} >"$DIR/data/dbobs.part"
		own "$DIR/data/dbobs.part"
		mv "$DIR/data/dbobs.part" "$DIR/data/dbobs.conf"
	fi
	add_settings "${sets[@]}" >>"$DIR/data/dbobs.conf"
	launch
}

# A streaming replica. Not by pg_basebackup, which the npm builds lack and which refuses a newer server: by the
# backup functions and a copy, as the manual's "low-level API" does it.
standby() {
	local primary owner='' sets=() begin end data
	existing_dir "${2:-}"
	primary=$DIR
	claim_dir "${1-}"
	shift 2
	while [ $# -gt 0 ]; do
		case $1 in
		--set)
			[[ ${2-} == *=* ]] || die 2 "--set takes NAME=VALUE, not ${2-nothing}"
			sets+=("$2")
			;;
		--owner) owner=${2:-0} ;;
		*) die 2 "unknown option $1" ;;
		esac
		shift 2
	done
	[ ! -e "$DIR/data" ] || die 2 "$DIR is in use"
	watch_owner "$owner" "$here/postgres.sh"
	lay_out "$(cat "$primary/password")"
	data=$DIR/data
	begin="pg_backup_start('standby', true)" end="pg_backup_stop(false)"
	if [ "$(cat "$primary/data/PG_VERSION")" -lt 15 ]; then
		begin="pg_start_backup('standby', true, false)" end="pg_stop_backup(false, false)"
	fi
	# Files may go while they are copied: so cp's complaints are in the log and its status is not asked for.
	# shellcheck disable=SC2016 # the shell which psql starts expands it
	FROM=$primary/data TO=$data LOG=$DIR/copy.log "$here/postgres.sh" psql "$primary" -qAt -v ON_ERROR_STOP=1 \
		-c "select $begin" -c '\! cp -a --reflink=auto "$FROM" "$TO" 2>"$LOG"' \
		-c "select labelfile from $end" >"$DIR/backup_label" || die 1 "cannot copy the primary in $primary"
	sed -n '/^START WAL/,$p' "$DIR/backup_label" >"$data/backup_label"
	rm -f "$data/postmaster.pid" "$data/postmaster.opts" "$DIR/backup_label"
	rm -rf "$data"/pg_replslot/* "$data"/pg_dynshmem/* "$data"/pg_stat_tmp/*
	{
		own_settings "$(free_port)"
		echo "primary_conninfo = 'host=127.0.0.1 port=$(sed -n 's/^port=//p' "$primary/env") user=postgres" \
			"password=$(cat "$DIR/password") application_name=standby'"
		add_settings "${sets[@]}"
	} >>"$data/dbobs.conf"
	[ ! -e "$primary/server.crt" ] || cp "$primary/server.crt" "$DIR/server.crt"
	touch "$data/standby.signal"
	own "$data/standby.signal" "$data/backup_label"
	launch
}

stop() {
	local id
	case ${2-} in
	'')
		[ -n "${1-}" ] || die 2 "$usage"
		[ -e "$1/.dbobs-server" ] || exit 0
		existing_dir "${1-}"
		id=$(sed -n '7s/.* //p' "$DIR/data/postmaster.pid" 2>/dev/null) || true
		remove_dir
		[ -z "$id" ] || ipcrm -m "$id" 2>/dev/null || true # a killed server's, with which it tells its data is in use
		;;
	--keep)
		existing_dir "${1-}"
		end_server INT
		;;
	*) die 2 "unknown option $2" ;;
	esac
}

end_server() { # SIGNAL
	local pid
	if pid=$(main_pid); then
		signal_all CONT
		kill -s "$1" "$pid"
	fi
	wait_until 30 all_gone || wait_until 5 kill_rest || die 1 "cannot end the server in $DIR"
}

command=${1-}
shift || true
case $command in
start | standby | stop) "$command" "$@" ;;
restart)
	existing_dir "${1-}"
	case ${2-fast} in
	fast) end_server INT ;;
	immediate) end_server QUIT ;;
	smart) end_server TERM ;;
	*) die 2 "restart how? fast, immediate or smart, not $2" ;;
	esac
	launch
	;;
kill)
	existing_dir "${1-}"
	signal_all CONT
	kill -KILL "$(main_pid)" 2>/dev/null || die 1 "no server runs in $DIR"
	wait_until 5 all_gone || wait_until 5 kill_rest
	;;
pause)
	existing_dir "${1-}"
	pause_server
	;;
resume)
	existing_dir "${1-}"
	signal_all CONT
	;;
psql)
	existing_dir "${1-}"
	shift
	PGHOST=$DIR PGPORT=$(sed -n 's/^port=//p' "$DIR/env") PGUSER=postgres PGDATABASE=${PGDATABASE-postgres} \
		exec psql -X "$@"
	;;
*) die 2 "$usage" ;;
esac
