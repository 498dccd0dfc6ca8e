# shellcheck shell=bash
package=lua-say licence=MIT toolchains=any

build() {
    lua_modules src/say say
}
