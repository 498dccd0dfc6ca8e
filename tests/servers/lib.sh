# shellcheck shell=bash
# What postgres.sh and kafka.sh share: a server's directory, its port, its processes, its end. Sourced, never run.
#
# A server owns one directory, DIR. All its processes have DIR/data as their working directory and are found by that,
# so none escapes when a pid file is old, missing or half written. Only a directory with DIR/.dbobs-server is removed.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DBOBS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dbobs}/servers
# shellcheck disable=SC2034 # the sourcing scripts use it
start_timeout=${DBOBS_START_TIMEOUT:-180}

die() { # STATUS MESSAGE
	echo "${0##*/}: $2" >&2
	exit "$1"
}

# Runs a command until it succeeds, at most SECONDS long.
wait_until() { # SECONDS COMMAND...
	local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
		sleep 0.03
	done
}

# A port that nobody has, below the range which the kernel gives to outgoing connections: it stays free while its
# server is down.
free_port() {
	local port listening
	listening=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
	while port=$((15000 + SRANDOM % 17000)); do
		[[ $listening == *:$(printf %04X "$port")\ * ]] || break
	done
	echo "$port"
}

# Names the server's directory by its absolute path and sees that it may be used; makes it when it is new.
claim_dir() { # DIR
	local dir=$1
	[ -n "$dir" ] || die 2 "the server's directory is not given"
	if [ ! -e "$dir/.dbobs-server" ]; then
		[ -z "$(ls -A "$dir" 2>/dev/null)" ] || die 2 "$dir is not empty and no server's directory"
		{ mkdir -p "$dir" && touch "$dir/.dbobs-server"; } || die 1 "cannot make $dir"
	fi
	existing_dir "$dir"
}

existing_dir() { # DIR
	[ -e "$1/.dbobs-server" ] || die 2 "${1:-no directory given}: no server was started there"
	DIR=$(cd "$1" && pwd -P) # as /proc names it
}

# The processes of the server in DIR, the one that was started first first.
server_pids() {
	find /proc/[0-9]*/cwd -maxdepth 0 \( -lname "$DIR/data" -o -lname "$DIR/data/*" -o -lname "$DIR/data (deleted)" \) \
		2>/dev/null | cut -d/ -f3 | sort -n
}

signal_all() { # SIGNAL
	local pids
	mapfile -t pids < <(server_pids)
	[ ${#pids[@]} = 0 ] || kill -s "$1" "${pids[@]}" 2>/dev/null || true
}

all_gone() { [ -z "$(server_pids)" ]; }

kill_rest() {
	signal_all KILL
	all_gone
}

main_pid() { # prints the pid of the server's first process when it runs; a zombie does not
	local pid
	read -r pid 2>/dev/null <"$DIR/pid" && [ "$(readlink "/proc/$pid/cwd")" = "$DIR/data" ] && echo "$pid"
}

# Starts a command in DIR/data that outlives us: its own session, none of our file descriptors (a caller reading our
# output through a pipe would wait for it forever), its pid in DIR/pid.
detach() ( # LOG COMMAND...
	cd "$DIR/data" || exit 1
	exec </dev/null >>"$1" 2>&1
	shift
	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
	done
	setsid "$@" &
	echo $! >"$DIR/pid"
)

# Sees to it that the server ends and DIR goes when process OWNER ends, however it ends.
watch_owner() { # OWNER SCRIPT
	[ -n "$1" ] || return 0
	[ -e "/proc/$1/stat" ] || {
		[ -e "$DIR/data" ] || remove_dir
		die 2 "--owner $1: no such process"
	}
	setsid "$here/owner.sh" "$1" "$DIR" "$2" </dev/null >/dev/null 2>&1 9>&- &
}

pause_server() {
	[ -n "$(main_pid)" ] || die 1 "no server runs in $DIR"
	kill -STOP "$(main_pid)" # first the parent, that no child is born meanwhile
	signal_all STOP
}

remove_dir() {
	local try
	for try in 1 2 3 4 5; do
		wait_until 5 kill_rest || die 1 "cannot end the server's processes: $(server_pids | xargs)"
		rm -rf "$DIR" 2>/dev/null && return 0
		sleep "0.$try"
	done
	die 1 "cannot remove $DIR"
}

# Runs a command while no other session does so under the same name.
with_lock() { # NAME COMMAND...
	local name=$1 status=0
	shift
	mkdir -p "$cache" || die 1 "cannot make the cache $cache"
	exec 9>"$cache/.$name.lock"
	flock 9 || die 1 "cannot lock $cache/.$name.lock"
	"$@" || status=$?
	exec 9>&-
	return $status
}

show_log_end() { # FILE
	[ ! -s "$1" ] || tail -n 15 "$1" | sed 's/^/    /' >&2
}
