# shellcheck shell=bash disable=SC2034
package=lua-say licence=MIT toolchains=any

build() {
    lua_modules src/say say
}
