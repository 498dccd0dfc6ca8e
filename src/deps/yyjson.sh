# shellcheck shell=bash
package=yyjson licence=MIT

build() {
    archive yyjson -O3 -Isrc src/yyjson.c
    cp src/yyjson.h "$out/include/"
}
