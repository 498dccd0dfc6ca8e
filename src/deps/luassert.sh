# shellcheck shell=bash disable=SC2034
package=lua-luassert licence=MIT toolchains=any

build() {
    lua_modules src luassert
}
