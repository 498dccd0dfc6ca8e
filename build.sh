#!/bin/bash
# Builds dbobs: installs the host packages, builds the pinned dependencies (once; they are cached), then the binary.
# `./build.sh help` lists the commands. Most people type `make`.
set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DBOBS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/dbobs}

# The only list of host packages; build, tests, CI and the container image share it. "package=command": a command that
# is there already, from wherever, is as good as the package.
packages_build="binutils bison=bison bzip2=bzip2 ca-certificates debian-archive-keyring flex=flex gcc git=git libc-bin
    libc6-dev linux-libc-dev make=make musl-tools patch=patch perl=perl protobuf-c-compiler xz-utils=xz"
packages_demo="postgresql postgresql-contrib procps=ps util-linux"
packages_up="$packages_demo default-jre-headless=java maven=mvn"
packages_test="$packages_up file=file npm=npm
    chromium=chromium pgbouncer=pgbouncer valgrind=valgrind kcat=kcat python3-jsonschema systemd=systemd-analyze
    clang=clang libclang-rt-14-dev"
packages_image="ca-certificates tzdata buildah=buildah docker-compose=docker-compose"
packages_bench="$packages_test kcat=kcat rsyslog=rsyslogd rsyslog-kafka sysbench=sysbench time=/usr/bin/time"
packages_lint="clang-format=clang-format cppcheck=cppcheck lua-check=luacheck shellcheck=shellcheck"

usage() {
    cat <<END
usage: ./build.sh [command]
  musl | glibc | sanitize    build everything (default: musl)
  fuzz                       build the fuzz targets, src/fuzz/*.c, into build/fuzz
  deps musl|glibc            build the dependencies only
  packages [GROUP]           print the Debian packages needed: build, demo, up, test, bench, image, lint, all
  install [GROUP]            install those that are missing (as root, or with sudo)
  update-deps                write src/deps/lock anew with the newest sources that Debian has
  reproducible               build the dependencies and the binary twice, in two places, and compare
Downloads and built dependencies are kept in $cache (set DBOBS_CACHE to change that).
END
}

say() { echo "build.sh: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# shellcheck source=src/deps/lib/toolchain.sh
. "$root/src/deps/lib/toolchain.sh"
# shellcheck source=src/deps/lib/fetch.sh
. "$root/src/deps/lib/fetch.sh"
# shellcheck source=src/deps/lib/cache.sh
. "$root/src/deps/lib/cache.sh"
# shellcheck source=src/deps/lib/output.sh
. "$root/src/deps/lib/output.sh"

package_group() {
    case $1 in
        build) echo "$packages_build" ;;
        demo) echo "$packages_demo" ;;
        up) echo "$packages_up" ;;
        test) echo "$packages_test" ;;
        bench) echo "$packages_bench" ;;
        image) echo "$packages_image" ;;
        lint) echo "$packages_lint" ;;
        all) echo "$packages_build $packages_test $packages_image $packages_lint" ;;
        *) die "unknown group of packages '$1': build, demo, up, test, bench, image, lint or all" ;;
    esac
}

print_packages() {
    local entry
    for entry in $(package_group "$1"); do
        echo "${entry%=*}"
    done | sort -u
}

missing_packages() {
    local entry entries installed
    entries=$(package_group "$1")
    # shellcheck disable=SC2046 # a list of names
    installed=$(dpkg-query -W -f '${db:Status-Status}:${Package}\n' $(print_packages "$1") 2>/dev/null || true)
    for entry in $entries; do
        case $entry in
            *=*) ! command -v "${entry#*=}" >/dev/null || continue ;;
        esac
        grep -qx "installed:${entry%=*}" <<<"$installed" || echo "${entry%=*}"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "cannot install packages: neither root nor sudo. Install by hand: ${missing[*]}"
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
}

# Debian's postgresql starts a server on port 5432 when it is installed, pgbouncer one on 6432, and rsyslog begins to
# log. Nobody asked for those: while the packages are being installed, a drop-in of postgresql's configuration says not
# to, and the policy for starting services, where there is none.
no_cluster=/etc/postgresql-common/createcluster.d/dbobs-build.conf
no_services=/usr/sbin/policy-rc.d

install_packages() {
    command -v dpkg-query >/dev/null || die "this installs Debian packages; elsewhere, install what './build.sh packages all' prints"
    mapfile -t missing < <(missing_packages "$1")
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    case " ${missing[*]} " in
        *" postgresql "*)
            hold_cluster=yes
            as_root mkdir -p "${no_cluster%/*}"
            echo "create_main_cluster = false" | as_root tee "$no_cluster" >/dev/null
            ;;
    esac
    case " ${missing[*]} " in
        *" pgbouncer "* | *" rsyslog "*)
            if [ ! -e "$no_services" ]; then
                hold_services=yes
                printf '#!/bin/sh\nexit 101\n' | as_root tee "$no_services" >/dev/null
                as_root chmod 755 "$no_services"
            fi
            ;;
    esac
    # The package index may never have been fetched, or be too old to be true.
    if ! apt_install >/dev/null 2>&1; then
        as_root apt-get update -q >&2
        apt_install >&2 || die "apt could not install ${missing[*]}"
    fi
}

# Scratch files and folders carry this process's number as their last part.
scratch() { mktemp -d "$cache/$1.XXXXXX.$$"; }

hold_cluster='' hold_services=''
clean_up() {
    rm -rf "$cache"/*."$$"
    [ -z "$hold_cluster" ] || as_root rm -f "$no_cluster"
    [ -z "$hold_services" ] || as_root rm -f "$no_services"
}

# The binary itself: make decides what is old.
build_binary() {
    local toolchain=$1
    mkdir -p "$root/build"
    # One at a time in one clone: two would write the same objects.
    exec 9>"$root/build/.$toolchain.lock"
    flock 9
    prepare_deps "$toolchain"
    make -C "$root" -f src/Makefile --no-print-directory -j"$(nproc)" TOOLCHAIN="$toolchain"
}

main() {
    mkdir -p "$cache"
    trap clean_up EXIT
    case ${1:-musl} in
        musl | glibc | sanitize | fuzz) build_binary "${1:-musl}" ;;
        deps) build_deps "$(deps_toolchain "${2:-musl}")" ;;
        build-one) build_one "$2" "$3" ;;
        packages) print_packages "${2:-build}" ;;
        install) install_packages "${2:-build}" ;;
        update-deps) update_lock ;;
        reproducible) check_reproducible ;;
        help | -h | --help) usage ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
}

main "$@"
