# shellcheck shell=bash
# TLS for PostgreSQL and Kafka, trimmed to what those two need. /etc/ssl is where hosts keep their certificates.
package=openssl licence=Apache-2.0

build() {
    # With -static there Configure would leave the locks out: several threads would corrupt the heap. The compiler
    # wrapper says -static where it is wanted.
    unset LDFLAGS
    # shellcheck disable=SC2086 # CFLAGS is a list
    ./Configure linux-x86_64 --prefix=/usr --libdir=lib --openssldir=/etc/ssl no-shared no-tests no-module no-dso \
        no-engine no-async no-docs no-apps no-legacy no-comp no-zlib no-quic no-ssl3 \
        no-dtls no-cms no-cmp no-ts no-srp no-gost no-sm2 no-sm3 no-sm4 no-aria no-camellia no-seed no-idea no-bf no-cast \
        no-md4 no-mdc2 no-whirlpool no-rmd160 no-rc2 no-rc4 no-ocb no-siv no-slh-dsa CC=cc $CFLAGS
    grep -q 'define OPENSSL_THREADS' include/openssl/configuration.h
    make build_sw
    make DESTDIR="$work/install" install_dev
    cp "$work"/install/usr/lib/lib{ssl,crypto}.a "$out/lib/"
    cp -r "$work/install/usr/include/openssl" "$out/include/"
}
