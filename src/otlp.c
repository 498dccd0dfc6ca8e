// OTLP metrics: collects one resource as protobuf-c structs in an arena, sorts its points by metric, and packs it
// behind the request's field tag into the record under construction: a request is the concatenation of its resources.
// Owns both arenas, the point list and the buffer; sink, batch and series are borrowed. Only the sink can refuse.
#include "otlp.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "buf.h"
#include "otlp.pb-c.h"
#include "utf8.h"

enum {
    RESOURCE_METRICS_TAG = 1 << 3 | 2,  // field 1 of the request, length-delimited
    MAX_FRAME = 11,                     // that tag and a varint
    LIMIT_WITHOUT_LIMIT = 4 << 20       // for sinks that take any size: memory stays bounded
};

struct point {
    const struct otlp_metric *metric;
    Otlp__NumberDataPoint *data;
};

struct attributes {
    Otlp__KeyValue **list;
    size_t count, room;
};

struct otlp_request {
    struct arena lasting;  // what all resources share
    struct arena arena;    // of the open resource
    struct otlp_text key;
    uint64_t key_hash;
    int64_t time_us;
    Otlp__InstrumentationScope scope;
    size_t common_count;  // of attributes, at the start of `resource`
    struct attributes resource;

    bool open;
    uint64_t identity;  // of the open resource
    struct point *points;
    size_t point_count, point_room;
    bool sorted;
    size_t packed;  // points of the open resource that are in `record` already

    struct buf record;
    struct sink *sink;
    struct batch *batch;
    struct series *series;
    struct otlp_counts counts;
};

static ProtobufCBinaryData bytes(struct arena *arena, struct otlp_text text) {
    size_t len = text.len;
    const char *clean = text.data;
    struct buf repaired = {0};
    if (!utf8_valid(text.data, text.len)) {
        utf8_put(&repaired, text.data, text.len);
        clean = repaired.data;
        len = repaired.len;
    }
    ProtobufCBinaryData copy = {len, arena_copy(arena, clean, len)};
    buf_free(&repaired);
    return copy;
}

static Otlp__KeyValue *attribute_new(struct arena *arena, struct otlp_text name) {
    struct {
        Otlp__KeyValue pair;
        Otlp__AnyValue value;
    } *made = arena_alloc(arena, sizeof *made);
    otlp__key_value__init(&made->pair);
    otlp__any_value__init(&made->value);
    made->pair.key = bytes(arena, name);
    made->pair.value = &made->value;
    return &made->pair;
}

static Otlp__KeyValue *text_attribute(struct arena *arena, struct otlp_text name, struct otlp_text value) {
    Otlp__KeyValue *pair = attribute_new(arena, name);
    pair->value->value_case = OTLP__ANY_VALUE__VALUE_STRING_VALUE;
    pair->value->string_value = bytes(arena, value);
    return pair;
}

static void attributes_add(struct attributes *attributes, Otlp__KeyValue *pair) {
    if (attributes->count == attributes->room) {
        attributes->room = attributes->room ? attributes->room * 2 : 16;
        attributes->list = xrealloc(attributes->list, attributes->room * sizeof(Otlp__KeyValue *));
    }
    attributes->list[attributes->count++] = pair;
}

struct otlp_request *otlp_new(const struct otlp_options *options) {
    struct otlp_request *request = xcalloc(1, sizeof *request);
    struct arena *arena = &request->lasting;
    otlp__instrumentation_scope__init(&request->scope);
    request->scope.name = bytes(arena, options->scope);
    request->scope.version = bytes(arena, options->scope_version);
    request->key.data = arena_copy(arena, options->key.data, options->key.len);
    request->key.len = options->key.len;
    request->key_hash = series_hash(0, options->key.data, options->key.len);
    request->time_us = options->time_us;
    return request;
}

void otlp_free(struct otlp_request *request) {
    if (!request) return;
    arena_free(&request->lasting);
    arena_free(&request->arena);
    buf_free(&request->record);
    free(request->resource.list);
    free(request->points);
    free(request);
}

void otlp_connect(struct otlp_request *request, struct sink *sink, struct batch *batch, struct series *series) {
    request->sink = sink;
    request->batch = batch;
    request->series = series;
}

void otlp_common_text(struct otlp_request *request, struct otlp_text name, struct otlp_text value) {
    attributes_add(&request->resource, text_attribute(&request->lasting, name, value));
    request->common_count = request->resource.count;
}

void otlp_common_int(struct otlp_request *request, struct otlp_text name, int64_t value) {
    Otlp__KeyValue *pair = attribute_new(&request->lasting, name);
    pair->value->value_case = OTLP__ANY_VALUE__VALUE_INT_VALUE;
    pair->value->int_value = value;
    attributes_add(&request->resource, pair);
    request->common_count = request->resource.count;
}

static void close_resource(struct otlp_request *request) {
    request->open = false;
    request->point_count = 0;
    request->packed = 0;
    request->resource.count = request->common_count;
    arena_reset(&request->arena);
}

void otlp_resource_begin(struct otlp_request *request) {
    close_resource(request);
    request->open = true;
    request->sorted = true;
    request->identity = request->key_hash;
}

void otlp_resource_text(struct otlp_request *request, struct otlp_text name, struct otlp_text value) {
    attributes_add(&request->resource, text_attribute(&request->arena, name, value));
    request->identity = series_hash(request->identity, name.data, name.len);
    request->identity = series_hash(request->identity, value.data, value.len);
}

void otlp_resource_identity(struct otlp_request *request, struct otlp_text text) {
    request->identity = series_hash(request->identity, text.data, text.len);
}

struct arena *otlp_arena(struct otlp_request *request) {
    return &request->arena;
}

bool otlp_resource_is_open(const struct otlp_request *request) {
    return request->open;
}

static uint64_t point_identity(uint64_t resource, const struct otlp_metric *metric,
                               const struct otlp_attribute *attributes, size_t count) {
    uint64_t identity = series_hash(resource, metric->name.data, metric->name.len);
    for (size_t i = 0; i < count; i++) {
        identity = series_hash(identity, attributes[i].name.data, attributes[i].name.len);
        identity = series_hash(identity, attributes[i].value.data, attributes[i].value.len);
    }
    return identity;
}

static int compare_text(struct otlp_text a, struct otlp_text b) {
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static void points_add(struct otlp_request *request, const struct otlp_metric *metric, Otlp__NumberDataPoint *data) {
    if (request->point_count == request->point_room) {
        request->point_room = request->point_room ? request->point_room * 2 : 64;
        request->points = xrealloc(request->points, request->point_room * sizeof *request->points);
    }
    if (request->point_count) {
        const struct otlp_metric *last = request->points[request->point_count - 1].metric;
        if (last != metric && compare_text(last->name, metric->name) > 0) request->sorted = false;
    }
    request->points[request->point_count++] = (struct point){metric, data};
}

void otlp_point(struct otlp_request *request, const struct otlp_metric *metric, struct series_value value,
                const struct otlp_attribute *attributes, size_t count) {
    Otlp__NumberDataPoint *data = arena_alloc(&request->arena, sizeof *data);
    otlp__number_data_point__init(data);
    data->time_unix_nano = (uint64_t)request->time_us * 1000;
    if (metric->kind != OTLP_GAUGE) {
        uint64_t identity = point_identity(request->identity, metric, attributes, count);
        int64_t start = request->time_us;
        if (request->series)
            start = series_observe(request->series, identity, start, value, metric->kind == OTLP_COUNTER);
        data->start_time_unix_nano = (uint64_t)start * 1000;
    }
    if (value.is_double) {
        data->value_case = OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE;
        data->as_double = value.real;
    } else {
        data->value_case = OTLP__NUMBER_DATA_POINT__VALUE_AS_INT;
        data->as_int = value.integer;
    }
    data->n_attributes = count;
    data->attributes = arena_alloc(&request->arena, count * sizeof(Otlp__KeyValue *));
    for (size_t i = 0; i < count; i++)
        data->attributes[i] = text_attribute(&request->arena, attributes[i].name, attributes[i].value);
    points_add(request, metric, data);
}

// Stable: points of one metric keep their order. A resource has a few dozen points, nearly always in order already;
// only locks by relation can make it thousands, and those come in long runs of one metric.
static void merge_sort(struct point *points, struct point *spare, size_t count) {
    if (count < 2) return;
    size_t half = count / 2;
    merge_sort(points, spare, half);
    merge_sort(points + half, spare, count - half);
    memcpy(spare, points, half * sizeof *points);
    size_t left = 0, right = half, at = 0;
    while (left < half) {
        bool take_right = right < count && compare_text(points[right].metric->name, spare[left].metric->name) < 0;
        points[at++] = take_right ? points[right++] : spare[left++];
    }
}

static void sort_points(struct otlp_request *request) {
    if (request->sorted) return;
    struct point *spare = arena_alloc(&request->arena, request->point_count * sizeof *spare);
    merge_sort(request->points, spare, request->point_count);
    request->sorted = true;
}

static Otlp__Metric *metric_message(struct arena *arena, const struct otlp_metric *metric, size_t count,
                                    Otlp__NumberDataPoint **data_points) {
    Otlp__Metric *message = arena_alloc(arena, sizeof *message);
    otlp__metric__init(message);
    message->name = bytes(arena, metric->name);
    message->unit = bytes(arena, metric->unit);
    message->description = bytes(arena, metric->description);
    if (metric->kind == OTLP_GAUGE) {
        message->data_case = OTLP__METRIC__DATA_GAUGE;
        message->gauge = arena_alloc(arena, sizeof *message->gauge);
        otlp__gauge__init(message->gauge);
        message->gauge->n_data_points = count;
        message->gauge->data_points = data_points;
        return message;
    }
    message->data_case = OTLP__METRIC__DATA_SUM;
    message->sum = arena_alloc(arena, sizeof *message->sum);
    otlp__sum__init(message->sum);
    message->sum->aggregation_temporality = OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_CUMULATIVE;
    message->sum->is_monotonic = metric->kind == OTLP_COUNTER;
    message->sum->n_data_points = count;
    message->sum->data_points = data_points;
    return message;
}

// The metrics of `count` sorted points.
static void scope_fill(struct arena *arena, Otlp__ScopeMetrics *scope, const struct point *points, size_t count) {
    Otlp__NumberDataPoint **data = arena_alloc(arena, count * sizeof(Otlp__NumberDataPoint *));
    scope->metrics = arena_alloc(arena, count * sizeof(Otlp__Metric *));
    for (size_t first = 0, end; first < count; first = end) {
        for (end = first; end < count; end++) {
            if (points[end].metric != points[first].metric &&
                compare_text(points[end].metric->name, points[first].metric->name) != 0)
                break;
            data[end] = points[end].data;
        }
        scope->metrics[scope->n_metrics++] = metric_message(arena, points[first].metric, end - first, data + first);
    }
}

static Otlp__ResourceMetrics *resource_message(struct otlp_request *request, size_t first, size_t count) {
    struct {
        Otlp__ResourceMetrics resource_metrics;
        Otlp__Resource resource;
        Otlp__ScopeMetrics scope;
        Otlp__ScopeMetrics *scopes[1];
    } *made = arena_alloc(&request->arena, sizeof *made);
    otlp__resource_metrics__init(&made->resource_metrics);
    otlp__resource__init(&made->resource);
    otlp__scope_metrics__init(&made->scope);
    made->resource.n_attributes = request->resource.count;
    made->resource.attributes = request->resource.list;
    made->scope.scope = &request->scope;
    scope_fill(&request->arena, &made->scope, request->points + first, count);
    made->scopes[0] = &made->scope;
    made->resource_metrics.resource = &made->resource;
    made->resource_metrics.n_scope_metrics = 1;
    made->resource_metrics.scope_metrics = made->scopes;
    return &made->resource_metrics;
}

// Bytes that a record's value may have.
static size_t room_of_record(const struct otlp_request *request) {
    size_t limit = request->sink->limit ? request->sink->limit : LIMIT_WITHOUT_LIMIT;
    return limit > request->key.len ? limit - request->key.len : 0;
}

static void pack(struct buf *record, const Otlp__ResourceMetrics *message, size_t size) {
    buf_reserve(record, size + MAX_FRAME);
    record->data[record->len++] = RESOURCE_METRICS_TAG;
    size_t rest = size;
    for (; rest >= 0x80; rest >>= 7) record->data[record->len++] = (char)(rest | 0x80);
    record->data[record->len++] = (char)rest;
    record->len += otlp__resource_metrics__pack(message, (uint8_t *)record->data + record->len);
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

enum sink_result otlp_resource_end(struct otlp_request *request, char *error, size_t size) {
    enum sink_result result = SINK_OK;
    size_t room = room_of_record(request);
    size_t count = request->point_count - request->packed;
    sort_points(request);
    while (request->packed < request->point_count) {
        const Otlp__ResourceMetrics *message = resource_message(request, request->packed, count);
        size_t bytes_needed = otlp__resource_metrics__get_packed_size(message);
        bool fits = request->record.len + bytes_needed + MAX_FRAME <= room;
        if (!fits && request->record.len) {
            enum sink_result put = put_record(request, error, size);
            if (put == SINK_FULL) return SINK_FULL;
            if (put == SINK_ERROR) result = SINK_ERROR;
        } else if (!fits && count > 1) {
            count /= 2;
        } else {
            pack(&request->record, message, bytes_needed);
            request->packed += count;
            request->counts.points += count;
            count = request->point_count - request->packed;
        }
    }
    if (request->point_count) request->counts.resources++;
    close_resource(request);
    return result;
}

// A request that is done may wait long for Lua's collector, which does not know how much memory it holds.
static void release(struct otlp_request *request) {
    arena_free(&request->arena);
    buf_free(&request->record);
}

enum sink_result otlp_finish(struct otlp_request *request, char *error, size_t size) {
    enum sink_result result = put_record(request, error, size);
    if (result != SINK_FULL) release(request);
    return result;
}

void otlp_discard(struct otlp_request *request) {
    close_resource(request);
    release(request);
}

void otlp_unreadable(struct otlp_request *request, const struct otlp_metric *metric) {
    if (request->counts.unreadable++) return;
    request->counts.unreadable_metric.data = arena_copy(&request->lasting, metric->name.data, metric->name.len);
    request->counts.unreadable_metric.len = metric->name.len;
}

struct otlp_counts otlp_counts(const struct otlp_request *request) {
    return request->counts;
}
