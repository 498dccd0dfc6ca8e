# shellcheck shell=bash
# The two C libraries the dependencies are built with: which compiler, which flags, and a compiler wrapper that keeps
# folder names of this machine out of what is built. A change here rebuilds every dependency.

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
        glibc | sanitize) echo glibc ;;
        *) die "unknown toolchain '$1': musl, glibc or sanitize" ;;
    esac
}

# What identifies a toolchain in a dependency's hash.
toolchain_id() {
    echo "$1 $deps_cflags gcc $(gcc -dumpfullversion)"
    if [ "$1" = musl ]; then
        dpkg-query -W -f '${Package} ${Version}\n' musl-dev
    fi
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
