# shellcheck shell=bash
package=lua-luassert licence=MIT toolchains=any

build() {
    lua_modules src luassert
}
