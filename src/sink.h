// Where records go: a Kafka topic, or standard output. Primitives and bindings write to this interface only, so none
// of them knows what is behind it. A sink is owned by the Lua userdata (or the test) that made it.
#ifndef DBOBS_SINK_H
#define DBOBS_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wakeup.h"

struct sink;

// Counts the delivery reports of the records put with it: the opaque of a whole batch, not one object a record.
// Held by the side that made it (one reference) and by each record in flight; freed with the last reference.
struct batch {
    uint32_t refs;
    uint32_t pending;    // put, not yet reported
    uint32_t failed;     // reported as not delivered
    uint64_t sent;       // put in all
    char error[160];     // of the first failure; "" when none
    struct wakeup done;  // signalled when pending falls to 0
};

enum sink_result {
    SINK_OK = 0,     // copied; a delivery report will count in the batch
    SINK_FULL = 1,   // nothing taken: wait for the sink's room and put it again
    SINK_ERROR = -1  // nothing taken and never will be: `error` says why
};

// One record as it is put. The sink copies key and value.
struct sink_record {
    const char *key;
    size_t key_len;
    const char *value;
    size_t value_len;
    struct batch *batch;  // NULL: nobody asks
};

struct sink_ops {
    // error: room for at least 256 bytes, written for SINK_ERROR only.
    enum sink_result (*put)(struct sink *sink, const struct sink_record *record, char *error, size_t size);
    // Signalled when a put that was refused with SINK_FULL may fit.
    struct wakeup *(*room)(struct sink *sink);
};

struct sink {
    const struct sink_ops *ops;
    size_t limit;  // largest key + value in bytes that will be accepted; 0 when there is none
    bool otlp;     // the value is OTLP protobuf (the stdout sink prints it as OTLP/JSON), else text
};

struct batch *batch_new(void);
void batch_ref(struct batch *batch);
void batch_unref(struct batch *batch);
// A record of the batch was reported. error is NULL when it was delivered.
void batch_report(struct batch *batch, const char *error);

#endif
