// The batch: counts delivery reports. Reports arrive on the loop thread, so the counters are plain integers.
#include "sink.h"

#include <stdio.h>
#include <stdlib.h>

#include "buf.h"

struct batch *batch_new(void) {
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->refs = 1;
    return batch;
}

void batch_ref(struct batch *batch) {
    batch->refs++;
}

void batch_unref(struct batch *batch) {
    if (--batch->refs == 0) free(batch);
}

void batch_report(struct batch *batch, const char *error) {
    if (error && batch->failed++ == 0) snprintf(batch->error, sizeof batch->error, "%s", error);
    if (--batch->pending == 0) wakeup_signal(&batch->done);
    batch_unref(batch);
}
