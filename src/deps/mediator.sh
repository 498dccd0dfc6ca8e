# shellcheck shell=bash
package=lua-mediator licence=MIT toolchains=any

build() {
    lua_modules src .
}
