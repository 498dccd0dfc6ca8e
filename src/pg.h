// A PostgreSQL connection on the loop: connecting, statements, cancel, notices. No Lua in it; nothing here blocks.
// struct pg is made by pg_connect and owned by the caller until pg_free; C work in flight keeps it alive behind that.
// Every function belongs on the loop's thread. Work that may block (name lookup, password files and commands) runs on
// the loop's workers. What can happen is a state or a result, never an exit.
#ifndef DBOBS_PG_H
#define DBOBS_PG_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "pg_socket.h"
#include "wakeup.h"
#include "workers.h"

struct pg_cancel;
struct pg_start;

enum pg_state {
    PG_CONNECTING,
    PG_READY,
    PG_LOST,   // `error` says why; only closing is left
    PG_CLOSED  // by pg_close
};

// A warning or notice of the server, as its fields; NULL where it had none.
struct pg_notice {
    struct pg_notice *next;
    char *severity, *sqlstate, *message, *detail, *hint;
};

struct pg {
    uv_loop_t *loop;
    enum pg_state state;
    struct wakeup wakeup;  // signalled whenever trying again is worth it
    PGconn *conn;          // NULL until the worker has made it
    char *error;           // PG_LOST: why, without any password
    char *sqlstate;        // PG_LOST: the server's code where it gave one, else NULL
    bool timed_out;        // PG_LOST while connecting, or the last statement: its deadline passed

    bool in_flight;      // statements were sent whose results have not all been taken
    bool pipeline;       // libpq is in pipeline mode
    unsigned syncs;      // sync points sent and not yet taken
    unsigned statement;  // of a pipeline: which one's results are being taken, from 1 on
    int chunk_rows;      // stream results in chunks of so many rows; 0: each result whole
    bool binary;         // results of queries with arguments come in binary form
    bool keep_notices;   // else they are dropped
    unsigned notice_count;
    struct pg_notice *notices, **last_notice;

    // The primitive's own.
    struct pg_socket socket;
    uv_timer_t timer;  // of connecting, then of each statement
    struct workers *workers;
    struct workers_job work;
    struct pg_start *start;    // while connecting
    struct pg_cancel *cancel;  // a cancel on its way
    bool working;              // a worker has `conn` and `start`
    bool untaken;              // input was read and nobody has looked since: read no more
    bool unsent;               // libpq has output that the socket did not take
    bool wants_room;           // somebody waits until the socket has taken it all
    bool eof;                  // the server is gone; what it said before may still be taken
    bool ended;                // the last take brought a statement's end
    bool waited;               // the last take had to wait: its deadline runs
    bool cancelling, freed, timer_closed;
};

struct pg_options {
    const char *const *keywords;  // libpq's, NULL at the end, with `values`
    const char *const *values;
    const char *password_command;  // a shell command that prints the password; NULL for none
    struct workers *workers;       // of the loop
    uint64_t timeout_ms;           // for each host (each of its addresses) that is tried, 0 for none
};

// Starts to connect; every string is copied. Never NULL. Wait for `wakeup` until state is no longer PG_CONNECTING.
struct pg *pg_connect(uv_loop_t *loop, const struct pg_options *options);
// Closes the connection and wakes who waits for it. A statement in flight is cancelled, in the background.
void pg_close(struct pg *pg);
// Closes and frees, now or when a worker gives it back.
void pg_free(struct pg *pg);

// Sending: 0, or -1 with the cause in PQerrorMessage(pg->conn). The connection must be ready and, outside of a
// pipeline, have no statement in flight. Values are texts, NULL for NULL. count -1 is the simple protocol: several
// statements may stand in one text.
int pg_send_query(struct pg *pg, const char *sql, int count, const char *const *values);
int pg_send_prepare(struct pg *pg, const char *name, const char *sql);
int pg_send_execute(struct pg *pg, const char *name, int count, const char *const *values);
int pg_send_deallocate(struct pg *pg, const char *name);
int pg_set_pipeline(struct pg *pg, bool on);
int pg_sync(struct pg *pg);

// COPY FROM STDIN, once its result PGRES_COPY_IN was taken: data in any pieces, then the end; a failure (may be NULL)
// makes the server undo it. 0, or -1 with the cause in PQerrorMessage. Between two pieces wait for room: false means
// that the wakeup will tell.
int pg_copy_put(struct pg *pg, const char *data, size_t len);
int pg_copy_end(struct pg *pg, const char *failure);
bool pg_copy_room(struct pg *pg);

enum pg_take {
    PG_TAKE_WAIT,    // nothing yet: wait for `wakeup`
    PG_TAKE_RESULT,  // *result is the caller's to PQclear
    PG_TAKE_END,     // the statement's results are complete (in a pipeline others may follow)
    PG_TAKE_LOST     // the connection is lost or closed
};
enum pg_take pg_take(struct pg *pg, PGresult **result);
// The same without what brings neither rows nor an error: ends, empty results, commands. For a pipeline, whose sync is
// its end.
enum pg_take pg_take_rows(struct pg *pg, PGresult **result);

// The next notification, the caller's to PQfreemem, or NULL: wait for `wakeup`.
PGnotify *pg_notification(struct pg *pg);
// The oldest notice that was kept, the caller's to pg_notice_free, or NULL.
struct pg_notice *pg_take_notice(struct pg *pg);
void pg_notice_free(struct pg_notice *notice);

// The statement in flight must have brought a result within so many milliseconds from now, else it is cancelled; when
// the server does not answer to that either, the connection is lost. 0 ends the deadline.
void pg_set_deadline(struct pg *pg, uint64_t ms);
// Asks the server to cancel the statement in flight; its result then tells.
void pg_cancel_statement(struct pg *pg);
// Whether the connection can still be used; looks at its socket.
bool pg_alive(struct pg *pg);

// Between the files of the primitive.
void pg_flush(struct pg *pg);
struct pg *pg_new(uv_loop_t *loop);
void pg_connect_ready(struct pg *pg);    // the socket is ready while connecting
void pg_connect_timeout(struct pg *pg);  // the timer fired while connecting
void pg_start_free(struct pg *pg);
void pg_connect_abandon(struct pg *pg);  // what a worker still does for it may stop
void pg_lose(struct pg *pg, const char *format, ...) __attribute__((format(printf, 2, 3)));
void pg_release(struct pg *pg);  // frees it if nothing holds it any more
void pg_connected(struct pg *pg);

// Sends a cancel for what `conn` does, by itself: it frees itself at its end, and tells `owner` (may be NULL) by
// clearing owner->cancel and signalling. NULL when it could not be started.
struct pg_cancel *pg_cancel_send(uv_loop_t *loop, PGconn *conn, struct pg *owner);
void pg_cancel_detach(struct pg_cancel *cancel);

#endif
