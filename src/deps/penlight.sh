# shellcheck shell=bash
package=lua-penlight licence=MIT toolchains=any

build() {
    lua_modules lua/pl pl
}
