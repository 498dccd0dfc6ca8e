# shellcheck shell=bash
package=zlib licence=Zlib

build() {
    ./configure --static --prefix="$out"
    make libz.a
    cp libz.a "$out/lib/"
    cp zlib.h zconf.h "$out/include/"
}
