#!/usr/bin/env bash
# One pgbouncer in a directory, on a free loopback port, before a server of postgres.sh: start and stop. See README.md.
# As root it runs as user nobody (DBOBS_PG_USER names another), else as ourselves.
set -euo pipefail
# shellcheck source=tests/servers/lib.sh
. "$(dirname "$0")/lib.sh"

usage="usage: pgbouncer.sh start DIR --server PORT [--database NAME] [--set NAME=VALUE]... [--owner PID]
       pgbouncer.sh stop DIR"

settings() { # SERVERPORT DATABASE
	cat <<-END
		[databases]
		$2 = host=127.0.0.1 port=$1
		[pgbouncer]
		listen_addr = 127.0.0.1
		listen_port = $(free_port)
		unix_socket_dir =
		auth_type = scram-sha-256
		auth_file = $DIR/users
		admin_users = dbobs_monitor
		logfile = $DIR/log
	END
}

accepts_or_dead() { # PORT
	(: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null || ! main_pid >/dev/null
}

start() {
	local server='' database='*' owner='' sets=() as_user=() port
	claim_dir "${1-}"
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--server) server=${2-} ;;
		--database) database=${2-} ;;
		--set) sets+=("${2-}") ;;
		--owner) owner=${2:-0} ;;
		*) die 2 "unknown option $1
$usage" ;;
		esac
		shift 2
	done
	[ -n "$server" ] || die 2 "$usage"
	command -v pgbouncer >/dev/null || die 1 "pgbouncer is missing: apt-get install pgbouncer"
	watch_owner "$owner" "$here/pgbouncer.sh"
	mkdir -p "$DIR/data"
	{
		settings "$server" "$database"
		[ ${#sets[@]} = 0 ] || printf '%s\n' "${sets[@]}"
	} >"$DIR/pgbouncer.ini"
	printf '"%s" "%s"\n' dbobs_monitor monitor postgres postgres >"$DIR/users"
	port=$(sed -n 's/^listen_port = //p' "$DIR/pgbouncer.ini")
	if [ "$(id -u)" = 0 ]; then
		as_user=(-u "${DBOBS_PG_USER:-nobody}")
		chown -R "${DBOBS_PG_USER:-nobody}" "$DIR"
		chmod 755 "$DIR"
	fi
	detach "$DIR/stderr" pgbouncer -q "${as_user[@]}" "$DIR/pgbouncer.ini"
	wait_until "$start_timeout" accepts_or_dead "$port" || die 1 "pgbouncer in $DIR is not ready"
	if ! main_pid >/dev/null; then
		show_log_end "$DIR/stderr"
		[ ! -e "$DIR/log" ] || show_log_end "$DIR/log"
		die 1 "pgbouncer in $DIR did not start"
	fi
	printf 'host=127.0.0.1\nport=%s\nuser=postgres\npassword=postgres\n' "$port"
}

command=${1-}
shift || true
case $command in
start) start "$@" ;;
stop)
	[ -n "${1-}" ] || die 2 "$usage"
	[ -e "$1/.dbobs-server" ] || exit 0
	existing_dir "$1"
	remove_dir
	;;
*) die 2 "$usage" ;;
esac
