# shellcheck shell=bash
package=lua-term licence=MIT needs=luajit

build() {
    archive luaterm core.c
    lua_modules term term
}
