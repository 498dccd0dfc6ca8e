// The HTTP server. libwebsockets reads requests and writes answers on our loop; connections are accepted here, so that
// a port that is taken is told as such and so that there are never too many of them.
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libwebsockets.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"

#define MOST_CONNECTIONS 64
#define MOST_ARGUMENTS 32
#define HEADER_SIZE 8192  // of a request, and of an answer
#define PIECE_SIZE 65536  // written at once
#define REQUEST_SECONDS 10
#define IDLE_SECONDS 30     // between two requests on a connection
#define STALLED_SECONDS 30  // while a client takes nothing of what is sent

struct http_server {
    uv_loop_t *loop;
    struct lws_context *context;  // NULL when libwebsockets has let go
    struct lws_vhost *vhost;
    int fd;
    int spare;  // a descriptor to give up when there are no more
    uv_poll_t listener;
    uv_check_t finisher;  // runs while libwebsockets is letting go
    int handles;          // of ours that are not closed yet
    struct wakeup news;
    struct http_request *first, **last;
    unsigned connections;
    bool closed;
    unsigned char piece[LWS_PRE + PIECE_SIZE];
};

struct http_request {
    struct lws *wsi;  // NULL when the client is gone
    struct http_request *next;
    int refs;
    struct wakeup changed;
    const char *method;
    char *path, *host;
    char *arguments[MOST_ARGUMENTS + 1];
    struct buf out;
    size_t sent;
    bool answered, finished;
    bool without_body;  // HEAD
    bool until_end;     // the length of the body is not known
};

// What libwebsockets keeps for us with a connection.
struct session {
    struct http_request *request;
    bool counted;
};

void http_request_unref(struct http_request *request) {
    if (--request->refs) return;
    for (char **argument = request->arguments; *argument; argument++) free(*argument);
    free(request->path);
    free(request->host);
    buf_free(&request->out);
    free(request);
}

// The connection is gone, or is done with the request.
static void let_go(struct session *session) {
    struct http_request *request = session->request;
    if (!request) return;
    session->request = NULL;
    request->wsi = NULL;
    wakeup_signal(&request->changed);
    http_request_unref(request);
}

static char *copy_header(struct lws *wsi, enum lws_token_indexes token) {
    int len = lws_hdr_total_length(wsi, token);
    char *text = xcalloc(1, (size_t)len + 1);
    if (len > 0 && lws_hdr_copy(wsi, text, len + 1, token) < 0) *text = '\0';
    return text;
}

static const char *method_of(struct lws *wsi) {
    if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI)) return "GET";
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI)) return "HEAD";
    return "other";
}

static void read_arguments(struct lws *wsi, struct http_request *request) {
    char text[HEADER_SIZE];
    for (int i = 0; i < MOST_ARGUMENTS; i++) {
        int len = lws_hdr_copy_fragment(wsi, text, sizeof text, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (len < 0) break;
        request->arguments[i] = xcalloc(1, (size_t)len + 1);
        memcpy(request->arguments[i], text, (size_t)len);
    }
}

static void take_request(struct http_server *server, struct lws *wsi, struct session *session, const char *path,
                         size_t len) {
    let_go(session);
    struct http_request *request = xcalloc(1, sizeof *request);
    request->wsi = wsi;
    request->refs = 2;
    request->method = method_of(wsi);
    request->without_body = strcmp(request->method, "HEAD") == 0;
    request->path = xcalloc(1, len + 1);
    memcpy(request->path, path, len);
    request->host = copy_header(wsi, WSI_TOKEN_HOST);
    read_arguments(wsi, request);
    session->request = request;
    // The answer takes as long as it takes.
    lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
    *server->last = request;
    server->last = &request->next;
    wakeup_signal(&server->news);
}

// Writes as much as goes out. Returns -1 when the connection is to be closed.
static int write_some(struct http_server *server, struct lws *wsi, struct session *session) {
    struct http_request *request = session->request;
    if (!request || !request->answered) return 0;
    while (request->sent < request->out.len && !lws_send_pipe_choked(wsi)) {
        size_t len = request->out.len - request->sent;
        if (len > PIECE_SIZE) len = PIECE_SIZE;
        memcpy(server->piece + LWS_PRE, request->out.data + request->sent, len);
        if (lws_write(wsi, server->piece + LWS_PRE, len, LWS_WRITE_HTTP) < 0) return -1;
        request->sent += len;
    }
    if (request->sent < request->out.len) {
        lws_callback_on_writable(wsi);
    } else {
        buf_clear(&request->out);
        request->sent = 0;
    }
    wakeup_signal(&request->changed);
    if (!request->finished || request->out.len) return 0;
    bool until_end = request->until_end;
    let_go(session);
    return until_end || lws_http_transaction_completed(wsi) ? -1 : 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len) {
    struct lws_context *context = lws_get_context(wsi);
    struct http_server *server = context ? lws_context_user(context) : NULL;
    struct session *session = user;
    switch (reason) {
    case LWS_CALLBACK_HTTP:
        if (server->closed) return -1;
        take_request(server, wsi, session, in, len);
        return 0;
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return session ? write_some(server, wsi, session) : 0;
    case LWS_CALLBACK_HTTP_BODY:
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return 0;  // nobody wants one; the connection ends with the answer
    case LWS_CALLBACK_CLOSED_HTTP:
        if (session) let_go(session);
        return 0;
    case LWS_CALLBACK_WSI_CREATE:
        server->connections++;
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        server->connections--;
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, len);
    }
}

static const struct lws_protocols protocols[] = {
    {.name = "http", .callback = on_event, .per_session_data_size = sizeof(struct session)},
    LWS_PROTOCOL_LIST_TERM,
};

// Takes a connection for which there is no descriptor, and ends it: left alone, it would keep the loop turning.
static void refuse(struct http_server *server) {
    close(server->spare);
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) close(fd);
    server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_connection(uv_poll_t *poll, int status, int events) {
    (void)status, (void)events;
    struct http_server *server = poll->data;
    int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE)) refuse(server);
    if (fd < 0) return;
    if (server->connections >= MOST_CONNECTIONS) {
        close(fd);
        return;
    }
    // The kernel ends it when nothing of what was sent is taken, also when the client is there but does not read.
    unsigned ms = STALLED_SECONDS * 1000;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
    lws_adopt_socket_vhost(server->vhost, fd);
}

static int listen_on(const char *address, int port, bool *in_use, char *error, size_t size) {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } name = {0};
    socklen_t len = sizeof name.in;
    if (uv_ip4_addr(address, port, &name.in)) {
        len = sizeof name.in6;
        if (uv_ip6_addr(address, port, &name.in6)) {
            snprintf(error, size, "'%s' is no IPv4 or IPv6 address", address);
            return -1;
        }
    }
    int fd = socket(name.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, &name.any, len) || listen(fd, MOST_CONNECTIONS)) {
        *in_use = errno == EADDRINUSE;
        snprintf(error, size, "%s", strerror(errno));
        if (fd >= 0) close(fd);
        return -1;
    }
    return fd;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct http_server *server = handle->data;
    if (!--server->handles) free(server);
}

// libwebsockets lets go in steps, between which the loop runs; it clears our pointer with the last.
static void on_turn(uv_check_t *finisher) {
    struct http_server *server = finisher->data;
    if (server->context) lws_context_destroy(server->context);
    if (!server->context) uv_close((uv_handle_t *)finisher, on_handle_closed);
}

static struct lws_context *new_context(struct http_server *server) {
    void *loops[] = {server->loop};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .user = server,
        .foreign_loops = loops,
        .pcontext = &server->context,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        // One for each connection, its own few, and no table as long as the limit of open files.
        .fd_limit_per_thread = MOST_CONNECTIONS + 8,
        .max_http_header_data = HEADER_SIZE,
        .max_http_header_pool = MOST_CONNECTIONS,
        .timeout_secs = REQUEST_SECONDS,
        .keepalive_timeout = IDLE_SECONDS,
    };
    lws_set_log_level(0, NULL);
    struct lws_context *context = lws_create_context(&info);
    if (context) server->vhost = lws_create_vhost(context, &info);
    return context;
}

struct http_server *http_listen(uv_loop_t *loop, const char *address, int port, bool *in_use, char *error,
                                size_t size) {
    *in_use = false;
    int fd = listen_on(address, port, in_use, error, size);
    if (fd < 0) return NULL;
    struct http_server *server = xcalloc(1, sizeof *server);
    server->loop = loop;
    server->fd = fd;
    server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    server->last = &server->first;
    server->listener.data = server->finisher.data = server;
    server->handles = 2;
    uv_check_init(loop, &server->finisher);
    uv_poll_init(loop, &server->listener, fd);
    server->context = new_context(server);
    if (!server->context || !server->vhost) {
        snprintf(error, size, "no memory");
        http_close(server);
        return NULL;
    }
    uv_poll_start(&server->listener, UV_READABLE, on_connection);
    return server;
}

int http_port(const struct http_server *server) {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } name = {0};
    socklen_t len = sizeof name;
    if (getsockname(server->fd, &name.any, &len)) return 0;
    return ntohs(name.any.sa_family == AF_INET6 ? name.in6.sin6_port : name.in.sin_port);
}

void http_close(struct http_server *server) {
    server->closed = true;
    for (struct http_request *request; (request = http_next(server));) http_request_unref(request);
    uv_poll_stop(&server->listener);
    close(server->fd);
    close(server->spare);
    uv_close((uv_handle_t *)&server->listener, on_handle_closed);
    uv_check_start(&server->finisher, on_turn);
    if (server->context) lws_context_destroy(server->context);
}

struct wakeup *http_news(struct http_server *server) {
    return &server->news;
}

struct http_request *http_next(struct http_server *server) {
    struct http_request *request = server->first;
    if (!request) return NULL;
    server->first = request->next;
    if (!server->first) server->last = &server->first;
    return request;
}

struct wakeup *http_request_changed(struct http_request *request) {
    return &request->changed;
}

const char *http_method(const struct http_request *request) {
    return request->method;
}

const char *http_path(const struct http_request *request) {
    return request->path;
}

const char *http_host(const struct http_request *request) {
    return request->host;
}

const char *http_argument(const struct http_request *request, size_t i) {
    return i < MOST_ARGUMENTS ? request->arguments[i] : NULL;
}

static int add_header(struct lws *wsi, const char *name, const char *value, unsigned char **p, unsigned char *end) {
    char text[64];
    if (snprintf(text, sizeof text, "%s:", name) >= (int)sizeof text) return -1;
    return lws_add_http_header_by_name(wsi, (const unsigned char *)text, (const unsigned char *)value,
                                       (int)strlen(value), p, end);
}

int http_answer(struct http_request *request, int status, const char *const *headers, long long len) {
    unsigned char text[LWS_PRE + HEADER_SIZE], *start = text + LWS_PRE, *p = start, *end = text + sizeof text;
    struct lws *wsi = request->wsi;
    if (!wsi || request->answered || lws_add_http_header_status(wsi, (unsigned)status, &p, end)) return -1;
    for (; *headers; headers += 2)
        if (add_header(wsi, headers[0], headers[1], &p, end)) return -1;
    char length[32];
    snprintf(length, sizeof length, "%lld", len);
    if (add_header(wsi, len < 0 ? "connection" : "content-length", len < 0 ? "close" : length, &p, end)) return -1;
    if (lws_finalize_http_header(wsi, &p, end)) return -1;
    buf_put(&request->out, (const char *)start, (size_t)(p - start));
    request->answered = true;
    request->until_end = len < 0 || strcmp(request->method, "other") == 0;
    lws_callback_on_writable(wsi);
    return 0;
}

void http_write(struct http_request *request, const char *data, size_t len) {
    if (!request->wsi || request->without_body || request->finished) return;
    buf_put(&request->out, data, len);
    lws_callback_on_writable(request->wsi);
}

void http_finish(struct http_request *request) {
    request->finished = true;
    if (request->wsi) lws_callback_on_writable(request->wsi);
}

void http_abort(struct http_request *request) {
    if (request->wsi && !request->finished) lws_set_timeout(request->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

size_t http_queued(const struct http_request *request) {
    return request->wsi ? request->out.len - request->sent : 0;
}

bool http_gone(const struct http_request *request) {
    return !request->wsi;
}
