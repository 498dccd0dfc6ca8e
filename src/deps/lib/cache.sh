# shellcheck shell=bash
# Builds each dependency once and keeps it in the cache, in a folder named after the hash of everything that decides
# what comes out: its recipe, its lock entry, the toolchain, and the hashes of what it needs.
#
# A recipe src/deps/NAME.sh sets: package (Debian's source package), suite (default trixie), licence (SPDX), needs
# (names), toolchains ("musl glibc" by default; "any" for what no compiler touches), and defines build(), which runs
# in the unpacked sources and installs into $out. `cc` is the toolchain's compiler there; $CFLAGS and $LDFLAGS are set.

recipe_names() {
    local file
    for file in "$root"/src/deps/*.sh; do
        file=${file##*/}
        echo "${file%.sh}"
    done
}

load_recipe() {
    suite=trixie
    needs=
    toolchains="musl glibc"
    # shellcheck source=/dev/null
    . "$root/src/deps/$1.sh"
}

# Fills hash_of, folder_of, needs_of and order (each after what it needs) for one toolchain.
declare -A hash_of folder_of needs_of
order=()
resolve_deps() {
    local name
    order=()
    hash_of=() folder_of=() needs_of=()
    toolchain_key=$(toolchain_id "$1")
    for name in $(recipe_names); do
        resolve_dep "$1" "$name"
    done
}

resolve_dep() {
    local toolchain=$1 name=$2 key need own
    [ -z "${hash_of[$name]:-}" ] || return 0
    load_recipe "$name"
    case " $toolchains " in
        *" any "*) own=any key=$(declare -f lua_modules) ;;
        *" $toolchain "*) own=$toolchain key=$toolchain_key ;;
        *) return 0 ;;
    esac
    needs_of[$name]=$needs
    for need in ${needs_of[$name]}; do
        resolve_dep "$toolchain" "$need"
        key+=" ${hash_of[$need]}"
    done
    key+=$(cat "$root/src/deps/$name.sh"; locked "$name")
    hash_of[$name]=$(sha256sum <<<"$key" | cut -c1-16)
    folder_of[$name]=$cache/deps/$own/$name-${hash_of[$name]}
    order+=("$name")
}

# Builds what is missing. make schedules it: its jobserver is handed down into each dependency's own make, so that
# all cores stay busy through the single-threaded configure scripts.
build_deps() {
    local toolchain=$1 name need missing=() plan
    resolve_deps "$toolchain"
    for name in "${order[@]}"; do
        [ -d "${folder_of[$name]}" ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    # A second build waits, and then finds most or all of it done.
    exec 8>"$cache/$toolchain.lock"
    if ! flock -n 8; then
        say "another build of the $toolchain dependencies is under way: waiting for it"
        flock 8
        build_deps "$toolchain"
        return
    fi
    fetch_sources "${missing[@]}"
    plan=$(scratch plan)/Makefile
    {
        echo ".PHONY: all ${missing[*]}"
        echo "all: ${missing[*]}"
        for name in "${missing[@]}"; do
            printf '%s:' "$name"
            for need in ${needs_of[$name]}; do
                [ -d "${folder_of[$need]}" ] || printf ' %s' "$need"
            done
            printf '\n\t+@"%s/build.sh" build-one %s %s\n' "$root" "$toolchain" "$name"
        done
    } >"$plan"
    mkdir -p "$cache/logs"
    env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make --no-print-directory -j"$(nproc)" -f "$plan" ||
        die "a dependency did not build (see above)"
}

# build_one TOOLCHAIN NAME: into a temporary folder, moved into its place when complete.
build_one() {
    local toolchain=$1 name=$2 work log started=$SECONDS paths=() need code
    resolve_deps "$toolchain"
    log=$cache/logs/$toolchain-$name.log
    work=$(scratch work)
    for need in ${needs_of[$name]}; do
        paths+=("${folder_of[$need]}")
    done
    # Not as the condition of an "if": there bash ignores set -e, and a half-built library would be kept as complete.
    set +e
    (
        set -e
        unpack_source "$name" "$work/src"
        write_compiler_wrapper "$work" "$toolchain" "$name" "${paths[@]}"
        load_recipe "$name"
        out=$work/out
        mkdir -p "$out/include" "$out/lib"
        cd "$work/src"
        enter_build "$work" "$toolchain"
        build
    ) >"$log" 2>&1 </dev/null
    code=$?
    set -e
    if [ $code != 0 ]; then
        tail -40 "$log" >&2
        die "$name ($toolchain) did not build; the whole log is $log"
    fi
    mkdir -p "${folder_of[$name]%/*}"
    # Another build may have been quicker: theirs is as good, as the name is made of the content.
    mv -T "$work/out" "${folder_of[$name]}" 2>/dev/null || [ -d "${folder_of[$name]}" ]
    say "built $name ($toolchain) in $((SECONDS - started)) s"
}
