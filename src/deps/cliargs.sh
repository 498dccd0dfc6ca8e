# shellcheck shell=bash
package=lua-cliargs licence=MIT toolchains=any

build() {
    lua_modules src .
}
