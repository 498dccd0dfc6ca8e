// Makes plans: keeps copies of all names, and prepares what is the same in every row when the plan is first bound.
#include "otlp_plan.h"

#include <stdlib.h>
#include <string.h>

#include "otlp_plan_own.h"
#include "otlp_request.h"

struct otlp_plan *otlp_plan_new(void) {
    return xcalloc(1, sizeof(struct otlp_plan));
}

void otlp_plan_free(struct otlp_plan *plan) {
    if (!plan) return;
    for (size_t i = 0; i < plan->point_count; i++) free(plan->points[i].attributes.items);
    for (size_t i = 0; i < plan->run_count; i++) free(plan->runs[i].columns.items);
    otlp_templates_free(plan->templates);
    arena_free(&plan->arena);
    buf_free(&plan->packed);
    free(plan->hashes);
    free(plan->resource.items);
    free(plan->identity.items);
    free(plan->points);
    free(plan->runs);
    free(plan);
}

static struct otlp_text keep(struct otlp_plan *plan, struct otlp_text text) {
    return (struct otlp_text){arena_copy(&plan->arena, text.data, text.len), text.len};
}

static const char *keep_name(struct otlp_plan *plan, const char *name) {
    return arena_copy(&plan->arena, name, strlen(name) + 1);
}

static void list_add(struct otlp_sources *list, struct otlp_source source) {
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 4;
        list->items = xrealloc(list->items, list->room * sizeof *list->items);
    }
    list->items[list->count++] = source;
}

void otlp_plan_resource(struct otlp_plan *plan, struct otlp_text attribute, const char *column) {
    list_add(&plan->resource,
             (struct otlp_source){.attribute = keep(plan, attribute), .column = keep_name(plan, column)});
}

void otlp_plan_identity(struct otlp_plan *plan, const char *column) {
    list_add(&plan->identity, (struct otlp_source){.column = keep_name(plan, column)});
}

void otlp_plan_reset(struct otlp_plan *plan, const char *column) {
    plan->reset.column = keep_name(plan, column);
}

void otlp_plan_point(struct otlp_plan *plan, const struct otlp_metric *metric, const char *column) {
    if (plan->point_count == plan->point_room) {
        plan->point_room = plan->point_room ? plan->point_room * 2 : 32;
        plan->points = xrealloc(plan->points, plan->point_room * sizeof *plan->points);
    }
    struct otlp_planned *point = &plan->points[plan->point_count++];
    *point = (struct otlp_planned){.metric = *metric};
    point->metric.name = keep(plan, metric->name);
    point->metric.unit = keep(plan, metric->unit);
    point->metric.description = keep(plan, metric->description);
    point->value.column = keep_name(plan, column);
}

static struct otlp_sources *last_attributes(struct otlp_plan *plan) {
    return &plan->points[plan->point_count - 1].attributes;
}

void otlp_plan_constant(struct otlp_plan *plan, struct otlp_text attribute, struct otlp_text value) {
    list_add(last_attributes(plan),
             (struct otlp_source){.attribute = keep(plan, attribute), .constant = keep(plan, value)});
}

void otlp_plan_column(struct otlp_plan *plan, struct otlp_text attribute, const char *column) {
    list_add(last_attributes(plan),
             (struct otlp_source){.attribute = keep(plan, attribute), .column = keep_name(plan, column)});
}

// ------------------------------------------------------------------------------------------------ preparing

// The n-th attribute with a column; NULL when there are fewer.
static const struct otlp_source *column_at(const struct otlp_sources *attributes, size_t n) {
    for (size_t i = 0; i < attributes->count; i++)
        if (attributes->items[i].column && n-- == 0) return &attributes->items[i];
    return NULL;
}

static bool same_columns(const struct otlp_sources *a, const struct otlp_sources *b) {
    for (size_t i = 0;; i++) {
        const struct otlp_source *left = column_at(a, i), *right = column_at(b, i);
        if (!left || !right) return left == right;
        if (strcmp(left->column, right->column) != 0 || left->attribute.len != right->attribute.len ||
            memcmp(left->attribute.data, right->attribute.data, left->attribute.len) != 0)
            return false;
    }
}

static void pack_constants(struct otlp_plan *plan, struct otlp_planned *point) {
    buf_clear(&plan->packed);
    for (size_t i = 0; i < point->attributes.count; i++) {
        const struct otlp_source *source = &point->attributes.items[i];
        if (!source->column)
            otlp_put_text_attribute(&plan->packed, OTLP_POINT_ATTRIBUTE, source->attribute, source->constant);
    }
    point->constants = keep(plan, (struct otlp_text){plan->packed.data, plan->packed.len});
}

static void fill_member(struct otlp_plan *plan, const struct otlp_planned *point, size_t place,
                        struct series_member *member) {
    uint64_t *hashes = arena_alloc(&plan->arena, point->attributes.count * sizeof *hashes);
    *member = (struct series_member){.metric = otlp_hash_metric(&point->metric),
                                     .attributes = hashes,
                                     .point = place,
                                     .monotonic = point->metric.kind == OTLP_COUNTER};
    for (size_t i = 0; i < point->attributes.count; i++) {
        const struct otlp_source *source = &point->attributes.items[i];
        if (source->column) continue;
        hashes[member->attribute_count++] = otlp_hash_attribute(OTLP_OF_POINT, source->attribute, source->constant);
    }
}

// The series of a run: all of its points but the gauges, which have no start.
static void fill_set(struct otlp_plan *plan, struct otlp_run *run) {
    struct series_member *members = arena_alloc(&plan->arena, run->count * sizeof *members);
    run->set.members = members;
    for (size_t i = 0; i < run->count; i++) {
        if (run->points[i].metric.kind == OTLP_GAUGE) continue;
        fill_member(plan, &run->points[i], i, &members[run->set.count++]);
        run->set.points |= (uint64_t)1 << i;
    }
}

static void add_run(struct otlp_plan *plan, size_t first) {
    struct otlp_run *run = &plan->runs[plan->run_count++];
    const struct otlp_planned *points = &plan->points[first];
    *run = (struct otlp_run){.points = &plan->points[first]};
    while (first + run->count < plan->point_count && run->count < SERIES_MAX_POINTS &&
           same_columns(&points[run->count].attributes, &points->attributes))
        run->count++;
    const struct otlp_source *column;
    for (size_t i = 0; (column = column_at(&points->attributes, i)); i++) list_add(&run->columns, *column);
    fill_set(plan, run);
}

static void prepare(struct otlp_plan *plan) {
    size_t most_columns = 0;
    plan->runs = xcalloc(plan->point_count, sizeof *plan->runs);
    for (size_t i = 0; i < plan->point_count; i++) pack_constants(plan, &plan->points[i]);
    for (size_t first = 0; first < plan->point_count; first += plan->runs[plan->run_count - 1].count) {
        add_run(plan, first);
        size_t columns = plan->runs[plan->run_count - 1].columns.count;
        if (columns > most_columns) most_columns = columns;
    }
    plan->hashes = xmalloc(most_columns * sizeof *plan->hashes);
    if (plan->run_count == 1 && !most_columns) plan->templates = otlp_templates_new(plan->points, plan->point_count);
}

// ------------------------------------------------------------------------------------------------ binding

static const char *bind_source(struct otlp_source *source, const PGresult *result) {
    if (!source->column) return NULL;
    for (int number = 0; number < PQnfields(result); number++) {
        if (strcmp(PQfname(result, number), source->column) == 0) {
            source->number = number;
            return NULL;
        }
    }
    return source->column;
}

static const char *bind_list(struct otlp_sources *list, const PGresult *result) {
    for (size_t i = 0; i < list->count; i++) {
        const char *missing = bind_source(&list->items[i], result);
        if (missing) return missing;
    }
    return NULL;
}

const char *otlp_plan_bind(struct otlp_plan *plan, const PGresult *result) {
    if (!plan->runs) prepare(plan);
    const char *missing = bind_list(&plan->resource, result);
    if (!missing) missing = bind_list(&plan->identity, result);
    if (!missing) missing = bind_source(&plan->reset, result);
    for (size_t i = 0; i < plan->run_count && !missing; i++) missing = bind_list(&plan->runs[i].columns, result);
    for (size_t i = 0; i < plan->point_count && !missing; i++) missing = bind_source(&plan->points[i].value, result);
    return missing;
}
