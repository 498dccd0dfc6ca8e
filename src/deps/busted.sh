# shellcheck shell=bash
# The test framework that `dbobs test` runs, here and for users' own pipelines.
package=lua-busted licence=MIT toolchains=any

build() {
    lua_modules busted busted
}
