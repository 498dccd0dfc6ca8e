# shellcheck shell=bash
# musl's own allocator costs librdkafka 40 % more CPU. Version 2.0: 3.0 of trixie is a beta. Without __USE_ISOC11
# aligned_alloc would stay musl's, and free() would crash on what it gives.
package=mimalloc suite=bookworm licence=MIT toolchains=musl

build() {
    archive mimalloc -Iinclude -std=gnu11 -DNDEBUG -DMI_MALLOC_OVERRIDE -DMI_STATIC_LIB -D__USE_ISOC11=1 \
        -ftls-model=initial-exec -fno-builtin-malloc src/static.c
    cp include/mimalloc.h "$out/include/"
}
