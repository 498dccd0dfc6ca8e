// OTLP metrics: packs one resource after the other into the record under construction, behind the request's field tag:
// a request is the concatenation of its resources. Owns the record, the open resource's attributes and its points;
// sink, batch and series are borrowed. Only the sink can refuse.
#include "otlp.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "otlp_request.h"
#include "wire.h"

enum {
    RESOURCE_METRICS_TAG = WIRE_TAG(1, WIRE_BYTES),  // of the request
    RESOURCE_TAG = WIRE_TAG(1, WIRE_BYTES),          // of ResourceMetrics
    SCOPE_METRICS_TAG = WIRE_TAG(2, WIRE_BYTES),     // of ResourceMetrics
    ATTRIBUTE = 1,                                   // of Resource
    MAX_FRAMES = 3 * (1 + WIRE_MAX_VARINT),
    LIMIT_WITHOUT_LIMIT = 4 << 20  // for sinks that take any size: memory stays bounded
};

struct otlp_request {
    struct buf scope;   // the field `scope` of every ScopeMetrics
    struct buf common;  // attributes of every resource
    struct buf key;
    uint64_t key_hash;
    int64_t time_us;

    bool open;
    bool has_points;     // of the open resource some are written
    uint64_t identity;   // of the open resource
    struct buf own;      // its attributes besides the common ones
    struct buf scratch;  // a point's attributes
    uint64_t *hashes;    // of those
    size_t hashes_room;
    struct otlp_metrics *metrics;

    struct buf record;
    struct sink *sink;
    struct batch *batch;
    struct series *series;
    struct otlp_counts counts;
    struct buf unreadable;  // the first one's metric
};

struct otlp_request *otlp_new(const struct otlp_options *options) {
    struct otlp_request *request = xcalloc(1, sizeof *request);
    struct buf scope = {0};
    otlp_put_text(&scope, 1, options->scope);
    otlp_put_text(&scope, 2, options->scope_version);
    buf_reserve(&request->scope, wire_field_size(scope.len));
    char *at = wire_field(request->scope.data, WIRE_TAG(1, WIRE_BYTES), scope.len);
    request->scope.len = (size_t)(wire_copy(at, scope.data, scope.len) - request->scope.data);
    buf_free(&scope);
    buf_put(&request->key, options->key.data, options->key.len);
    request->key_hash = otlp_hash(0, options->key);
    request->time_us = options->time_us;
    request->metrics = otlp_metrics_new();
    return request;
}

static void close_resource(struct otlp_request *request) {
    request->open = false;
    request->has_points = false;
    buf_clear(&request->own);
    otlp_metrics_clear(request->metrics);
}

// A request that is done may wait long for Lua's collector, which does not know how much memory it holds.
static void release(struct otlp_request *request) {
    close_resource(request);
    otlp_metrics_release(request->metrics);
    buf_free(&request->own);
    buf_free(&request->record);
    buf_free(&request->scratch);
    free(request->hashes);
    request->hashes = NULL;
    request->hashes_room = 0;
}

void otlp_free(struct otlp_request *request) {
    if (!request) return;
    release(request);
    otlp_metrics_free(request->metrics);
    buf_free(&request->scope);
    buf_free(&request->common);
    buf_free(&request->key);
    buf_free(&request->unreadable);
    free(request);
}

void otlp_connect(struct otlp_request *request, struct sink *sink, struct batch *batch, struct series *series) {
    request->sink = sink;
    request->batch = batch;
    request->series = series;
}

// ------------------------------------------------------------------------------------------------ the open resource

void otlp_common_text(struct otlp_request *request, struct otlp_text name, struct otlp_text value) {
    otlp_put_text_attribute(&request->common, ATTRIBUTE, name, value);
}

void otlp_common_int(struct otlp_request *request, struct otlp_text name, int64_t value) {
    otlp_put_int_attribute(&request->common, ATTRIBUTE, name, value);
}

void otlp_resource_begin(struct otlp_request *request) {
    close_resource(request);
    request->open = true;
    request->identity = request->key_hash;
}

void otlp_resource_text(struct otlp_request *request, struct otlp_text name, struct otlp_text value) {
    otlp_put_text_attribute(&request->own, ATTRIBUTE, name, value);
    request->identity += otlp_hash_attribute(OTLP_OF_RESOURCE, name, value);
}

void otlp_resource_identity(struct otlp_request *request, struct otlp_text text) {
    request->identity += otlp_hash(OTLP_OF_HIDDEN, text);
}

bool otlp_resource_is_open(const struct otlp_request *request) {
    return request->open;
}

uint64_t otlp_request_identity(const struct otlp_request *request) {
    return request->key_hash;
}

uint64_t otlp_open_identity(const struct otlp_request *request) {
    return request->identity;
}

int64_t otlp_time(const struct otlp_request *request) {
    return request->time_us;
}

struct otlp_metrics *otlp_open_metrics(struct otlp_request *request) {
    return request->metrics;
}

void otlp_observe(struct otlp_request *request, struct series_set *set, struct series_row *row, int64_t *starts) {
    row->time_us = request->time_us;
    if (request->series) {
        series_observe(request->series, set, row, starts);
        return;
    }
    for (size_t i = 0; i < set->count; i++) starts[set->members[i].point] = row->time_us;
}

void otlp_point(struct otlp_request *request, const struct otlp_metric *metric, struct series_value value,
                const struct otlp_attribute *attributes, size_t count) {
    if (count > request->hashes_room) {
        request->hashes = xrealloc(request->hashes, count * sizeof *request->hashes);
        request->hashes_room = count;
    }
    buf_clear(&request->scratch);
    for (size_t i = 0; i < count; i++) {
        otlp_put_text_attribute(&request->scratch, OTLP_POINT_ATTRIBUTE, attributes[i].name, attributes[i].value);
        request->hashes[i] = otlp_hash_attribute(OTLP_OF_POINT, attributes[i].name, attributes[i].value);
    }
    int64_t start = 0;
    if (metric->kind != OTLP_GAUGE) {
        struct series_member member = {.metric = otlp_hash_metric(metric), .monotonic = metric->kind == OTLP_COUNTER};
        struct series_set set = {.members = &member, .count = 1, .points = 1};
        struct series_row row = {.resource = request->identity,
                                 .attributes = request->hashes,
                                 .attribute_count = count,
                                 .values = &value,
                                 .present = 1,
                                 .reset_us = SERIES_NO_RESET};
        otlp_observe(request, &set, &row, &start);
    }
    struct otlp_stamp stamp = {(uint64_t)start * 1000, (uint64_t)request->time_us * 1000};
    struct otlp_text packed = {request->scratch.data, request->scratch.len};
    otlp_metrics_add(request->metrics, metric, stamp, value, packed, (struct otlp_text){"", 0});
}

// ------------------------------------------------------------------------------------------------ records

// Bytes that a record's value may have.
static size_t room_of_record(const struct otlp_request *request) {
    size_t limit = request->sink->limit ? request->sink->limit : LIMIT_WITHOUT_LIMIT;
    return limit > request->key.len ? limit - request->key.len : 0;
}

// The ResourceMetrics message with so many bytes of attributes and of metrics.
static size_t resource_size(const struct otlp_request *request, size_t attributes, size_t metrics) {
    return wire_field_size(request->common.len + attributes) + wire_field_size(request->scope.len + metrics);
}

// Appends a resource up to its metrics, which have so many bytes.
static void put_resource(struct otlp_request *request, struct otlp_text own, size_t metrics) {
    struct buf *record = &request->record;
    size_t size = resource_size(request, own.len, metrics);
    buf_reserve(record, wire_field_size(size));
    char *at = wire_field(record->data + record->len, RESOURCE_METRICS_TAG, size);
    at = wire_field(at, RESOURCE_TAG, request->common.len + own.len);
    at = wire_copy(at, request->common.data, request->common.len);
    at = wire_copy(at, own.data, own.len);
    at = wire_field(at, SCOPE_METRICS_TAG, request->scope.len + metrics);
    at = wire_copy(at, request->scope.data, request->scope.len);
    record->len = (size_t)(at - record->data);
}

static enum sink_result put_record(struct otlp_request *request, char *error, size_t size) {
    struct sink_record record = {
        .key = request->key.data,
        .key_len = request->key.len,
        .value = request->record.data,
        .value_len = request->record.len,
        .batch = request->batch,
    };
    if (record.value_len == 0) return SINK_OK;
    error[0] = '\0';
    enum sink_result result = request->sink->ops->put(request->sink, &record, error, size);
    if (result == SINK_FULL) return SINK_FULL;
    buf_clear(&request->record);
    if (result == SINK_OK) request->counts.records++;
    return result;
}

bool otlp_is_large(const struct otlp_request *request) {
    return otlp_metrics_bytes(request->metrics) > room_of_record(request);
}

// Writes the open resource's next points behind those `used` bytes of the record, when all of them fit there or the
// record is empty. Returns false when they must wait for an empty one.
static bool write_part(struct otlp_request *request, size_t room) {
    size_t used = request->record.len, own = request->own.len;
    size_t all = resource_size(request, own, otlp_metrics_size(request->metrics));
    if (used && used + wire_field_size(all) > room) return false;
    size_t around = MAX_FRAMES + request->common.len + own + request->scope.len;
    // What fits as a whole fits; else the frames count as large as they can get.
    size_t space = wire_field_size(all) <= room ? SIZE_MAX : room > around ? room - around : 0;
    size_t metrics = otlp_metrics_cut(request->metrics, space);
    put_resource(request, (struct otlp_text){request->own.data, own}, metrics);
    request->counts.points += otlp_metrics_write(request->metrics, &request->record);
    request->has_points = true;
    return true;
}

// Moves points of the open resource into records until at most `rest` bytes of them are left.
static enum sink_result move_points(struct otlp_request *request, size_t rest, char *error, size_t size) {
    enum sink_result result = SINK_OK;
    size_t room = room_of_record(request);
    while (otlp_metrics_bytes(request->metrics) > rest) {
        if (write_part(request, room)) continue;
        enum sink_result put = put_record(request, error, size);
        if (put == SINK_FULL) return SINK_FULL;
        if (put == SINK_ERROR) result = SINK_ERROR;
    }
    return result;
}

enum sink_result otlp_flush(struct otlp_request *request, char *error, size_t size) {
    return move_points(request, room_of_record(request), error, size);
}

enum sink_result otlp_resource_end(struct otlp_request *request, char *error, size_t size) {
    enum sink_result result = move_points(request, 0, error, size);
    if (result == SINK_FULL) return SINK_FULL;
    if (request->has_points) request->counts.resources++;
    close_resource(request);
    return result;
}

enum sink_result otlp_whole_room(struct otlp_request *request, size_t attributes, size_t metrics, bool *fits,
                                 char *error, size_t size) {
    size_t needed = wire_field_size(resource_size(request, attributes, metrics)), room = room_of_record(request);
    *fits = needed <= room;
    if (!*fits || request->record.len + needed <= room) return SINK_OK;
    return put_record(request, error, size);
}

char *otlp_whole_add(struct otlp_request *request, struct otlp_text attributes, struct otlp_text metrics,
                     size_t points) {
    put_resource(request, attributes, metrics.len);
    buf_put(&request->record, metrics.data, metrics.len);
    request->counts.resources++;
    request->counts.points += points;
    return request->record.data + request->record.len - metrics.len;
}

enum sink_result otlp_finish(struct otlp_request *request, char *error, size_t size) {
    enum sink_result result = put_record(request, error, size);
    if (result != SINK_FULL) release(request);
    return result;
}

void otlp_discard(struct otlp_request *request) {
    release(request);
}

void otlp_unreadable(struct otlp_request *request, const struct otlp_metric *metric) {
    if (request->counts.unreadable++) return;
    buf_put(&request->unreadable, metric->name.data, metric->name.len);
    request->counts.unreadable_metric = (struct otlp_text){request->unreadable.data, request->unreadable.len};
}

struct otlp_counts otlp_counts(const struct otlp_request *request) {
    return request->counts;
}
