# shellcheck shell=bash disable=SC2034
package=lua-term licence=MIT needs=luajit

build() {
    archive luaterm core.c
    lua_modules term term
}
