// COPY ... FROM STDIN over a connection: data goes out as the socket takes it. See pg.h.
#include "pg.h"

int pg_copy_put(struct pg *pg, const char *data, size_t len) {
    if (pg->state != PG_READY || pg->eof || PQputCopyData(pg->conn, data, (int)len) != 1) return -1;
    pg_flush(pg);
    return 0;
}

int pg_copy_end(struct pg *pg, const char *failure) {
    if (pg->state != PG_READY || pg->eof || PQputCopyEnd(pg->conn, failure) != 1) return -1;
    pg_flush(pg);
    return 0;
}

bool pg_copy_room(struct pg *pg) {
    pg->wants_room = pg->state == PG_READY && !pg->eof && pg->unsent;
    return !pg->wants_room;
}
