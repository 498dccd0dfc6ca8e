// Points of a resource, packed by metric. The field numbers are those of proto/otlp.proto. Nothing is packed twice when
// the sink has no room, however often it is tried: only a part's end is looked for again.
#include "otlp_metrics.h"

#include <stdlib.h>
#include <string.h>

#include "utf8.h"
#include "wire.h"

enum {
    METRICS_TAG = WIRE_TAG(2, WIRE_BYTES),  // of ScopeMetrics
    GAUGE_TAG = WIRE_TAG(5, WIRE_BYTES),
    SUM_TAG = WIRE_TAG(7, WIRE_BYTES),
    POINT_TAG = WIRE_TAG(1, WIRE_BYTES),  // of Gauge and Sum
    // What stands around the points of one metric besides its name, unit and description.
    MAX_FRAMES = 2 * (1 + WIRE_MAX_VARINT) + 4,
    // Values, times and frames of one point.
    MAX_POINT = 3 * 9 + 1 + WIRE_MAX_VARINT
};

// What follows the points of a sum: cumulative temporality, and monotonic.
static const char trailer[] = {WIRE_TAG(2, WIRE_VARINT), 2, WIRE_TAG(3, WIRE_VARINT), 1};

struct packed {
    struct otlp_text name;  // in `head`
    enum otlp_kind kind;
    struct buf head;    // name, description and unit
    struct buf points;  // each with its field's tag and length
    size_t count;       // of points
};

// How far a part goes: all of the metrics before `metric`, and so much of that one.
struct part {
    size_t metric, bytes, points;
};

struct otlp_metrics {
    struct packed *list;
    size_t count, room;  // of those beyond count, the buffers are kept
    size_t last;         // that got a point
    size_t bytes;        // of all points
    bool sorted;
    struct part part;  // that was cut
};

// ------------------------------------------------------------------------------------------------ texts

// The text in UTF-8; `repaired` owns it when it had to be made.
static struct otlp_text clean(struct otlp_text text, struct buf *repaired) {
    if (utf8_valid(text.data, text.len)) return text;
    utf8_put(repaired, text.data, text.len);
    return (struct otlp_text){repaired->data, repaired->len};
}

static void put_field(struct buf *out, int field, const void *data, size_t len) {
    buf_reserve(out, 1 + WIRE_MAX_VARINT + len);
    char *at = wire_field(out->data + out->len, WIRE_TAG(field, WIRE_BYTES), len);
    out->len = (size_t)(wire_copy(at, data, len) - out->data);
}

void otlp_put_text(struct buf *out, int field, struct otlp_text text) {
    struct buf repaired = {0};
    text = clean(text, &repaired);
    if (text.len) put_field(out, field, text.data, text.len);
    buf_free(&repaired);
}

// KeyValue{key = 1, value = 2}: the value is an AnyValue, whose bytes are head and then text. An empty key is left out,
// as protobuf does.
static void put_attribute(struct buf *out, int field, struct otlp_text name, const char *head, size_t head_len,
                          struct otlp_text text) {
    struct buf repaired = {0};
    name = clean(name, &repaired);
    size_t size = (name.len ? wire_field_size(name.len) : 0) + wire_field_size(head_len + text.len);
    buf_reserve(out, wire_field_size(size));
    char *at = wire_field(out->data + out->len, WIRE_TAG(field, WIRE_BYTES), size);
    if (name.len) at = wire_copy(wire_field(at, WIRE_TAG(1, WIRE_BYTES), name.len), name.data, name.len);
    at = wire_field(at, WIRE_TAG(2, WIRE_BYTES), head_len + text.len);
    at = wire_copy(wire_copy(at, head, head_len), text.data, text.len);
    out->len = (size_t)(at - out->data);
    buf_free(&repaired);
}

void otlp_put_text_attribute(struct buf *out, int field, struct otlp_text name, struct otlp_text value) {
    struct buf repaired = {0};
    char head[1 + WIRE_MAX_VARINT];
    value = clean(value, &repaired);
    size_t len = (size_t)(wire_field(head, WIRE_TAG(1, WIRE_BYTES), value.len) - head);  // string_value = 1
    put_attribute(out, field, name, head, len, value);
    buf_free(&repaired);
}

void otlp_put_int_attribute(struct buf *out, int field, struct otlp_text name, int64_t value) {
    char head[1 + WIRE_MAX_VARINT] = {WIRE_TAG(3, WIRE_VARINT)};  // int_value = 3
    size_t len = (size_t)(wire_varint(head + 1, (uint64_t)value) - head);
    put_attribute(out, field, name, head, len, (struct otlp_text){"", 0});
}

// ------------------------------------------------------------------------------------------------ adding points

struct otlp_metrics *otlp_metrics_new(void) {
    return xcalloc(1, sizeof(struct otlp_metrics));
}

void otlp_metrics_clear(struct otlp_metrics *metrics) {
    for (size_t i = 0; i < metrics->count; i++) {
        buf_clear(&metrics->list[i].head);
        buf_clear(&metrics->list[i].points);
        metrics->list[i].count = 0;
    }
    metrics->count = metrics->last = metrics->bytes = 0;
}

void otlp_metrics_release(struct otlp_metrics *metrics) {
    for (size_t i = 0; i < metrics->room; i++) {
        buf_free(&metrics->list[i].head);
        buf_free(&metrics->list[i].points);
    }
    free(metrics->list);
    *metrics = (struct otlp_metrics){0};
}

void otlp_metrics_free(struct otlp_metrics *metrics) {
    if (!metrics) return;
    otlp_metrics_release(metrics);
    free(metrics);
}

static bool is_named(const struct packed *packed, struct otlp_text name) {
    return packed->name.len == name.len && (!name.len || memcmp(packed->name.data, name.data, name.len) == 0);
}

static struct packed *packed_new(struct otlp_metrics *metrics, const struct otlp_metric *metric,
                                 struct otlp_text name) {
    if (metrics->count == metrics->room) {
        size_t room = metrics->room ? metrics->room * 2 : 16;
        metrics->list = xrealloc(metrics->list, room * sizeof *metrics->list);
        memset(metrics->list + metrics->room, 0, (room - metrics->room) * sizeof *metrics->list);
        metrics->room = room;
    }
    struct packed *packed = &metrics->list[metrics->count];
    metrics->last = metrics->count++;
    metrics->sorted = false;
    packed->kind = metric->kind;
    otlp_put_text(&packed->head, 1, name);
    size_t name_end = packed->head.len;
    otlp_put_text(&packed->head, 2, metric->description);
    otlp_put_text(&packed->head, 3, metric->unit);
    packed->name = (struct otlp_text){packed->head.data + name_end - name.len, name.len};
    return packed;
}

// Points come in the order of their metrics, row after row: the metric is that of the point before, the next or the
// first, or else any.
static struct packed *packed_of(struct otlp_metrics *metrics, const struct otlp_metric *metric) {
    struct buf repaired = {0};
    struct otlp_text name = clean(metric->name, &repaired);
    struct packed *found = NULL;
    for (size_t i = 0, at = metrics->last; i < metrics->count && !found; i++) {
        if (is_named(&metrics->list[at], name)) {
            metrics->last = at;
            found = &metrics->list[at];
        }
        if (++at == metrics->count) at = 0;
    }
    if (!found) found = packed_new(metrics, metric, name);
    buf_free(&repaired);
    return found;
}

void otlp_metrics_add(struct otlp_metrics *metrics, const struct otlp_metric *metric, struct otlp_stamp stamp,
                      struct series_value value, struct otlp_text constants, struct otlp_text own) {
    struct packed *packed = packed_of(metrics, metric);
    bool is_sum = packed->kind != OTLP_GAUGE;
    size_t size = (is_sum ? 9 : 0) + 9 + 9 + constants.len + own.len;
    struct buf *points = &packed->points;
    size_t before = points->len;
    buf_reserve(points, MAX_POINT + constants.len + own.len);
    char *at = wire_field(points->data + points->len, POINT_TAG, size);
    if (is_sum) {
        *at++ = WIRE_TAG(2, WIRE_FIXED64);
        at = wire_fixed64(at, stamp.start_ns);
    }
    *at++ = WIRE_TAG(3, WIRE_FIXED64);
    at = wire_fixed64(at, stamp.time_ns);
    uint64_t bits;
    memcpy(&bits, value.is_double ? (const void *)&value.real : (const void *)&value.integer, sizeof bits);
    *at++ = value.is_double ? WIRE_TAG(4, WIRE_FIXED64) : WIRE_TAG(6, WIRE_FIXED64);
    at = wire_fixed64(at, bits);
    at = wire_copy(at, constants.data, constants.len);
    at = wire_copy(at, own.data, own.len);
    points->len = (size_t)(at - points->data);
    metrics->bytes += points->len - before;
    packed->count++;
}

// ------------------------------------------------------------------------------------------------ writing

static int compare(const void *a, const void *b) {
    const struct packed *left = a, *right = b;
    size_t shared = left->name.len < right->name.len ? left->name.len : right->name.len;
    int order = memcmp(left->name.data, right->name.data, shared);
    return order ? order : (left->name.len > right->name.len) - (left->name.len < right->name.len);
}

static void sort(struct otlp_metrics *metrics) {
    if (metrics->sorted) return;
    qsort(metrics->list, metrics->count, sizeof *metrics->list, compare);
    metrics->last = 0;
    metrics->sorted = true;
}

static size_t trailer_size(const struct packed *packed) {
    return packed->kind == OTLP_GAUGE ? 0 : packed->kind == OTLP_SUM ? 2 : 4;
}

// The Metric message with so many bytes of points.
static size_t metric_size(const struct packed *packed, size_t points) {
    return packed->head.len + wire_field_size(points + trailer_size(packed));
}

// Bytes of the metric's points that the part has.
static size_t bytes_in(const struct otlp_metrics *metrics, size_t metric, struct part part) {
    return metric < part.metric ? metrics->list[metric].points.len : part.bytes;
}

static size_t part_size(const struct otlp_metrics *metrics, struct part part) {
    size_t size = 0;
    for (size_t i = 0; i < metrics->count && i <= part.metric; i++) {
        size_t bytes = bytes_in(metrics, i, part);
        if (bytes) size += wire_field_size(metric_size(&metrics->list[i], bytes));
    }
    return size;
}

size_t otlp_metrics_size(const struct otlp_metrics *metrics) {
    return part_size(metrics, (struct part){metrics->count, 0, 0});
}

size_t otlp_metrics_bytes(const struct otlp_metrics *metrics) {
    return metrics->bytes;
}

// Bytes of the field that begins there.
static size_t point_size(const struct buf *points, size_t offset) {
    const unsigned char *at = (const unsigned char *)points->data + offset + 1;
    size_t len = 0, bytes = 0;
    do len |= (size_t)(at[bytes] & 0x7f) << 7 * bytes;
    while (at[bytes++] & 0x80);
    return 1 + bytes + len;
}

// As many points as surely fit.
static struct part part_within(const struct otlp_metrics *metrics, size_t room) {
    struct part part = {0};
    size_t used = 0, all = 0;
    for (; part.metric < metrics->count; part = (struct part){.metric = part.metric + 1}) {
        const struct packed *packed = &metrics->list[part.metric];
        used += packed->head.len + MAX_FRAMES;
        while (part.bytes < packed->points.len) {
            size_t size = point_size(&packed->points, part.bytes);
            if (all && used + size > room) return part;
            used += size;
            part.bytes += size;
            part.points++;
            all++;
        }
    }
    return part;
}

size_t otlp_metrics_cut(struct otlp_metrics *metrics, size_t room) {
    sort(metrics);
    metrics->part = (struct part){metrics->count, 0, 0};
    size_t size = part_size(metrics, metrics->part);
    if (size <= room) return size;
    metrics->part = part_within(metrics, room);
    return part_size(metrics, metrics->part);
}

static void write_metric(const struct packed *packed, size_t len, struct buf *out) {
    size_t size = metric_size(packed, len), rest = trailer_size(packed);
    buf_reserve(out, wire_field_size(size));
    char *at = wire_field(out->data + out->len, METRICS_TAG, size);
    at = wire_copy(at, packed->head.data, packed->head.len);
    at = wire_field(at, packed->kind == OTLP_GAUGE ? GAUGE_TAG : SUM_TAG, len + rest);
    at = wire_copy(at, packed->points.data, len);
    at = wire_copy(at, trailer, rest);
    out->len = (size_t)(at - out->data);
}

// Takes the first bytes of the metric's points away.
static void drop(struct otlp_metrics *metrics, struct packed *packed, size_t bytes, size_t points) {
    struct buf *left = &packed->points;
    left->len -= bytes;
    if (left->len) memmove(left->data, left->data + bytes, left->len);
    packed->count -= points;
    metrics->bytes -= bytes;
}

size_t otlp_metrics_write(struct otlp_metrics *metrics, struct buf *out) {
    size_t written = 0;
    for (size_t i = 0; i < metrics->count && i <= metrics->part.metric; i++) {
        struct packed *packed = &metrics->list[i];
        size_t bytes = bytes_in(metrics, i, metrics->part);
        size_t points = i < metrics->part.metric ? packed->count : metrics->part.points;
        if (!bytes) continue;
        write_metric(packed, bytes, out);
        drop(metrics, packed, bytes, points);
        written += points;
    }
    return written;
}
