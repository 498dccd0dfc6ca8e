// Wakes many at their times, to the microsecond: libuv's timers count milliseconds, too coarse for a load at a rate.
// One timerfd for all that wait on one loop. Counted: the owner and each slot hold it.
#ifndef DBOBS_PACER_H
#define DBOBS_PACER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "wakeup.h"

struct pacer;

// One that waits. Zeroed memory with `pacer` set (and pacer_hold called) is idle.
struct pacer_slot {
    struct wakeup wakeup;  // signalled when its time has come
    int64_t due_ns;
    struct pacer *pacer;
    struct pacer_slot *next, *before;
    bool queued;
};

// NULL when the kernel gives no timer; errno says why.
struct pacer *pacer_new(uv_loop_t *loop);
struct pacer *pacer_hold(struct pacer *pacer);
// The last one to let go ends it.
void pacer_release(struct pacer *pacer);
// True when the monotonic clock has reached due_ns. Else the slot is queued for that time; wait for its wakeup.
bool pacer_until(struct pacer_slot *slot, int64_t due_ns);
// Takes a slot out that no longer waits.
void pacer_forget(struct pacer_slot *slot);

#endif
