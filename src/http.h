// An HTTP/1.1 server for a few clients on this machine (RFC 9112), over libwebsockets: requests without a body come out
// of a queue, each is answered at once or bit by bit. Nothing here is a parser, and nothing waits.
// The server is the caller's until http_close; a request is counted, its connection holds it as well.
#ifndef DBOBS_HTTP_H
#define DBOBS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "wakeup.h"

struct http_server;
struct http_request;

// Listens on an IPv4 or IPv6 address (text) and port; 0: a free one. NULL with `error`, and *in_use when the port is
// taken.
struct http_server *http_listen(uv_loop_t *loop, const char *address, int port, bool *in_use, char *error, size_t size);
int http_port(const struct http_server *server);
// The loop must run on until it is gone. What was not answered is cut off.
void http_close(struct http_server *server);
// Signalled when there is a request.
struct wakeup *http_news(struct http_server *server);
// The next request, which is the caller's to unref; NULL when there is none.
struct http_request *http_next(struct http_server *server);

void http_request_unref(struct http_request *request);
// Signalled when bytes went out, or when the client is gone.
struct wakeup *http_request_changed(struct http_request *request);
const char *http_method(const struct http_request *request);
const char *http_path(const struct http_request *request);  // percent-decoded, without the query
const char *http_host(const struct http_request *request);  // the Host header; "" when there was none
// The i-th part of the query, "name=value", percent-decoded; NULL behind the last.
const char *http_argument(const struct http_request *request, size_t i);

// Begins the answer. headers: name, value, ..., NULL. len: the body's, -1 when it is not known: then the connection's
// end is the body's. 0, or -1 when the client is gone or the headers are too long (8 KiB); once for each request.
int http_answer(struct http_request *request, int status, const char *const *headers, long long len);
// Queues a part of the body. Of an answer to HEAD nothing is sent.
void http_write(struct http_request *request, const char *data, size_t len);
// No more comes.
void http_finish(struct http_request *request);
// Ends the connection unless the answer is finished.
void http_abort(struct http_request *request);
// Bytes that wait to go out.
size_t http_queued(const struct http_request *request);
bool http_gone(const struct http_request *request);

#endif
