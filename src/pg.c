// A PostgreSQL connection: its life, statements, results and notices. Connecting is in pg_connect.c, cancel in
// pg_cancel.c. libpq is only used non-blocking here. The socket stays watched for the connection's life; the callback
// reads and parses, and pauses only when what it read before has not been looked at, so that memory stays bounded.
// Freed when its owner, its timer and its worker have all let go of it.
#include "pg.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "loop_event.h"

// How long the server may take to answer a cancel before the connection is given up.
#define CANCEL_GRACE_MS 5000
// Notices that are kept until somebody takes them; the oldest goes first.
#define MAX_NOTICES 1000

static void watch(struct pg *pg, bool reading) {
    if (pg->eof || pg->state != PG_READY) return;
    pg_socket_watch(&pg->socket, PQsocket(pg->conn), (reading ? UV_READABLE : 0) | (pg->unsent ? UV_WRITABLE : 0));
}

// The server is gone. What it sent before can still be taken; the socket is not to be watched, or it would fire for
// ever.
static void set_eof(struct pg *pg) {
    pg->eof = true;
    PQisBusy(pg->conn);  // parses: on an idle connection the server's farewell comes as a notice
    pg_socket_close(&pg->socket);
    wakeup_signal(&pg->wakeup);
}

static void flush(struct pg *pg) {
    int flushed = PQflush(pg->conn);
    pg->unsent = flushed > 0;
    if (flushed < 0) set_eof(pg);
}

static void on_socket(uv_poll_t *handle, int status, int events) {
    struct pg *pg = handle->data;
    if (pg->state == PG_CONNECTING) {
        pg_connect_ready(pg);
        return;
    }
    if (events & UV_WRITABLE) {
        flush(pg);
        watch(pg, pg->socket.events & UV_READABLE);
        if (pg->wants_room && !pg->unsent) {
            pg->wants_room = false;
            wakeup_signal(&pg->wakeup);
        }
    }
    if (pg->eof || (status == 0 && !(events & UV_READABLE))) return;
    if (pg->untaken) {
        watch(pg, false);
        return;
    }
    if (!PQconsumeInput(pg->conn)) set_eof(pg);
    // Half a result is nobody's business yet. This also parses, which may call on_notice.
    if (pg->in_flight && !pg->eof && PQisBusy(pg->conn)) return;
    pg->untaken = true;
    wakeup_signal(&pg->wakeup);
    loop_event_over(pg->loop);
}

static void on_timer(uv_timer_t *timer) {
    struct pg *pg = timer->data;
    if (pg->state == PG_CONNECTING) {
        pg_connect_timeout(pg);
    } else if (pg->in_flight && !pg->cancelling) {
        pg->timed_out = true;
        pg_cancel_statement(pg);
    } else if (pg->in_flight) {
        pg_lose(pg, "the server answers neither the statement nor the request to cancel it");
    }
}

static char *copy_field(const PGresult *result, int field) {
    const char *text = PQresultErrorField(result, field);
    return text ? xstrdup(text) : NULL;
}

static void on_notice(void *data, const PGresult *result) {
    struct pg *pg = data;
    // On an idle connection that is the server's farewell: why it ends the connection.
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (severity && strcmp(severity, "FATAL") == 0 && !pg->error) {
        pg->sqlstate = copy_field(result, PG_DIAG_SQLSTATE);
        pg->error = copy_field(result, PG_DIAG_MESSAGE_PRIMARY);
    }
    if (!pg->keep_notices) return;
    if (pg->notice_count >= MAX_NOTICES) pg_notice_free(pg_take_notice(pg));
    struct pg_notice *notice = xcalloc(1, sizeof *notice);
    notice->severity = copy_field(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    notice->sqlstate = copy_field(result, PG_DIAG_SQLSTATE);
    notice->message = copy_field(result, PG_DIAG_MESSAGE_PRIMARY);
    notice->detail = copy_field(result, PG_DIAG_MESSAGE_DETAIL);
    notice->hint = copy_field(result, PG_DIAG_MESSAGE_HINT);
    *(pg->notices ? pg->last_notice : &pg->notices) = notice;
    pg->last_notice = &notice->next;
    pg->notice_count++;
}

void pg_flush(struct pg *pg) {
    flush(pg);
    watch(pg, !pg->untaken);
}

struct pg *pg_new(uv_loop_t *loop) {
    struct pg *pg = xcalloc(1, sizeof *pg);
    pg->loop = loop;
    pg->socket = (struct pg_socket){.loop = loop, .callback = on_socket, .data = pg};
    pg->timer.data = pg;
    uv_timer_init(loop, &pg->timer);
    return pg;
}

void pg_connected(struct pg *pg) {
    pg->state = PG_READY;
    pg->timed_out = false;
    uv_timer_stop(&pg->timer);
    PQsetnonblocking(pg->conn, 1);
    PQsetErrorVerbosity(pg->conn, PQERRORS_DEFAULT);
    PQsetNoticeReceiver(pg->conn, on_notice, pg);
    watch(pg, true);
    wakeup_signal(&pg->wakeup);
}

static void let_go(struct pg *pg) {
    pg_socket_close(&pg->socket);
    if (!uv_is_closing((uv_handle_t *)&pg->timer)) uv_timer_stop(&pg->timer);
    if (pg->cancel) pg_cancel_detach(pg->cancel);
    pg->cancel = NULL;
    pg->in_flight = false;
    pg_connect_abandon(pg);
    if (pg->working) return;  // the worker's end does the rest
    PQfinish(pg->conn);
    pg->conn = NULL;
    if (pg->start) pg_start_free(pg);
}

void pg_lose(struct pg *pg, const char *format, ...) {
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t len = strlen(text);
    while (len && (text[len - 1] == '\n' || text[len - 1] == ' ')) text[--len] = '\0';
    pg->state = PG_LOST;
    free(pg->error);
    pg->error = xstrdup(text);
    let_go(pg);
    wakeup_signal(&pg->wakeup);
}

void pg_close(struct pg *pg) {
    if (pg->state == PG_CLOSED) return;
    bool running = pg->state == PG_READY && pg->in_flight && !pg->eof && !pg->cancel;
    if (running) pg_cancel_send(pg->loop, pg->conn, NULL);
    pg->state = PG_CLOSED;
    let_go(pg);
    wakeup_signal(&pg->wakeup);
}

void pg_release(struct pg *pg) {
    if (!pg->freed || !pg->timer_closed || pg->working) return;
    let_go(pg);
    struct pg_notice *notice;
    while ((notice = pg_take_notice(pg))) pg_notice_free(notice);
    free(pg->error);
    free(pg->sqlstate);
    free(pg);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct pg *pg = handle->data;
    pg->timer_closed = true;
    pg_release(pg);
}

void pg_free(struct pg *pg) {
    pg_close(pg);
    pg->freed = true;
    uv_close((uv_handle_t *)&pg->timer, on_timer_closed);
}

static enum pg_take lose_with(struct pg *pg, const PGresult *result) {
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (sqlstate && !pg->sqlstate) pg->sqlstate = xstrdup(sqlstate);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (!message) message = pg->error;  // the farewell on an idle connection
    if (!message) message = result ? PQresultErrorMessage(result) : PQerrorMessage(pg->conn);
    pg_lose(pg, "%s", message);
    return PG_TAKE_LOST;
}

static int sent(struct pg *pg, int ok) {
    if (!ok && pg->eof) lose_with(pg, NULL);
    if (!ok) return -1;
    if (!pg->in_flight) pg->timed_out = pg->cancelling = pg->waited = false;
    pg->in_flight = true;
    if (!pg->pipeline && pg->chunk_rows) PQsetChunkedRowsMode(pg->conn, pg->chunk_rows);
    if (!pg->pipeline || pg->syncs) flush(pg);
    watch(pg, !pg->untaken);
    return 0;
}

int pg_send_query(struct pg *pg, const char *sql, int count, const char *const *values) {
    if (count < 0 && !pg->pipeline) return sent(pg, PQsendQuery(pg->conn, sql));
    return sent(pg, PQsendQueryParams(pg->conn, sql, count < 0 ? 0 : count, NULL, values, NULL, NULL, pg->binary));
}

int pg_send_prepare(struct pg *pg, const char *name, const char *sql) {
    return sent(pg, PQsendPrepare(pg->conn, name, sql, 0, NULL));
}

int pg_send_execute(struct pg *pg, const char *name, int count, const char *const *values) {
    return sent(pg, PQsendQueryPrepared(pg->conn, name, count, values, NULL, NULL, 0));
}

int pg_send_deallocate(struct pg *pg, const char *name) {
    return sent(pg, PQsendClosePrepared(pg->conn, name));
}

int pg_set_pipeline(struct pg *pg, bool on) {
    if (on == pg->pipeline) return 0;
    if (!(on ? PQenterPipelineMode(pg->conn) : PQexitPipelineMode(pg->conn))) return -1;
    pg->pipeline = on;
    pg->statement = 1;
    return 0;
}

int pg_sync(struct pg *pg) {
    pg->syncs++;
    if (sent(pg, PQpipelineSync(pg->conn)) == 0) {
        // The first statement is being processed already; the others are put into this mode as their turn comes.
        if (pg->chunk_rows) PQsetChunkedRowsMode(pg->conn, pg->chunk_rows);
        return 0;
    }
    pg->syncs--;
    return -1;
}

// A result of a connection whose server is gone: what it sent before, then the error that ends the connection. Every
// statement has a result, so the second end in a row means that there is nothing more.
static enum pg_take take_rest(struct pg *pg, PGresult **result) {
    if (!pg->in_flight) return lose_with(pg, NULL);
    PGresult *next = PQgetResult(pg->conn);
    if (!next && pg->ended) return lose_with(pg, NULL);
    pg->ended = !next;
    if (!next) {
        pg->in_flight = pg->pipeline;
        pg->statement++;
        return PG_TAKE_END;
    }
    const char *severity = PQresultErrorField(next, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (PQresultStatus(next) == PGRES_FATAL_ERROR && (!severity || strcmp(severity, "ERROR") != 0)) {
        enum pg_take lost = lose_with(pg, next);
        PQclear(next);
        return lost;
    }
    *result = next;
    return PG_TAKE_RESULT;
}

enum pg_take pg_take(struct pg *pg, PGresult **result) {
    *result = NULL;
    if (pg->state != PG_READY) return PG_TAKE_LOST;
    pg->untaken = false;
    if (pg->eof) return take_rest(pg, result);
    if (!pg->in_flight) return PG_TAKE_END;
    if (PQisBusy(pg->conn)) {
        watch(pg, true);
        return PG_TAKE_WAIT;
    }
    // A cancel that is still on its way could hit the next statement.
    if (pg->cancel) return PG_TAKE_WAIT;
    pg->waited = false;
    *result = PQgetResult(pg->conn);
    pg->ended = !*result;
    if (*result && PQresultStatus(*result) == PGRES_PIPELINE_SYNC) {
        pg->syncs--;
        pg->in_flight = pg->syncs > 0;
    } else if (!*result) {
        pg->statement++;
        pg->in_flight = pg->pipeline;
    }
    if (!pg->in_flight) uv_timer_stop(&pg->timer);
    // libpq has moved on to the pipeline's next statement, if there is one.
    if (pg->pipeline && pg->chunk_rows) PQsetChunkedRowsMode(pg->conn, pg->chunk_rows);
    return *result ? PG_TAKE_RESULT : PG_TAKE_END;
}

enum pg_take pg_take_rows(struct pg *pg, PGresult **result) {
    while (true) {
        enum pg_take taken = pg_take(pg, result);
        if (taken == PG_TAKE_END && pg->in_flight) continue;
        if (taken != PG_TAKE_RESULT) return taken;
        switch (PQresultStatus(*result)) {
        case PGRES_TUPLES_OK:
        case PGRES_TUPLES_CHUNK:
            if (PQntuples(*result) > 0) return taken;
            break;
        case PGRES_COMMAND_OK:
        case PGRES_EMPTY_QUERY:
        case PGRES_PIPELINE_ABORTED:
            break;
        default:
            return taken;
        }
        PQclear(*result);
        *result = NULL;
    }
}

PGnotify *pg_notification(struct pg *pg) {
    if (pg->state != PG_READY) return NULL;
    pg->untaken = false;
    PGnotify *notification = PQnotifies(pg->conn);
    if (notification) return notification;
    if (pg->eof) lose_with(pg, NULL);
    watch(pg, true);
    return NULL;
}

bool pg_alive(struct pg *pg) {
    if (pg->state != PG_READY) return false;
    if (!pg->in_flight && !pg->eof) {
        pg->untaken = false;
        if (!PQconsumeInput(pg->conn)) set_eof(pg);
        else PQisBusy(pg->conn);
        watch(pg, true);
    }
    return !pg->eof && PQstatus(pg->conn) == CONNECTION_OK;
}

void pg_set_deadline(struct pg *pg, uint64_t ms) {
    // Once a cancel is asked for, its own time counts.
    if (pg->state != PG_READY || (pg->cancelling && pg->in_flight)) return;
    if (ms == 0) {
        uv_timer_stop(&pg->timer);
        return;
    }
    uv_update_time(pg->loop);
    uv_timer_start(&pg->timer, on_timer, ms, 0);
}

void pg_cancel_statement(struct pg *pg) {
    if (pg->state != PG_READY || !pg->in_flight || pg->cancelling) return;
    pg->cancel = pg_cancel_send(pg->loop, pg->conn, pg);
    pg_set_deadline(pg, CANCEL_GRACE_MS);
    pg->cancelling = true;
}

struct pg_notice *pg_take_notice(struct pg *pg) {
    struct pg_notice *notice = pg->notices;
    if (!notice) return NULL;
    pg->notices = notice->next;
    pg->notice_count--;
    return notice;
}

void pg_notice_free(struct pg_notice *notice) {
    free(notice->severity);
    free(notice->sqlstate);
    free(notice->message);
    free(notice->detail);
    free(notice->hint);
    free(notice);
}
