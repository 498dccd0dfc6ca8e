// Asks the server to cancel a statement, over a connection of its own (encrypted as the first one is), without
// blocking. The object owns itself: it is freed when the server has closed that connection, or after a time.
#include <stdlib.h>

#include "buf.h"
#include "pg.h"

#define CANCEL_TIMEOUT_MS 5000

struct pg_cancel {
    PGcancelConn *conn;
    struct pg *owner;
    struct pg_socket socket;
    uv_timer_t timer;
};

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void finish(struct pg_cancel *cancel) {
    pg_socket_close(&cancel->socket);
    PQcancelFinish(cancel->conn);
    if (cancel->owner) {
        cancel->owner->cancel = NULL;
        wakeup_signal(&cancel->owner->wakeup);
    }
    uv_close((uv_handle_t *)&cancel->timer, on_closed);
}

static void on_timer(uv_timer_t *timer) {
    finish(timer->data);
}

static void watch(struct pg_cancel *cancel, PostgresPollingStatusType polled) {
    int events = polled == PGRES_POLLING_READING ? UV_READABLE : polled == PGRES_POLLING_WRITING ? UV_WRITABLE : 0;
    if (!events || pg_socket_watch(&cancel->socket, PQcancelSocket(cancel->conn), events)) finish(cancel);
}

static void on_socket(uv_poll_t *handle, int status, int events) {
    (void)status;
    (void)events;
    struct pg_cancel *cancel = handle->data;
    pg_socket_pause(&cancel->socket);
    watch(cancel, PQcancelPoll(cancel->conn));
}

struct pg_cancel *pg_cancel_send(uv_loop_t *loop, PGconn *conn, struct pg *owner) {
    PGcancelConn *request = PQcancelCreate(conn);
    if (!request || !PQcancelStart(request)) {
        if (request) PQcancelFinish(request);
        return NULL;
    }
    struct pg_cancel *cancel = xcalloc(1, sizeof *cancel);
    cancel->conn = request;
    cancel->owner = owner;
    cancel->socket = (struct pg_socket){.loop = loop, .callback = on_socket, .data = cancel};
    cancel->timer.data = cancel;
    uv_timer_init(loop, &cancel->timer);
    uv_update_time(loop);
    uv_timer_start(&cancel->timer, on_timer, CANCEL_TIMEOUT_MS, 0);
    if (pg_socket_watch(&cancel->socket, PQcancelSocket(request), UV_WRITABLE)) {
        cancel->owner = NULL;
        finish(cancel);
        return NULL;
    }
    return cancel;
}

void pg_cancel_detach(struct pg_cancel *cancel) {
    cancel->owner = NULL;
}
