# shellcheck shell=bash
package=protobuf-c licence=BSD-2-Clause

build() {
    archive protobuf-c -I. protobuf-c/protobuf-c.c
    mkdir -p "$out/include/protobuf-c"
    cp protobuf-c/protobuf-c.h "$out/include/protobuf-c/"
}
