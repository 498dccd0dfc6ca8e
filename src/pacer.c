// Wakes many at their times, see pacer.h. Those who wait stand in a list by their times; most come with a later time
// than all before them, so the place is looked for from the end.
#include "pacer.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"

struct pacer {
    uv_poll_t poll;
    int fd;
    unsigned refs;
    struct pacer_slot *first, *last;
};

// Setting the timer also takes back that it has fired.
static void arm(struct pacer *pacer) {
    struct itimerspec at = {0};
    if (pacer->first) {
        at.it_value.tv_sec = pacer->first->due_ns / 1000000000;
        at.it_value.tv_nsec = pacer->first->due_ns % 1000000000;
    }
    timerfd_settime(pacer->fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void unlink_slot(struct pacer_slot *slot) {
    struct pacer *pacer = slot->pacer;
    *(slot->before ? &slot->before->next : &pacer->first) = slot->next;
    *(slot->next ? &slot->next->before : &pacer->last) = slot->before;
    slot->next = slot->before = NULL;
    slot->queued = false;
}

static void on_timer(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct pacer *pacer = poll->data;
    int64_t now = clock_monotonic_ns();
    while (pacer->first && pacer->first->due_ns <= now) {
        struct pacer_slot *slot = pacer->first;
        unlink_slot(slot);
        wakeup_signal(&slot->wakeup);
    }
    arm(pacer);
}

struct pacer *pacer_new(uv_loop_t *loop) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) return NULL;
    struct pacer *pacer = xcalloc(1, sizeof *pacer);
    pacer->fd = fd;
    pacer->refs = 1;
    pacer->poll.data = pacer;
    uv_poll_init(loop, &pacer->poll, fd);
    uv_poll_start(&pacer->poll, UV_READABLE, on_timer);
    return pacer;
}

struct pacer *pacer_hold(struct pacer *pacer) {
    pacer->refs++;
    return pacer;
}

static void on_closed(uv_handle_t *handle) {
    struct pacer *pacer = handle->data;
    close(pacer->fd);
    free(pacer);
}

void pacer_release(struct pacer *pacer) {
    if (--pacer->refs == 0) uv_close((uv_handle_t *)&pacer->poll, on_closed);
}

bool pacer_until(struct pacer_slot *slot, int64_t due_ns) {
    pacer_forget(slot);
    if (clock_monotonic_ns() >= due_ns) return true;
    struct pacer *pacer = slot->pacer;
    struct pacer_slot *before = pacer->last;
    while (before && before->due_ns > due_ns) before = before->before;
    slot->due_ns = due_ns;
    slot->before = before;
    slot->next = before ? before->next : pacer->first;
    *(before ? &before->next : &pacer->first) = slot;
    *(slot->next ? &slot->next->before : &pacer->last) = slot;
    slot->queued = true;
    if (pacer->first == slot) arm(pacer);
    return false;
}

void pacer_forget(struct pacer_slot *slot) {
    if (slot->queued) unlink_slot(slot);
}
