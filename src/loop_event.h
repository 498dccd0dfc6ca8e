// A loop whose owner wants to go on after each event instead of after a batch of them: a load test sends a connection's
// next statement before it reads another connection's result, which keeps the server busy meanwhile.
#ifndef DBOBS_LOOP_EVENT_H
#define DBOBS_LOOP_EVENT_H

#include <uv.h>

// What uv_loop_t's `data` points at, or NULL.
struct loop_event {
    void (*over)(uv_loop_t *loop);
};

// The last thing that a callback does: what it worked on may be gone afterwards.
static inline void loop_event_over(uv_loop_t *loop) {
    const struct loop_event *event = loop->data;
    if (event) event->over(loop);
}

#endif
