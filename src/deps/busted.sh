# shellcheck shell=bash disable=SC2034
# The test framework that `dbobs test` runs, here and for users' own pipelines.
package=lua-busted licence=MIT toolchains=any

build() {
    lua_modules busted busted
}
