// The packed metrics of a row, made once for all rows in which the same points are there: numbers have a fixed size, so
// that the next row's are written over them. Owned by the plan.
#ifndef DBOBS_OTLP_TEMPLATE_H
#define DBOBS_OTLP_TEMPLATE_H

#include "otlp.h"
#include "series.h"

struct otlp_planned;
struct otlp_templates;

struct otlp_template {
    uint64_t present;        // bit i: the row has point i
    struct otlp_text bytes;  // the metrics, as fields of ScopeMetrics
    size_t points;
};

// points stay the caller's; at most SERIES_MAX_POINTS.
struct otlp_templates *otlp_templates_new(const struct otlp_planned *points, size_t count);
void otlp_templates_free(struct otlp_templates *templates);

// The template of rows with these points. NULL when there are too many templates already.
const struct otlp_template *otlp_template_get(struct otlp_templates *templates, uint64_t present);
// Writes a row's numbers over those in `metrics`, a copy of the template's bytes. Starts are microseconds since 1970.
void otlp_template_fill(const struct otlp_template *template, char *metrics, const struct series_value *values,
                        const int64_t *starts, int64_t time_us);

#endif
