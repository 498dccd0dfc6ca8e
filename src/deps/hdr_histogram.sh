# shellcheck shell=bash
# Redis carries it among its dependencies; Debian has no package of its own for the C library.
package=redis licence='BSD-2-Clause OR CC0-1.0'

build() {
    cd deps/hdr_histogram
    # Redis's own allocator is left out: this is the header that upstream has in its place.
    printf '%s\n' '#include <stdlib.h>' '#define hdr_malloc malloc' '#define hdr_calloc calloc' \
        '#define hdr_realloc realloc' '#define hdr_free free' >hdr_plain_malloc.h
    archive hdr_histogram -I. '-DHDR_MALLOC_INCLUDE="hdr_plain_malloc.h"' hdr_histogram.c
    mkdir -p "$out/include/hdr"
    cp hdr_histogram.h "$out/include/hdr/"
}
