# shellcheck shell=bash disable=SC2034
package=lua-penlight licence=MIT toolchains=any

build() {
    lua_modules lua/pl pl
}
