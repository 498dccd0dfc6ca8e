// How rows of a query become OTLP points: which column is an attribute of the resource, which is a point of which
// metric. A plan is made once and used for every result of its query. Owns copies of all names.
#ifndef DBOBS_OTLP_PLAN_H
#define DBOBS_OTLP_PLAN_H

#include <libpq-fe.h>
#include <stddef.h>

#include "otlp.h"

struct otlp_plan;

struct otlp_plan *otlp_plan_new(void);
void otlp_plan_free(struct otlp_plan *plan);

// Making it, before it is first bound. A column that is NULL in a row leaves its attribute or point out; so does a
// value that is no number, which the request counts.
void otlp_plan_resource(struct otlp_plan *plan, struct otlp_text attribute, const char *column);
// A column that tells series apart whose attributes are equal, and is not sent.
void otlp_plan_identity(struct otlp_plan *plan, const char *column);
// The column with the age, in microseconds, of the last reset that covers exactly the row's counters. NULL: unknown,
// and so is one below 0, when the server's clock was set back.
void otlp_plan_reset(struct otlp_plan *plan, const char *column);
// A point; the attributes that follow are its own.
void otlp_plan_point(struct otlp_plan *plan, const struct otlp_metric *metric, const char *column);
void otlp_plan_constant(struct otlp_plan *plan, struct otlp_text attribute, struct otlp_text value);
void otlp_plan_column(struct otlp_plan *plan, struct otlp_text attribute, const char *column);

// Finds the plan's columns in a result of text values; before the functions below are used on it. Returns NULL, or the
// name of a column that the result does not have.
const char *otlp_plan_bind(struct otlp_plan *plan, const PGresult *result);

// Each row from *row on becomes a resource of its own. *row tells how far it came: after SINK_FULL call it again with
// the same arguments. SINK_ERROR: a record was lost, and `error` says why; all rows were gone through.
enum sink_result otlp_plan_rows(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result, int *row,
                                char *error, size_t size);
// The points of all rows from *row on go into the open resource, which is flushed when it is large. Else as above.
enum sink_result otlp_plan_points(struct otlp_plan *plan, struct otlp_request *request, const PGresult *result,
                                  int *row, char *error, size_t size);

#endif
