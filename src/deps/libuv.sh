# shellcheck shell=bash
# Compiled without its cmake build, which would only add a large host package to choose these files.
package=libuv1 licence="MIT AND ISC AND BSD-2-Clause AND BSD-3-Clause"

build() {
    local unix=(async core dl fs getaddrinfo getnameinfo linux loop-watcher loop pipe poll process procfs-exepath
        proctitle random-devurandom random-getrandom random-sysctl-linux signal stream tcp thread tty udp)
    unix=("${unix[@]/#/src/unix/}")
    unix=("${unix[@]/%/.c}")
    archive uv -Iinclude -Isrc -D_FILE_OFFSET_BITS=64 -D_LARGEFILE_SOURCE -D_GNU_SOURCE -fno-strict-aliasing \
        src/*.c "${unix[@]}"
    cp -r include/. "$out/include/"
}
