// A latch that tasks wait for. A primitive signals it from a loop callback; the scheduler (task.c) parks and queues.
// Owned by the primitive that embeds it. Single-threaded: signal it only on its vm's loop thread.
#ifndef DBOBS_WAKEUP_H
#define DBOBS_WAKEUP_H

#include <stdbool.h>
#include <stddef.h>

// One parked party, embedded in whoever waits. `notify` only queues; it never runs Lua.
struct waiter {
    struct waiter *next;
    struct waiter **link;  // what points at us; NULL while not parked
    void (*notify)(struct waiter *waiter);
};

// Zeroed memory is a valid wakeup that is not set.
struct wakeup {
    struct waiter *waiters;
    bool set;
};

static inline void wakeup_park(struct wakeup *wakeup, struct waiter *waiter) {
    waiter->next = wakeup->waiters;
    waiter->link = &wakeup->waiters;
    if (waiter->next) waiter->next->link = &waiter->next;
    wakeup->waiters = waiter;
}

static inline void wakeup_unpark(struct waiter *waiter) {
    if (!waiter->link) return;
    *waiter->link = waiter->next;
    if (waiter->next) waiter->next->link = waiter->link;
    waiter->link = NULL;
    waiter->next = NULL;
}

// Wakes every waiter; with none the signal is kept for the next one to wait. A signal promises nothing but that
// trying again is worth it.
static inline void wakeup_signal(struct wakeup *wakeup) {
    wakeup->set = wakeup->waiters == NULL;
    while (wakeup->waiters) {
        struct waiter *waiter = wakeup->waiters;
        wakeup_unpark(waiter);
        waiter->notify(waiter);
    }
}

// Takes a kept signal. Returns true when there was one, so that the caller need not park.
static inline bool wakeup_take(struct wakeup *wakeup) {
    bool set = wakeup->set;
    wakeup->set = false;
    return set;
}

#endif
