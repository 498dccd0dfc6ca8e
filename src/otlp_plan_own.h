// A plan's insides, for the files that make it and that use it.
#ifndef DBOBS_OTLP_PLAN_OWN_H
#define DBOBS_OTLP_PLAN_OWN_H

#include "arena.h"
#include "buf.h"
#include "otlp_plan.h"
#include "otlp_template.h"
#include "series.h"

// An attribute with a constant value, or with a column's; or a column alone.
struct otlp_source {
    struct otlp_text attribute;
    struct otlp_text constant;
    const char *column;  // NULL: constant
    int number;          // of the column in the bound result
};

struct otlp_sources {
    struct otlp_source *items;
    size_t count, room;
};

struct otlp_planned {
    struct otlp_metric metric;
    struct otlp_source value;
    struct otlp_sources attributes;
    struct otlp_text constants;  // those attributes that are the same in each row, packed
};

// Points that stand together in the plan and take the same attributes from columns: they share an entry of the series.
struct otlp_run {
    struct otlp_planned *points;
    size_t count;                 // up to SERIES_MAX_POINTS
    struct otlp_sources columns;  // borrowed from all its points: the first one's attributes that have a column
    struct series_set set;
};

struct otlp_plan {
    struct arena arena;
    struct otlp_sources resource, identity;
    struct otlp_source reset;  // column NULL: not known
    struct otlp_planned *points;
    size_t point_count, point_room;
    // Made when it is first bound.
    struct otlp_run *runs;
    size_t run_count;
    struct otlp_templates *templates;  // NULL: its rows have no template
    // Of the row at hand.
    struct buf packed;
    uint64_t *hashes;  // room for the run with most columns
};

#endif
