// OTLP metrics: builds ExportMetricsServiceRequests one resource at a time and puts each record into a sink. A record
// is closed when the next resource would take it past the sink's limit; a resource too large for one record is split
// over several. Memory is bounded by twice the limit plus what is added between two flushes. A point is never halved.
#ifndef DBOBS_OTLP_H
#define DBOBS_OTLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "series.h"
#include "sink.h"

struct otlp_request;

// Text of any bytes: what is no UTF-8 becomes U+FFFD.
struct otlp_text {
    const char *data;
    size_t len;
};

struct otlp_attribute {
    struct otlp_text name, value;
};

enum otlp_kind {
    OTLP_GAUGE,
    OTLP_SUM,     // cumulative, goes up and down
    OTLP_COUNTER  // cumulative, monotonic
};

struct otlp_metric {
    struct otlp_text name, unit, description;
    enum otlp_kind kind;
    bool is_double;  // else its points are 64-bit integers
};

struct otlp_options {
    struct otlp_text scope, scope_version;
    struct otlp_text key;  // of the records
    int64_t time_us;       // of every point, since 1970
};

// Copies the options.
struct otlp_request *otlp_new(const struct otlp_options *options);
void otlp_free(struct otlp_request *request);

// Where records go and start times come from; borrowed, so set before each use of the functions below that need them.
// batch may be NULL; series may be NULL, then every sum starts at its own time.
void otlp_connect(struct otlp_request *request, struct sink *sink, struct batch *batch, struct series *series);

// An attribute of every resource of this request. Before the first resource.
void otlp_common_text(struct otlp_request *request, struct otlp_text name, struct otlp_text value);
void otlp_common_int(struct otlp_request *request, struct otlp_text name, int64_t value);

// Begins a resource: first its attributes, then its points. The one before must have been ended.
void otlp_resource_begin(struct otlp_request *request);
void otlp_resource_text(struct otlp_request *request, struct otlp_text name, struct otlp_text value);
// Tells apart the series of two resources whose attributes are equal. Not sent.
void otlp_resource_identity(struct otlp_request *request, struct otlp_text text);
// Copies all that it is given. value.is_double must be the metric's.
void otlp_point(struct otlp_request *request, const struct otlp_metric *metric, struct series_value value,
                const struct otlp_attribute *attributes, size_t count);
bool otlp_resource_is_open(const struct otlp_request *request);

// The open resource's points would fill a record of their own: memory stays bounded when they are flushed now and then.
bool otlp_is_large(const struct otlp_request *request);
// Moves so many of the open resource's points into records that it is not large; more can be added. Results as of
// otlp_resource_end.
enum sink_result otlp_flush(struct otlp_request *request, char *error, size_t size);
// Ends the resource; one without points leaves nothing. SINK_FULL: call it again when the sink has room. SINK_ERROR:
// a record is lost, and `error` says why; the request goes on.
enum sink_result otlp_resource_end(struct otlp_request *request, char *error, size_t size);
// Puts what has not been put yet. No resource may be open. Results as above.
enum sink_result otlp_finish(struct otlp_request *request, char *error, size_t size);
// Drops what has not been put yet, the open resource included.
void otlp_discard(struct otlp_request *request);

// A value of the metric could not become a point.
void otlp_unreadable(struct otlp_request *request, const struct otlp_metric *metric);

// So far: resources ended with points, points, records put, values that were no numbers, and the first one's metric.
struct otlp_counts {
    uint64_t resources, points, records, unreadable;
    struct otlp_text unreadable_metric;
};
struct otlp_counts otlp_counts(const struct otlp_request *request);

#endif
