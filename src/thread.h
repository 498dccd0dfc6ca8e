// A thread with a vm of its own, and the two mailboxes between it and the vm that started it. They share nothing but
// texts. Owned by the starter, which ends it with thread_join.
#ifndef DBOBS_THREAD_H
#define DBOBS_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "wakeup.h"

struct app;
struct thread;

struct message {
    struct message *next;
    size_t len;
    char text[];
};

// One direction. `arrived` belongs to the receiver's loop thread.
struct mailbox {
    uv_mutex_t lock;
    struct message *first, *last;
    uv_async_t *async;  // on the receiver's loop; NULL while it does not look
    bool ended;         // nobody sends any more
    struct wakeup arrived;
};

// What one of the two sides holds.
struct thread_end {
    struct thread *thread;
    struct mailbox *in, *out;
};

// Starts a thread whose vm's main task calls the Lua module's function with the text (copied). NULL when there is no
// thread to be had. `loop` is the starter's.
struct thread *thread_start(struct app *app, uv_loop_t *loop, const char *module, const char *text, size_t len);
struct thread_end thread_starter(struct thread *thread);
struct thread_end thread_own(struct thread *thread);
// Copies the text.
void thread_send(struct thread_end end, const char *text, size_t len);
// The oldest message, the caller's to free; NULL: wait for end.in->arrived, or, when *ended, no more will come.
struct message *thread_receive(struct thread_end end, bool *ended);
// The starter is done with it: the thread is told that no more messages come, and waited for.
void thread_join(struct thread *thread);

#endif
