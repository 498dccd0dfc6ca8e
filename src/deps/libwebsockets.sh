# shellcheck shell=bash
# The HTTP server alone: no TLS, client, WebSocket, HTTP/2 or plugins. Compiled without its cmake build, which would only
# add a large host package to choose these files and to write these two headers.
package=libwebsockets licence="MIT AND BSD-3-Clause AND Zlib" needs=libuv

# What cmake finds on Linux with these options, as far as both C libraries have it.
configure() {
    local name
    {
        echo '#define LWS_INSTALL_DATADIR "/usr/share"'
        echo '#define LWS_INSTALL_LIBDIR "/usr/lib"'
        echo '#define LWS_LIBRARY_VERSION_MAJOR 4'
        echo '#define LWS_LIBRARY_VERSION_MINOR 3'
        echo '#define LWS_LIBRARY_VERSION_PATCH 5'
        echo '#define LWS_LIBRARY_VERSION_PATCH_ELABORATED 5'
        echo '#define LWS_LIBRARY_VERSION_NUMBER 4003005'
        echo '#define LWS_LIBRARY_VERSION "4.3.5"'
        echo '#define LWS_BUILD_HASH "debian"'
        echo '#define LWS_MAX_SMP 1'
        echo '#define LWS_LOGGING_BITFIELD_CLEAR 0'
        echo '#define LWS_LOGGING_BITFIELD_SET 0'
        for name in AVOID_SIGPIPE_IGN HAS_INTPTR_T HAS_GETOPT_LONG HAVE_ATOLL HAVE_CLOCK_GETTIME HAVE_EXECVPE \
            HAVE_LOCALTIME_R HAVE_GMTIME_R HAVE_CTIME_R HAVE_GETGRGID_R HAVE_GETGRNAM_R HAVE_GETPWUID_R HAVE_GETPWNAM_R \
            HAVE_MALLOC_H HAVE_NEW_UV_VERSION_H HAVE_PIPE2 HAVE_EVENTFD HAVE_PTHREAD_H HAVE_STDINT_H HAVE_TIMEGM \
            HAVE_SUSECONDS_T HAVE_VFORK NO_CLIENT NO_DAEMONIZE PLAT_UNIX ROLE_H1 ROLE_RAW SUPPRESS_DEPRECATED_API_WARNINGS \
            WITH_IPV6 WITH_LIBUV WITH_NETWORK WITHOUT_EXTENSIONS WITH_SERVER WITH_POLL WITH_SYS_STATE WITH_UNIX_SOCK \
            WITH_EVENT_LIBS; do
            echo "#define LWS_$name"
        done
    } >lws_config.h
    {
        for name in FORK GETENV MALLOC MEMORY_H NETINET_IN_H STDINT_H STDLIB_H STRERROR STRINGS_H STRING_H SYS_PRCTL_H \
            SYS_RESOURCE_H SYS_SOCKET_H SYS_STAT_H SYS_TYPES_H UNISTD_H TCP_USER_TIMEOUT VFORK EXECVPE GETIFADDRS \
            INTTYPES_H; do
            echo "#define LWS_HAVE_$name"
        done
        echo '#include "lws_config.h"'
    } >lws_config_private.h
}

# It forgets the descriptor by which it wakes itself instead of closing it.
keep_the_wakeup() {
    sed -i '/if (pt->dummy_pipe_fds\[0\] == wsi->desc.sockfd)/,+1d' lib/core-net/close.c
    ! grep -q dummy_pipe_fds lib/core-net/close.c
}

build() {
    configure
    keep_the_wakeup
    local dir include=() core=(alloc buflist context libwebsockets logs lws_dll2 lws_map) \
        net=(adopt close dummy-callback network output pollfd service sorted-usec-list state vhost wsi wsi-timeout) \
        unix=(caps fds init misc pipe service sockets) \
        others=(misc/base64-decode misc/lws-ring misc/prng misc/sha-1 misc/cache-ttl/heap misc/cache-ttl/lws-cache-ttl
            system/system roles/pipe/ops-pipe roles/h1/ops-h1 roles/raw-skt/ops-raw-skt roles/listen/ops-listen
            roles/http/date roles/http/header roles/http/parsers roles/http/server/server
            event-libs/poll/poll event-libs/libuv/libuv)
    for dir in . plat/unix core core-net misc system/async-dns system/metrics roles roles/http roles/http/compression \
        roles/h1 roles/raw-skt roles/listen event-libs event-libs/poll event-libs/libuv; do
        include+=("-Ilib/$dir")
    done
    core=("${core[@]/#/core/}")
    net=("${net[@]/#/core-net/}")
    unix=("${unix[@]/#/plat/unix/unix-}")
    others+=("${core[@]}" "${net[@]}" "${unix[@]}")
    others=("${others[@]/#/lib/}")
    archive websockets -DLWS_BUILDING_STATIC -D_GNU_SOURCE -I. -Iinclude "${include[@]}" "${others[@]/%/.c}"
    cp -r include/libwebsockets.h include/libwebsockets lws_config.h "$out/include/"
}
