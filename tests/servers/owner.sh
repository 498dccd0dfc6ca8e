#!/usr/bin/env bash
# Waits for the end of process OWNER, then stops the server in DIR and removes DIR. Started by `start --owner OWNER`.
# Ends by itself when DIR is gone or another watcher took over. usage: owner.sh OWNER DIR SCRIPT
set -u
owner=$1 dir=$2 script=$3

alive() { # sets born: a pid that is given to a later process has another start time
	local stat
	read -r stat 2>/dev/null <"/proc/$owner/stat" || return 1
	read -r -a stat <<<"${stat##*) }"
	born=${stat[19]}
	[ "${stat[0]}" != Z ] && [ "${stat[0]}" != X ]
}

born=
alive || exec "$script" stop "$dir"
first=$born
echo $$ >"$dir/watcher"
exec 3<> <(:) # nothing ever comes from it: read's time limit is a sleep without a process
while alive && [ "$born" = "$first" ]; do
	read -rt 0.3 -u 3 _
	read -r watcher 2>/dev/null <"$dir/watcher" && [ "$watcher" = $$ ] || exit 0
done
exec 3>&-
exec "$script" stop "$dir"
