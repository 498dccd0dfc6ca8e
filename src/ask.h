// One question to a TCP server and the whole of its answer, up to the connection's end: for `dbobs health`. The
// question is the caller's until ask_close.
#ifndef DBOBS_ASK_H
#define DBOBS_ASK_H

#include <stddef.h>
#include <uv.h>

#include "wakeup.h"

struct ask;

// Connects to an IPv4 or IPv6 address (text), sends `text`, reads at most `limit` bytes. NULL with `error`.
struct ask *ask_new(uv_loop_t *loop, const char *address, int port, const char *text, size_t len, size_t limit,
                    char *error, size_t size);
void ask_close(struct ask *ask);
// Signalled at the end.
struct wakeup *ask_ended(struct ask *ask);
// 1 with the answer when it is there whole, 0 while it is not, -1 with why it cannot be had; both texts are the
// object's.
int ask_answer(const struct ask *ask, const char **text, size_t *len);

#endif
