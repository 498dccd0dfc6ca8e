# shellcheck shell=bash
# Its own lz4 is used. SASL PLAIN, SCRAM and OAUTHBEARER need only OpenSSL and stay on; Cyrus SASL (Kerberos) is off.
package=librdkafka licence="BSD-2-Clause AND BSD-3-Clause AND MIT AND Zlib" needs="zlib zstd openssl"

# A partition of an idempotent producer waits for the answer to its request before it sends the next. Until then the
# broker's thread would poll without a pause, a whole core's worth, because the next batch is due already: it shall
# sleep, the answer wakes it.
sleep_while_in_flight() {
    sed -i -e '/^        if (unlikely(!may_send)) {$/i\        const rd_ts_t wakeup_before = *next_wakeup;' \
        -e '/Check if allowed to create and enqueue a ProduceRequest/,/return 0;/s/return 0;/return *next_wakeup = wakeup_before, 0;/' \
        src/rdkafka_broker.c
    [ "$(grep -c 'wakeup_before' src/rdkafka_broker.c)" = 2 ]
}

build() {
    sleep_while_in_flight
    # Nothing of the host's own libraries is to be found.
    export PKG_CONFIG_LIBDIR=/nonexistent
    # It asks for a C++ compiler, which the C library never uses.
    ./configure --prefix=/usr --cc=cc --cxx=cc --CFLAGS="$CFLAGS" --LDFLAGS="$LDFLAGS" --disable-gssapi --disable-sasl \
        --disable-curl --disable-lz4-ext --enable-static --enable-ssl --enable-zlib --enable-zstd --disable-syslog \
        --disable-debug-symbols --no-download
    grep -q '^#define WITH_SASL_SCRAM 1' config.h
    grep -q '^#define WITH_ZSTD 1' config.h
    # The list of features that the library prints names tools of the host as well, which may differ.
    sed -i '/^#define BUILT_WITH/s/ \(PKGCONFIG\|GXX\|CLANGXX\|CXX\|PYTHON\|LDS\)\b//g' config.h
    make -C src librdkafka.a
    mkdir -p "$out/include/librdkafka"
    cp src/librdkafka.a "$out/lib/"
    cp src/rdkafka.h src/rdkafka_mock.h "$out/include/librdkafka/"
}
