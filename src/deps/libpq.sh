# shellcheck shell=bash
# Only the client library. SYSCONFDIR is where Debian's pg_service.conf stands; the default socket folder comes from
# Debian's patches.
package=postgresql-17 licence=PostgreSQL needs=openssl

build() {
    ./configure --prefix=/usr --sysconfdir=/etc/postgresql-common --without-readline --without-icu --without-zlib \
        --without-gssapi --without-ldap --with-ssl=openssl CC=cc CFLAGS="$CFLAGS" LDFLAGS="$LDFLAGS"
    make -C src/backend generated-headers
    make -C src/common libpgcommon_shlib.a
    make -C src/port libpgport_shlib.a
    make -C src/interfaces/libpq libpq.a
    cp src/common/libpgcommon_shlib.a src/port/libpgport_shlib.a src/interfaces/libpq/libpq.a "$out/lib/"
    cp src/interfaces/libpq/libpq-{fe,events}.h src/include/postgres_ext.h src/include/pg_config_ext.h "$out/include/"
}
