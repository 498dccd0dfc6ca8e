// Rows to OTLP points. Per row: read the attribute columns, parse each point's column, hand it to the request. No
// allocation of its own after the plan was made.
#include "otlp_plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "buf.h"

// An attribute with a constant value, or with a column's.
struct source {
    struct otlp_text attribute;
    struct otlp_text constant;
    const char *column;  // NULL: constant
    int number;          // of the column in the bound result
};

struct list {
    struct source *items;
    size_t count, room;
};

struct planned_point {
    struct otlp_metric metric;
    struct source value;
    size_t first, count;  // its part of `point_attributes`
};

struct otlp_plan {
    struct arena names;
    struct list resource, identity, point_attributes;
    struct planned_point *points;
    size_t point_count, point_room;
    struct otlp_attribute *row_attributes;  // room for the point with the most
};

struct otlp_plan *otlp_plan_new(void) {
    return xcalloc(1, sizeof(struct otlp_plan));
}

void otlp_plan_free(struct otlp_plan *plan) {
    if (!plan) return;
    arena_free(&plan->names);
    free(plan->resource.items);
    free(plan->identity.items);
    free(plan->point_attributes.items);
    free(plan->points);
    free(plan->row_attributes);
    free(plan);
}

static struct otlp_text keep(struct otlp_plan *plan, struct otlp_text text) {
    return (struct otlp_text){arena_copy(&plan->names, text.data, text.len), text.len};
}

static const char *keep_name(struct otlp_plan *plan, const char *name) {
    return arena_copy(&plan->names, name, strlen(name) + 1);
}

static void list_add(struct list *list, struct source source) {
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 8;
        list->items = xrealloc(list->items, list->room * sizeof *list->items);
    }
    list->items[list->count++] = source;
}

void otlp_plan_resource(struct otlp_plan *plan, struct otlp_text attribute, const char *column) {
    list_add(&plan->resource, (struct source){.attribute = keep(plan, attribute), .column = keep_name(plan, column)});
}

void otlp_plan_identity(struct otlp_plan *plan, const char *column) {
    list_add(&plan->identity, (struct source){.column = keep_name(plan, column)});
}

void otlp_plan_point(struct otlp_plan *plan, const struct otlp_metric *metric, const char *column) {
    if (plan->point_count == plan->point_room) {
        plan->point_room = plan->point_room ? plan->point_room * 2 : 32;
        plan->points = xrealloc(plan->points, plan->point_room * sizeof *plan->points);
    }
    struct planned_point *point = &plan->points[plan->point_count++];
    *point = (struct planned_point){.metric = *metric, .first = plan->point_attributes.count};
    point->metric.name = keep(plan, metric->name);
    point->metric.unit = keep(plan, metric->unit);
    point->metric.description = keep(plan, metric->description);
    point->value.column = keep_name(plan, column);
}

static void add_point_attribute(struct otlp_plan *plan, struct source source) {
    struct planned_point *point = &plan->points[plan->point_count - 1];
    list_add(&plan->point_attributes, source);
    point->count++;
    plan->row_attributes = xrealloc(plan->row_attributes, plan->point_attributes.count * sizeof *plan->row_attributes);
}

void otlp_plan_constant(struct otlp_plan *plan, struct otlp_text attribute, struct otlp_text value) {
    add_point_attribute(plan, (struct source){.attribute = keep(plan, attribute), .constant = keep(plan, value)});
}

void otlp_plan_column(struct otlp_plan *plan, struct otlp_text attribute, const char *column) {
    add_point_attribute(plan, (struct source){.attribute = keep(plan, attribute), .column = keep_name(plan, column)});
}

static const char *bind_source(struct source *source, const PGresult *result) {
    if (!source->column) return NULL;
    for (int number = 0; number < PQnfields(result); number++) {
        if (strcmp(PQfname(result, number), source->column) == 0) {
            source->number = number;
            return NULL;
        }
    }
    return source->column;
}

static const char *bind_list(struct list *list, const PGresult *result) {
    for (size_t i = 0; i < list->count; i++) {
        const char *missing = bind_source(&list->items[i], result);
        if (missing) return missing;
    }
    return NULL;
}

const char *otlp_plan_bind(struct otlp_plan *plan, const PGresult *result) {
    const char *missing = bind_list(&plan->resource, result);
    if (!missing) missing = bind_list(&plan->identity, result);
    if (!missing) missing = bind_list(&plan->point_attributes, result);
    for (size_t i = 0; i < plan->point_count && !missing; i++) missing = bind_source(&plan->points[i].value, result);
    return missing;
}

// The source's text in a row. Returns false when it is NULL there.
static bool text_of(const struct source *source, const PGresult *result, int row, struct otlp_text *text) {
    if (!source->column) {
        *text = source->constant;
        return true;
    }
    if (PQgetisnull(result, row, source->number)) return false;
    text->data = PQgetvalue(result, row, source->number);
    text->len = (size_t)PQgetlength(result, row, source->number);
    return true;
}

static int parse_integer(const char *text, int64_t *value) {
    bool negative = *text == '-';
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t sum = 0;
    text += negative;
    if (*text < '0' || *text > '9') return -1;
    for (; *text >= '0' && *text <= '9'; text++) {
        unsigned digit = (unsigned)(*text - '0');
        if (sum > (limit - digit) / 10) return -1;
        sum = sum * 10 + digit;
    }
    if (*text == '.') text += 1 + strspn(text + 1, "0123456789");
    if (*text) return -1;
    *value = negative ? (int64_t)-sum : (int64_t)sum;
    return 0;
}

int otlp_parse_number(const char *text, bool is_double, struct series_value *value) {
    value->is_double = is_double;
    if (!is_double) return parse_integer(text, &value->integer);
    char *end;
    value->real = strtod(text, &end);
    return *text && !*end && isfinite(value->real) ? 0 : -1;
}

void otlp_plan_points(const struct otlp_plan *plan, struct otlp_request *request, const PGresult *result, int row) {
    for (size_t i = 0; i < plan->point_count; i++) {
        const struct planned_point *point = &plan->points[i];
        struct otlp_text text;
        struct series_value value;
        if (!text_of(&point->value, result, row, &text)) continue;
        if (otlp_parse_number(text.data, point->metric.is_double, &value) < 0) {
            otlp_unreadable(request, &point->metric);
            continue;
        }
        size_t count = 0;
        for (size_t a = 0; a < point->count; a++) {
            const struct source *source = &plan->point_attributes.items[point->first + a];
            struct otlp_attribute *attribute = &plan->row_attributes[count];
            attribute->name = source->attribute;
            count += text_of(source, result, row, &attribute->value);
        }
        otlp_point(request, &point->metric, value, plan->row_attributes, count);
    }
}

static void begin_row(const struct otlp_plan *plan, struct otlp_request *request, const PGresult *result, int row) {
    struct otlp_text text;
    otlp_resource_begin(request);
    for (size_t i = 0; i < plan->resource.count; i++)
        if (text_of(&plan->resource.items[i], result, row, &text))
            otlp_resource_text(request, plan->resource.items[i].attribute, text);
    for (size_t i = 0; i < plan->identity.count; i++)
        if (text_of(&plan->identity.items[i], result, row, &text)) otlp_resource_identity(request, text);
    otlp_plan_points(plan, request, result, row);
}

enum sink_result otlp_plan_rows(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result, int *row,
                                char *error, size_t size) {
    enum sink_result outcome = SINK_OK;
    for (; *row < PQntuples(result); ++*row) {
        // An open resource is the row that the sink had no room for.
        if (!otlp_resource_is_open(request)) begin_row(plan, request, result, *row);
        enum sink_result ended = otlp_resource_end(request, error, size);
        if (ended == SINK_FULL) return SINK_FULL;
        if (ended == SINK_ERROR) outcome = SINK_ERROR;
    }
    return outcome;
}
