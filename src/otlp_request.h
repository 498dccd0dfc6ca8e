// What otlp.c and the plan's rows share: how series are told apart, and resources that were packed elsewhere.
#ifndef DBOBS_OTLP_REQUEST_H
#define DBOBS_OTLP_REQUEST_H

#include "hash.h"
#include "otlp.h"
#include "otlp_metrics.h"
#include "series.h"

// A series is told by the sum of these hashes. Names begin with what they are names of.
enum { OTLP_OF_RESOURCE = 1, OTLP_OF_HIDDEN, OTLP_OF_METRIC, OTLP_OF_POINT };

static inline uint64_t otlp_hash(uint64_t seed, struct otlp_text text) {
    return hash_bytes(seed, text.data, text.len);
}

static inline uint64_t otlp_hash_attribute(uint64_t of, struct otlp_text name, struct otlp_text value) {
    return otlp_hash(otlp_hash(of, name), value);
}

// The kind is part of a metric's identity: values of another kind are not compared with it.
static inline uint64_t otlp_hash_metric(const struct otlp_metric *metric) {
    return otlp_hash(OTLP_OF_METRIC + 8 * (uint64_t)metric->kind + 64 * metric->is_double, metric->name);
}

// The sum for all resources of the request, and for the open one.
uint64_t otlp_request_identity(const struct otlp_request *request);
uint64_t otlp_open_identity(const struct otlp_request *request);
int64_t otlp_time(const struct otlp_request *request);

// Sets the start of each present point, microseconds since 1970. The row's time is filled in here.
void otlp_observe(struct otlp_request *request, struct series_set *set, struct series_row *row, int64_t *starts);

// The points of the open resource.
struct otlp_metrics *otlp_open_metrics(struct otlp_request *request);

// Makes room in the record for a resource with so many bytes of attributes, besides the common ones, and of metrics.
// *fits: whether an empty record has that room. Results as of otlp_resource_end.
enum sink_result otlp_whole_room(struct otlp_request *request, size_t attributes, size_t metrics, bool *fits,
                                 char *error, size_t size);
// Appends that resource; both texts are packed fields. Returns where the record has the metrics, until the next call.
char *otlp_whole_add(struct otlp_request *request, struct otlp_text attributes, struct otlp_text metrics,
                     size_t points);

#endif
