// A question over TCP. libuv holds the handle until it is closed, so the memory goes with that.
#include "ask.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"

struct ask {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct buf question, answer;
    size_t limit;
    int code;  // libuv's error; UV_EOF when all is there
    struct wakeup ended;
};

static void finish(struct ask *ask, int code) {
    ask->code = code;
    uv_read_stop((uv_stream_t *)&ask->tcp);
    wakeup_signal(&ask->ended);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *room) {
    struct ask *ask = handle->data;
    (void)suggested;
    buf_reserve(&ask->answer, 4096);
    *room = uv_buf_init(ask->answer.data + ask->answer.len, (unsigned)(ask->answer.cap - ask->answer.len));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *room) {
    struct ask *ask = stream->data;
    (void)room;
    if (got < 0) {
        finish(ask, (int)got);
        return;
    }
    ask->answer.len += (size_t)got;
    if (ask->answer.len > ask->limit) finish(ask, UV_E2BIG);
}

static void on_written(uv_write_t *write, int status) {
    struct ask *ask = write->data;
    if (status < 0 && !ask->code) finish(ask, status);
}

static void on_connected(uv_connect_t *connect, int status) {
    struct ask *ask = connect->data;
    uv_buf_t text = uv_buf_init(ask->question.data, (unsigned)ask->question.len);
    if (status >= 0) status = uv_write(&ask->write, (uv_stream_t *)&ask->tcp, &text, 1, on_written);
    if (status >= 0) status = uv_read_start((uv_stream_t *)&ask->tcp, on_room, on_read);
    if (status < 0) finish(ask, status);
}

static void on_closed(uv_handle_t *handle) {
    struct ask *ask = handle->data;
    buf_free(&ask->question);
    buf_free(&ask->answer);
    free(ask);
}

struct ask *ask_new(uv_loop_t *loop, const char *address, int port, const char *text, size_t len, size_t limit,
                    char *error, size_t size) {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } name = {0};
    if (uv_ip4_addr(address, port, &name.in) && uv_ip6_addr(address, port, &name.in6)) {
        snprintf(error, size, "'%s' is no IPv4 or IPv6 address", address);
        return NULL;
    }
    struct ask *ask = xcalloc(1, sizeof *ask);
    ask->limit = limit;
    ask->tcp.data = ask->connect.data = ask->write.data = ask;
    buf_put(&ask->question, text, len);
    uv_tcp_init(loop, &ask->tcp);
    int code = uv_tcp_connect(&ask->connect, &ask->tcp, &name.any, on_connected);
    if (!code) return ask;
    snprintf(error, size, "%s", uv_strerror(code));
    ask_close(ask);
    return NULL;
}

void ask_close(struct ask *ask) {
    ask->code = ask->code ? ask->code : UV_ECANCELED;
    uv_close((uv_handle_t *)&ask->tcp, on_closed);
}

struct wakeup *ask_ended(struct ask *ask) {
    return &ask->ended;
}

int ask_answer(const struct ask *ask, const char **text, size_t *len) {
    if (!ask->code) return 0;
    *text = ask->code == UV_EOF ? ask->answer.data : uv_strerror(ask->code);
    *len = ask->code == UV_EOF ? ask->answer.len : 0;
    return ask->code == UV_EOF ? 1 : -1;
}
