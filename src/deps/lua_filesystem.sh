# shellcheck shell=bash disable=SC2034
package=lua-filesystem licence=MIT needs=luajit

build() {
    archive lfs src/lfs.c
}
