# shellcheck shell=bash
# The two C libraries the dependencies are built with: which compiler, which flags, and a compiler wrapper that keeps
# folder names of this machine out of what is built.

# Line tables only (-g1): enough for a backtrace through a dependency, at a third of the size of -g.
deps_cflags="-O2 -g1 -ffunction-sections -fdata-sections"

toolchain_cc() {
    case $1 in
        musl) echo musl-gcc ;;
        glibc) echo gcc ;;
        *) die "unknown toolchain '$1': musl or glibc" ;;
    esac
}

# The sanitizers watch our own code only, so that lane shares the glibc dependencies.
deps_toolchain() {
    case $1 in
        musl) echo musl ;;
        glibc | sanitize | fuzz) echo glibc ;;
        *) die "unknown toolchain '$1': musl, glibc, sanitize or fuzz" ;;
    esac
}

# What identifies a toolchain in a dependency's hash: a change in any of this builds all of them again.
toolchain_id() {
    echo "$1 $deps_cflags gcc $(gcc -dumpfullversion)"
    if [ "$1" = musl ]; then
        dpkg-query -W -f '${Package} ${Version}\n' musl-dev
    fi
    declare -f toolchain_cc write_compiler_wrapper enter_build archive lua_modules
}

# Writes WORK/bin/cc. The wrapper carries what must not be seen by the dependency's own build system, because some of
# them (OpenSSL, PostgreSQL) compile their command line into the library: paths, and therefore the path map itself.
write_compiler_wrapper() {
    local work=$1 toolchain=$2 name=$3
    shift 3
    local flags="-ffile-prefix-map=$work/src=/deps/$name" need
    for need in "$@"; do
        flags+=" -isystem $need/include -L$need/lib -ffile-prefix-map=$need=/deps"
    done
    if [ "$toolchain" = musl ]; then
        # musl has no kernel headers of its own; these come after everything else.
        mkdir -p "$work/kernel"
        ln -sfn /usr/include/linux "$work/kernel/linux"
        ln -sfn /usr/include/asm-generic "$work/kernel/asm-generic"
        ln -sfn "/usr/include/$(gcc -print-multiarch)/asm" "$work/kernel/asm"
        flags="-static $flags -idirafter $work/kernel"
    fi
    mkdir -p "$work/bin"
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$(toolchain_cc "$toolchain")" "$flags" >"$work/bin/cc"
    chmod +x "$work/bin/cc"
}

# The environment in which a recipe's build() runs.
enter_build() {
    local work=$1 toolchain=$2
    export PATH="$work/bin:$PATH" CC=cc CFLAGS=$deps_cflags LDFLAGS='' LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=1700000000
    [ "$toolchain" = glibc ] || export LDFLAGS=-static
}

# For recipes: archive NAME FLAGS... FILE.c...: compiles the files one by one into $out/lib/libNAME.a.
archive() {
    local library=$1 arg flags=() objects=()
    shift
    for arg in "$@"; do
        case $arg in
            *.c) ;;
            *) flags+=("$arg") ;;
        esac
    done
    for arg in "$@"; do
        case $arg in
            *.c)
                # shellcheck disable=SC2086 # CFLAGS is a list
                cc $CFLAGS "${flags[@]}" -c "$arg" -o "${arg//\//_}.o"
                objects+=("${arg//\//_}.o")
                ;;
        esac
    done
    ar rcsD "$out/lib/lib$library.a" "${objects[@]}"
}

# For recipes: lua_modules SOURCE_DIR TARGET: every Lua file below, kept with its path, becomes part of the binary.
lua_modules() {
    mkdir -p "$out/vendor/$2"
    (cd "$1" && find . -name '*.lua' -print0 | tar -cf - --null -T -) | tar -xf - --no-same-owner -C "$out/vendor/$2"
}
