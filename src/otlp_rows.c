// Rows to OTLP points. A row that is a resource of its own, with points whose attributes are constants, is a template
// with its numbers written in; all others go point by point. No allocation of its own once the plan is warm.
#include <string.h>

#include "otlp_number.h"
#include "otlp_plan_own.h"
#include "otlp_request.h"

enum { RESOURCE_ATTRIBUTE = 1 };  // field of Resource

// The numbers of one run in one row.
struct numbers {
    struct series_value values[SERIES_MAX_POINTS];
    int64_t starts[SERIES_MAX_POINTS];
    uint64_t present, unreadable;  // bit i: of point i
};

// The column's text in a row. Returns false when it is NULL there.
static bool text_of(const struct otlp_source *source, const PGresult *result, int row, struct otlp_text *text) {
    text->data = PQgetvalue(result, row, source->number);
    text->len = (size_t)PQgetlength(result, row, source->number);
    return text->len || !PQgetisnull(result, row, source->number);
}

static void read_numbers(const struct otlp_run *run, const PGresult *result, int row, struct numbers *numbers) {
    numbers->present = numbers->unreadable = 0;
    for (size_t i = 0; i < run->count; i++) {
        const struct otlp_planned *point = &run->points[i];
        const char *text = PQgetvalue(result, row, point->value.number);
        if (otlp_parse_number(text, point->metric.is_double, &numbers->values[i]) == 0)
            numbers->present |= (uint64_t)1 << i;
        else if (*text || !PQgetisnull(result, row, point->value.number)) numbers->unreadable |= (uint64_t)1 << i;
    }
}

static void count_unreadable(struct otlp_request *request, const struct otlp_run *run, uint64_t unreadable) {
    for (size_t i = 0; unreadable; i++, unreadable >>= 1)
        if (unreadable & 1) otlp_unreadable(request, &run->points[i].metric);
}

// When the row's counters were last reset.
static int64_t reset_of(const struct otlp_plan *plan, const struct otlp_request *request, const PGresult *result,
                        int row) {
    struct otlp_text text;
    struct series_value age;
    if (!plan->reset.column || !text_of(&plan->reset, result, row, &text)) return SERIES_NO_RESET;
    if (otlp_parse_number(text.data, false, &age) < 0) {
        // A float8 may come with an exponent.
        if (otlp_parse_number(text.data, true, &age) < 0 || !(age.real < 0x1p62)) return SERIES_NO_RESET;
        age.integer = (int64_t)age.real;
    }
    return age.integer < 0 ? SERIES_NO_RESET : otlp_time(request) - age.integer;
}

static void observe(struct otlp_plan *plan, struct otlp_run *run, struct otlp_request *request, const PGresult *result,
                    int row, uint64_t resource, size_t attributes, struct numbers *numbers) {
    struct series_row observed = {.resource = resource,
                                  .attributes = plan->hashes,
                                  .attribute_count = attributes,
                                  .values = numbers->values,
                                  .present = numbers->present,
                                  .reset_us = reset_of(plan, request, result, row)};
    if (numbers->present & run->set.points) otlp_observe(request, &run->set, &observed, numbers->starts);
}

// ------------------------------------------------------------------------------------------------ point by point

// Packs the attributes that the run's points take from columns; returns how many the row has.
static size_t pack_columns(struct otlp_plan *plan, const struct otlp_run *run, const PGresult *result, int row) {
    size_t count = 0;
    buf_clear(&plan->packed);
    for (size_t i = 0; i < run->columns.count; i++) {
        const struct otlp_source *source = &run->columns.items[i];
        struct otlp_text text;
        if (!text_of(source, result, row, &text)) continue;
        otlp_put_text_attribute(&plan->packed, OTLP_POINT_ATTRIBUTE, source->attribute, text);
        plan->hashes[count++] = otlp_hash_attribute(OTLP_OF_POINT, source->attribute, text);
    }
    return count;
}

static void add_points(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result, int row) {
    struct otlp_metrics *metrics = otlp_open_metrics(request);
    struct numbers numbers;
    for (size_t r = 0; r < plan->run_count; r++) {
        struct otlp_run *run = &plan->runs[r];
        read_numbers(run, result, row, &numbers);
        count_unreadable(request, run, numbers.unreadable);
        size_t attributes = pack_columns(plan, run, result, row);
        observe(plan, run, request, result, row, otlp_open_identity(request), attributes, &numbers);
        for (size_t i = 0; i < run->count; i++) {
            if (!(numbers.present >> i & 1)) continue;
            const struct otlp_planned *point = &run->points[i];
            struct otlp_stamp stamp = {.time_ns = (uint64_t)otlp_time(request) * 1000};
            if (point->metric.kind != OTLP_GAUGE) stamp.start_ns = (uint64_t)numbers.starts[i] * 1000;
            otlp_metrics_add(metrics, &point->metric, stamp, numbers.values[i], point->constants,
                             (struct otlp_text){plan->packed.data, plan->packed.len});
        }
    }
}

enum sink_result otlp_plan_points(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result,
                                  int *row, char *error, size_t size) {
    enum sink_result outcome = SINK_OK;
    while (*row < PQntuples(result)) {
        if (otlp_is_large(request)) {
            enum sink_result flushed = otlp_flush(request, error, size);
            if (flushed == SINK_FULL) return SINK_FULL;
            if (flushed == SINK_ERROR) outcome = SINK_ERROR;
        }
        add_points(plan, request, result, (*row)++);
    }
    return outcome;
}

static void begin_row(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result, int row) {
    struct otlp_text text;
    otlp_resource_begin(request);
    for (size_t i = 0; i < plan->resource.count; i++)
        if (text_of(&plan->resource.items[i], result, row, &text))
            otlp_resource_text(request, plan->resource.items[i].attribute, text);
    for (size_t i = 0; i < plan->identity.count; i++)
        if (text_of(&plan->identity.items[i], result, row, &text)) otlp_resource_identity(request, text);
    add_points(plan, request, result, row);
}

static enum sink_result row_by_points(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result,
                                      int row, char *error, size_t size) {
    // An open resource is the row that the sink had no room for.
    if (!otlp_resource_is_open(request)) begin_row(plan, request, result, row);
    return otlp_resource_end(request, error, size);
}

// ------------------------------------------------------------------------------------------------ by template

// Packs the row's attributes; returns what tells its series from those of other rows.
static uint64_t pack_resource(struct otlp_plan *plan, const PGresult *result, int row) {
    uint64_t identity = 0;
    struct otlp_text text;
    buf_clear(&plan->packed);
    for (size_t i = 0; i < plan->resource.count; i++) {
        const struct otlp_source *source = &plan->resource.items[i];
        if (!text_of(source, result, row, &text)) continue;
        otlp_put_text_attribute(&plan->packed, RESOURCE_ATTRIBUTE, source->attribute, text);
        identity += otlp_hash_attribute(OTLP_OF_RESOURCE, source->attribute, text);
    }
    for (size_t i = 0; i < plan->identity.count; i++)
        if (text_of(&plan->identity.items[i], result, row, &text)) identity += otlp_hash(OTLP_OF_HIDDEN, text);
    return identity;
}

// Nothing has changed when it returns SINK_FULL. *done is false when the row has no template, or needs several records.
static enum sink_result row_by_template(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result,
                                        int row, bool *done, char *error, size_t size) {
    struct numbers numbers;
    struct otlp_run *run = &plan->runs[0];
    read_numbers(run, result, row, &numbers);
    const struct otlp_template *template = numbers.present ? otlp_template_get(plan->templates, numbers.present) : NULL;
    *done = !numbers.present;
    if (!template) {
        if (*done) count_unreadable(request, run, numbers.unreadable);
        return SINK_OK;
    }
    uint64_t identity = otlp_request_identity(request) + pack_resource(plan, result, row);
    struct otlp_text attributes = {plan->packed.data, plan->packed.len};
    bool fits;
    enum sink_result made = otlp_whole_room(request, attributes.len, template->bytes.len, &fits, error, size);
    if (made == SINK_FULL || !fits) return made;
    count_unreadable(request, run, numbers.unreadable);
    observe(plan, run, request, result, row, identity, 0, &numbers);
    char *metrics = otlp_whole_add(request, attributes, template->bytes, template->points);
    otlp_template_fill(template, metrics, numbers.values, numbers.starts, otlp_time(request));
    *done = true;
    return made;
}

enum sink_result otlp_plan_rows(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result, int *row,
                                char *error, size_t size) {
    enum sink_result outcome = SINK_OK;
    for (; *row < PQntuples(result); ++*row) {
        bool done = false;
        enum sink_result sent = SINK_OK;
        if (plan->templates && !otlp_resource_is_open(request))
            sent = row_by_template(plan, request, result, *row, &done, error, size);
        if (!done && sent != SINK_FULL) sent = row_by_points(plan, request, result, *row, error, size);
        if (sent == SINK_FULL) return SINK_FULL;
        if (sent == SINK_ERROR) outcome = SINK_ERROR;
    }
    return outcome;
}
