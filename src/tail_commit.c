// What was handed out and committed: a segment for each batch that is on its way, in the order of the lines. The
// position moves over the segments that were acknowledged without a gap.
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "tail_state.h"

#define SAVE_MS 200  // between two checkpoints while lines go out

void tail_drop_segment(struct tail *tail) {
    struct tail_segment *segment = tail->segments;
    tail->segments = segment->next;
    if (!tail->segments) tail->segments_end = &tail->segments;
    wakeup_unpark(&segment->waiter);
    batch_unref(segment->batch);
    segment->file->segments--;
    free(segment);
}

void tail_hand_back(struct tail *tail, int64_t offset) {
    if (!tail->open_file) return;
    tail->open_file->read = tail->open_end = offset;
    tail->open_file->half = -1;
    tail->open_file->eof_ns = 0;
    tail->current = NULL;
}

size_t tail_uncommitted(const struct tail *tail) {
    return tail->open_bytes;
}

static void on_batch_done(struct waiter *waiter) {
    struct tail_segment *segment = (struct tail_segment *)((char *)waiter - offsetof(struct tail_segment, waiter));
    wakeup_signal(&segment->tail->news);
}

void tail_commit(struct tail *tail, struct batch *batch) {
    struct tail_file *file = tail->open_file;
    if (!file) return;
    tail->open_file = NULL;
    tail->open_bytes = 0;
    // More lines may be in the file that was waiting for this commit.
    wakeup_signal(&tail->news);
    if (!tail->segments && (!batch || !batch->sent)) {
        tail->delivered += tail->open_end - file->acked;
        file->acked = tail->open_end;
        tail->unsaved = true;
        return;
    }
    struct tail_segment *segment = xcalloc(1, sizeof *segment);
    segment->tail = tail;
    segment->file = file;
    segment->end = tail->open_end;
    segment->batch = batch ? batch : batch_new();
    if (batch) batch_ref(batch);
    segment->waiter.notify = on_batch_done;
    if (segment->batch->pending) wakeup_park(&segment->batch->done, &segment->waiter);
    file->segments++;
    *tail->segments_end = segment;
    tail->segments_end = &segment->next;
}

// Reading begins again behind what is acknowledged.
static void go_back(struct tail *tail) {
    while (tail->segments) tail_drop_segment(tail);
    tail->open_file = NULL;
    tail->open_bytes = 0;
    tail->current = NULL;
    for (struct tail_file *file = tail->files; file; file = file->next) {
        if (file->fd < 0 && !file->copy && file->read > file->acked)
            tail_note(tail, "%s was truncated before bytes %lld to %lld of it were acknowledged: they are lost",
                      file->path, (long long)file->acked, (long long)file->read);
        if (file->fd < 0) file->acked = file->read;
        file->read = file->acked;
        file->half = -1;
        file->eof_ns = 0;
    }
    wakeup_signal(&tail->news);
}

int tail_acknowledge(struct tail *tail, char *error, size_t size) {
    while (tail->segments && tail->segments->batch->pending == 0) {
        struct tail_segment *segment = tail->segments;
        if (segment->batch->failed) {
            snprintf(error, size, "%s", segment->batch->error);
            go_back(tail);
            return -1;
        }
        tail->delivered += segment->end - segment->file->acked;
        segment->file->acked = segment->end;
        // Positions that are kept elsewhere went there with the lines.
        tail->unsaved |= !tail->elsewhere;
        tail_drop_segment(tail);
    }
    if (clock_monotonic_ns() - tail->saved_ns >= (int64_t)SAVE_MS * 1000000) tail_save(tail);
    return 0;
}

unsigned tail_in_flight(const struct tail *tail) {
    unsigned count = tail->open_file != NULL;
    for (const struct tail_segment *segment = tail->segments; segment; segment = segment->next) count++;
    return count;
}
