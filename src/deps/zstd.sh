# shellcheck shell=bash
package=libzstd licence="BSD-3-Clause OR GPL-2.0-only"

build() {
    make -C lib libzstd.a
    cp lib/libzstd.a "$out/lib/"
    cp lib/zstd.h lib/zstd_errors.h lib/zdict.h "$out/include/"
}
