# shellcheck shell=bash
package=lua-filesystem licence=MIT needs=luajit

build() {
    archive lfs src/lfs.c
}
