// Connecting: the password command, PQconnectStartParams and each PQconnectPoll run on a worker: they look names up,
// read files, and compute what SCRAM and TLS ask for; between them the loop waits for the socket. Each address has its
// own time, as libpq's documentation says of connect_timeout: one that does not even accept is left to libpq's next
// one; one that accepts and then says nothing is struck off the list, and the rest is tried from the start.
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "buf.h"
#include "pg.h"
#include "pg_params.h"
#include "pg_password.h"

// Parameters that an attempt adds behind the given ones: password, host, hostaddr, port.
#define MAX_OVERRIDES 4

// The worker has all of it while pg->working, except `abandoned`.
struct pg_start {
    struct pg_params params;
    char *password_command;
    uint64_t timeout_ms;
    atomic_bool abandoned;
    bool begun;  // libpq has started; the next work is a poll
    PostgresPollingStatusType polled;
    char error[256];      // what failed before libpq was asked; "" when nothing did
    char address[320];    // the one that is being tried
    bool cut_off;         // an attempt was ended by its time
    struct buf failures;  // of hosts that were struck off, one a line
};

static void advance(struct pg *pg);

static void begin(struct pg *pg) {
    struct pg_start *start = pg->start;
    if (atomic_load(&start->abandoned)) return;
    if (start->password_command) {
        char *password = pg_password_run(start->password_command, start->timeout_ms, &start->abandoned, start->error,
                                         sizeof start->error);
        if (!password) return;
        pg_params_set(&start->params, "password", password);
        free(start->password_command);
        start->password_command = NULL;
        explicit_bzero(password, strlen(password));
        free(password);
    }
    pg->conn =
        PQconnectStartParams((const char *const *)start->params.keywords, (const char *const *)start->params.values, 0);
    start->polled = PGRES_POLLING_WRITING;
    // So that the server's refusal carries its SQLSTATE.
    PQsetErrorVerbosity(pg->conn, PQERRORS_VERBOSE);
}

static struct pg *pg_of(struct workers_job *job) {
    return (struct pg *)((char *)job - offsetof(struct pg, work));
}

static void on_work(struct workers_job *job) {
    struct pg *pg = pg_of(job);
    if (pg->start->begun) pg->start->polled = PQconnectPoll(pg->conn);
    else begin(pg);
}

static void on_worked(struct workers_job *job) {
    struct pg *pg = pg_of(job);
    pg->working = false;
    if (pg->state == PG_CONNECTING) {
        pg->start->begun = true;
        advance(pg);
        return;
    }
    PQfinish(pg->conn);
    pg->conn = NULL;
    pg_start_free(pg);
    pg_release(pg);
}

static void queue_work(struct pg *pg) {
    pg->working = true;
    pg->work = (struct workers_job){.work = on_work, .done = on_worked};
    if (workers_run(pg->workers, &pg->work) == 0) return;
    pg->working = false;
    pg_lose(pg, "cannot start a worker thread");
}

static void on_timer(uv_timer_t *timer) {
    pg_connect_timeout(timer->data);
}

static void start_timer(struct pg *pg) {
    uv_update_time(pg->loop);
    if (pg->start->timeout_ms) uv_timer_start(&pg->timer, on_timer, pg->start->timeout_ms, 0);
}

struct pg *pg_connect(uv_loop_t *loop, const struct pg_options *options) {
    struct pg *pg = pg_new(loop);
    pg->workers = options->workers;
    struct pg_start *start = pg->start = xcalloc(1, sizeof *start);
    pg_params_init(&start->params, options->keywords, options->values, MAX_OVERRIDES);
    if (options->password_command) start->password_command = xstrdup(options->password_command);
    start->timeout_ms = options->timeout_ms;
    start_timer(pg);
    queue_work(pg);
    return pg;
}

void pg_connect_abandon(struct pg *pg) {
    if (pg->start) atomic_store(&pg->start->abandoned, true);
}

void pg_start_free(struct pg *pg) {
    struct pg_start *start = pg->start;
    if (!start) return;
    pg_params_free(&start->params);
    free(start->password_command);
    buf_free(&start->failures);
    free(start);
    pg->start = NULL;
}

static const char *or_empty(const char *text) {
    return text ? text : "";
}

// What libpq says of the attempts, where the end of one by time reads as the reset that we made of it.
static void put_error(struct buf *text, const char *message, bool cut_off) {
    const char *reset = strerror(ECONNRESET);
    const char *at;
    while (cut_off && (at = strstr(message, reset))) {
        buf_put(text, message, (size_t)(at - message));
        buf_puts(text, "no answer within the connect timeout");
        message = at + strlen(reset);
    }
    buf_puts(text, message);
    buf_putc(text, '\0');
}

static void fail(struct pg *pg, const char *message) {
    struct buf text = {0};
    buf_put(&text, pg->start->failures.data, pg->start->failures.len);
    put_error(&text, message, pg->start->cut_off);
    if (pg->start->cut_off) pg->timed_out = true;
    pg_lose(pg, "%s", text.data);
    buf_free(&text);
}

// An address of its own has the whole time again.
static void note_address(struct pg *pg) {
    char address[sizeof pg->start->address];
    snprintf(address, sizeof address, "%s %s %s", or_empty(PQhost(pg->conn)), or_empty(PQhostaddr(pg->conn)),
             or_empty(PQport(pg->conn)));
    if (strcmp(address, pg->start->address) == 0) return;
    memcpy(pg->start->address, address, sizeof address);
    start_timer(pg);
}

// Goes on with what start->polled says.
static void advance(struct pg *pg) {
    struct pg_start *start = pg->start;
    if (start->error[0]) {
        fail(pg, start->error);
        return;
    }
    if (!pg->conn || PQstatus(pg->conn) == CONNECTION_BAD) start->polled = PGRES_POLLING_FAILED;
    if (start->polled == PGRES_POLLING_OK) {
        pg_start_free(pg);
        pg_connected(pg);
        return;
    }
    if (start->polled == PGRES_POLLING_FAILED) {
        fail(pg, pg->conn ? PQerrorMessage(pg->conn) : "out of memory");
        return;
    }
    note_address(pg);
    int events = start->polled == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE;
    int error = pg_socket_watch(&pg->socket, PQsocket(pg->conn), events);
    if (error) fail(pg, uv_strerror(error));
}

void pg_connect_ready(struct pg *pg) {
    pg_socket_pause(&pg->socket);
    queue_work(pg);
}

// Strikes the host that does not answer off the list and starts with the others. False when there is none.
static bool try_others(struct pg *pg) {
    struct pg_start *start = pg->start;
    if (!pg_params_strike_host(&start->params, pg->conn)) return false;
    buf_printf(&start->failures, "connection to server at \"%s\", port %s failed: no answer within %g s\n",
               or_empty(PQhost(pg->conn)), or_empty(PQport(pg->conn)), (double)start->timeout_ms / 1e3);
    pg_socket_close(&pg->socket);
    PQfinish(pg->conn);
    pg->conn = NULL;
    start->begun = false;
    start->address[0] = '\0';
    start_timer(pg);
    queue_work(pg);
    return true;
}

void pg_connect_timeout(struct pg *pg) {
    struct pg_start *start = pg->start;
    double seconds = (double)start->timeout_ms / 1e3;
    if (pg->working) {
        pg->timed_out = true;
        pg_lose(pg, "%sno answer within %g s while %s", start->failures.len ? "the last host: " : "", seconds,
                start->begun ? "looking a host name up" : "looking the host name up or running password_command");
        return;
    }
    // A socket that is still connecting: ended, it makes libpq try its next address, if there is one.
    if (PQstatus(pg->conn) == CONNECTION_STARTED && shutdown(PQsocket(pg->conn), SHUT_RDWR) == 0) {
        start->cut_off = true;
        start_timer(pg);
        return;
    }
    if (try_others(pg)) return;
    pg->timed_out = true;
    pg_lose(pg,
            "%.*sconnection to server at \"%s\", port %s failed: it accepts the connection, but has not answered "
            "within %g s",
            (int)start->failures.len, start->failures.data ? start->failures.data : "", or_empty(PQhost(pg->conn)),
            or_empty(PQport(pg->conn)), seconds);
}
