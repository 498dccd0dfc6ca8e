// Fuzz target: a plan and rows of any values, twice one after the other, packed by rows and point by point. Both ways
// must put the same records, whatever the sink's limit and however often it was full; and protobuf-c, which packs what
// it unpacked from one, must come to the same bytes.
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

#include "otlp.h"
#include "otlp.pb-c.h"
#include "otlp_number.h"
#include "otlp_plan.h"
#include "utf8.h"

enum { MAX_POINTS = 70, MAX_ROWS = 6, MAX_COLUMNS = MAX_POINTS + 6, MAX_ATTRIBUTES = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

struct point {
    struct otlp_metric metric;
    char name[16];
    struct otlp_attribute attributes[MAX_ATTRIBUTES];  // a value without data is that of a column
    size_t count;
    int columns[MAX_ATTRIBUTES];
};

struct scene {
    struct point points[MAX_POINTS];
    size_t count;
    int resources, identities, resets, attributes;  // columns of each kind, in this order; then the points
    char names[MAX_COLUMNS][8];
    size_t limit;
};

struct collected {
    struct sink sink;  // first: put gets a pointer to it
    struct buf records;
    unsigned full, turn;  // every `full`-th put is refused; 0: none
    bool lost;
};

static void must(int holds) {
    if (!holds) abort();
}

static uint8_t byte(struct input *in) {
    if (!in->left) return 0;
    in->left--;
    return *in->at++;
}

static struct otlp_text text(struct input *in, size_t most) {
    size_t len = byte(in) % (most + 1);
    if (len > in->left) len = in->left;
    struct otlp_text taken = {(const char *)in->at, len};
    in->at += len;
    in->left -= len;
    return taken;
}

// ------------------------------------------------------------------------------------------------ the sink

// What protobuf-c packs from what it unpacked.
static void check_packing(const struct sink_record *record) {
    const uint8_t *value = (const uint8_t *)record->value;
    Otlp__ExportMetricsServiceRequest *request =
        otlp__export_metrics_service_request__unpack(NULL, record->value_len, value);
    must(request && otlp__export_metrics_service_request__get_packed_size(request) == record->value_len);
    uint8_t *again = xmalloc(record->value_len);
    otlp__export_metrics_service_request__pack(request, again);
    must(memcmp(again, value, record->value_len) == 0);
    for (size_t i = 0; i < request->n_resource_metrics; i++) {
        const Otlp__Resource *resource = request->resource_metrics[i]->resource;
        for (size_t a = 1; a < resource->n_attributes; a++) {
            ProtobufCBinaryData said = resource->attributes[a]->value->string_value;
            must(!said.len || utf8_valid((const char *)said.data, said.len));
        }
    }
    free(again);
    otlp__export_metrics_service_request__free_unpacked(request, NULL);
}

static enum sink_result put(struct sink *sink, const struct sink_record *record, char *error, size_t size) {
    struct collected *to = (struct collected *)sink;
    if (to->full && ++to->turn % to->full == 0) return SINK_FULL;
    if (sink->limit && record->key_len + record->value_len > sink->limit) {
        to->lost = true;
        snprintf(error, size, "too large");
        return SINK_ERROR;
    }
    check_packing(record);
    buf_put(&to->records, &record->value_len, sizeof record->value_len);
    buf_put(&to->records, record->value, record->value_len);
    return SINK_OK;
}

static const struct sink_ops ops = {put, NULL};

// ------------------------------------------------------------------------------------------------ plan and rows

static void take_point(struct input *in, struct scene *scene, struct point *point) {
    point->metric.kind = (enum otlp_kind)(byte(in) % 3);
    point->metric.is_double = byte(in) & 1;
    // One name has one kind and type.
    snprintf(point->name, sizeof point->name, "m%d%d%d", byte(in) % 3, point->metric.kind, point->metric.is_double);
    point->metric.name = (struct otlp_text){point->name, strlen(point->name)};
    point->metric.unit = text(in, 3);
    point->metric.description = text(in, 8);
    for (size_t constants = byte(in) % 3; point->count < constants; point->count++)
        point->attributes[point->count] = (struct otlp_attribute){text(in, 4), text(in, 8)};
    for (int i = 0, columns = scene->attributes ? byte(in) % 2 * scene->attributes : 0; i < columns; i++) {
        point->columns[point->count] = scene->resources + scene->identities + scene->resets + i;
        point->attributes[point->count++] = (struct otlp_attribute){{"column", 6}, {NULL, 0}};
    }
}

static void take_scene(struct input *in, struct scene *scene) {
    uint8_t columns = byte(in), limit = byte(in);
    scene->resources = columns & 1;
    scene->identities = columns >> 1 & 1;
    scene->resets = columns >> 2 & 1;
    scene->attributes = (columns >> 3 & 3) % 3;
    scene->limit = limit & 1 ? 0 : 60 + (size_t)limit * 8;
    scene->count = 1 + byte(in) % (columns & 0x80 ? MAX_POINTS : 6);
    for (size_t i = 0; i < scene->count; i++) take_point(in, scene, &scene->points[i]);
}

static int first_value(const struct scene *scene) {
    return scene->resources + scene->identities + scene->resets + scene->attributes;
}

static struct otlp_plan *plan_of(const struct scene *scene) {
    struct otlp_plan *plan = otlp_plan_new();
    if (scene->resources) otlp_plan_resource(plan, (struct otlp_text){"table", 5}, scene->names[0]);
    if (scene->identities) otlp_plan_identity(plan, scene->names[scene->resources]);
    if (scene->resets) otlp_plan_reset(plan, scene->names[scene->resources + scene->identities]);
    for (size_t i = 0; i < scene->count; i++) {
        const struct point *point = &scene->points[i];
        otlp_plan_point(plan, &point->metric, scene->names[first_value(scene) + (int)i]);
        for (size_t a = 0; a < point->count; a++) {
            const struct otlp_attribute *attribute = &point->attributes[a];
            if (attribute->value.data) otlp_plan_constant(plan, attribute->name, attribute->value);
            else otlp_plan_column(plan, attribute->name, scene->names[point->columns[a]]);
        }
    }
    return plan;
}

static void set_value(struct input *in, PGresult *result, int row, int column) {
    char value[32];
    uint8_t kind = byte(in);
    struct otlp_text any = text(in, 8);
    int len = -1;
    if (kind % 4 == 1) len = snprintf(value, sizeof value, "%d", byte(in));
    if (kind % 4 == 2) len = snprintf(value, sizeof value, "%lld.5", (long long)(INT64_MAX - byte(in)));
    if (kind % 4 == 3 && !memchr(any.data, '\0', any.len)) {
        memcpy(value, any.data, any.len);
        len = (int)any.len;
    }
    must(PQsetvalue(result, row, column, value, len));
}

static PGresult *rows_of(struct input *in, struct scene *scene) {
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc columns[MAX_COLUMNS] = {0};
    int count = first_value(scene) + (int)scene->count, rows = byte(in) % (MAX_ROWS + 1);
    for (int i = 0; i < count; i++) {
        snprintf(scene->names[i], sizeof scene->names[i], "c%d", i);
        columns[i].name = scene->names[i];
    }
    must(PQsetResultAttrs(result, count, columns));
    for (int row = 0; row < rows; row++)
        for (int i = 0; i < count; i++) set_value(in, result, row, i);
    return result;
}

// ------------------------------------------------------------------------------------------------ the two ways

static struct otlp_text column(const PGresult *result, int row, int number) {
    if (PQgetisnull(result, row, number)) return (struct otlp_text){NULL, 0};
    return (struct otlp_text){PQgetvalue(result, row, number), (size_t)PQgetlength(result, row, number)};
}

static void add_point(const struct scene *scene, size_t number, struct otlp_request *request, const PGresult *result,
                      int row) {
    const struct point *point = &scene->points[number];
    struct otlp_attribute attributes[MAX_ATTRIBUTES];
    struct series_value value;
    size_t count = 0;
    struct otlp_text said = column(result, row, first_value(scene) + (int)number);
    if (!said.data) return;
    if (otlp_parse_number(said.data, point->metric.is_double, &value) < 0) {
        otlp_unreadable(request, &point->metric);
        return;
    }
    for (size_t i = 0; i < point->count; i++) {
        attributes[count] = point->attributes[i];
        if (!attributes[count].value.data) attributes[count].value = column(result, row, point->columns[i]);
        if (attributes[count].value.data) count++;
    }
    otlp_point(request, &point->metric, value, attributes, count);
}

static void put_by_points(const struct scene *scene, struct otlp_request *request, const PGresult *result) {
    char error[256];
    for (int row = 0; row < PQntuples(result); row++) {
        otlp_resource_begin(request);
        struct otlp_text said = scene->resources ? column(result, row, 0) : (struct otlp_text){NULL, 0};
        if (said.data) otlp_resource_text(request, (struct otlp_text){"table", 5}, said);
        if (scene->identities && (said = column(result, row, scene->resources)).data)
            otlp_resource_identity(request, said);
        for (size_t i = 0; i < scene->count; i++) add_point(scene, i, request, result, row);
        while (otlp_resource_end(request, error, sizeof error) == SINK_FULL) continue;
    }
}

static void put_by_rows(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result) {
    char error[256];
    int row = 0;
    must(otlp_plan_bind(plan, result) == NULL);
    while (otlp_plan_rows(plan, request, result, &row, error, sizeof error) == SINK_FULL) continue;
}

static struct otlp_counts run(const struct scene *scene, struct otlp_plan *plan, const PGresult *result,
                              int64_t time_us, struct series *series, struct collected *to) {
    struct otlp_options options = {{"scope", 5}, {"1", 1}, {"key", 3}, time_us};
    struct otlp_request *request = otlp_new(&options);
    char error[256];
    to->sink = (struct sink){.ops = &ops, .limit = scene->limit};
    otlp_connect(request, &to->sink, NULL, series);
    otlp_common_int(request, (struct otlp_text){"port", 4}, 5432);
    if (plan) put_by_rows(plan, request, result);
    else put_by_points(scene, request, result);
    while (otlp_finish(request, error, sizeof error) == SINK_FULL) continue;
    struct otlp_counts counts = otlp_counts(request);
    otlp_free(request);
    return counts;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    struct input in = {data, size};
    struct scene scene = {0};
    take_scene(&in, &scene);
    struct series *by_rows = series_new(), *by_points = series_new();
    struct otlp_plan *plan = NULL;
    for (int round = 0; round < 3; round++) {
        struct collected rows = {.full = byte(&in) % 4 + 1}, points = {.full = 0};
        if (rows.full == 1) rows.full = 0;
        PGresult *result = rows_of(&in, &scene);
        if (!plan) plan = plan_of(&scene);
        int64_t time_us = 1700000000000000 + (byte(&in) - 64) * 1000;
        struct otlp_counts left = run(&scene, plan, result, time_us, by_rows, &rows);
        // What is known of resets has no way into points that come singly.
        struct otlp_counts right = run(&scene, NULL, result, time_us, by_points, &points);
        must(left.points == right.points && left.resources == right.resources && left.unreadable == right.unreadable);
        must(left.records == right.records && rows.lost == points.lost && rows.records.len == points.records.len);
        must(series_count(by_rows) == series_count(by_points));
        must(scene.resets || !rows.records.len ||
             memcmp(rows.records.data, points.records.data, rows.records.len) == 0);
        buf_free(&rows.records);
        buf_free(&points.records);
        PQclear(result);
    }
    series_forget(by_rows, INT64_MAX);
    must(series_count(by_rows) == 0);
    otlp_plan_free(plan);
    series_free(by_rows);
    series_free(by_points);
    return 0;
}
