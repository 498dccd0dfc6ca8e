# shellcheck shell=bash disable=SC2034
package=lua-mediator licence=MIT toolchains=any

build() {
    lua_modules src .
}
