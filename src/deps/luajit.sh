# shellcheck shell=bash
# The OpenResty branch. LUAJIT_NO_UNWIND: external unwinding would need a symbol of libgcc_s that a static musl binary
# has not.
package=luajit licence=MIT

build() {
    make -C src amalg CC=cc HOST_CC=gcc BUILDMODE=static CFLAGS= LDFLAGS= \
        XCFLAGS="-DLUAJIT_NO_UNWIND -g1 -ffunction-sections" TARGET_LDFLAGS="${LDFLAGS:-}"
    cp src/libluajit.a "$out/lib/"
    cp src/{lua,luaconf,lualib,lauxlib,luajit}.h "$out/include/"
}
