// How the columns of a result become JSON fields: found out once for each result, used for each of its rows.
// The owner of a plan frees it with record_plan_free; it holds nothing of the result.
#ifndef DBOBS_RECORD_PLAN_H
#define DBOBS_RECORD_PLAN_H

#include <libpq-fe.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

enum record_kind {
    RECORD_HIDDEN,  // no field
    RECORD_NUMBER,  // as the server wrote it; NaN and infinity are left out
    RECORD_BOOL,
    RECORD_TIME,  // ISO 8601, UTC, 'Z'
    RECORD_JSON,  // embedded
    RECORD_TEXT,
};

struct record_column {
    enum record_kind kind;
    size_t name, name_len;  // in the plan's names: `,"<column>":`
};

// Zeroed memory is an empty plan.
struct record_plan {
    struct record_column *columns;
    int count, cap;
    struct buf names;
};

struct record_cell {
    const char *text;
    size_t len;
};

void record_plan_make(struct record_plan *plan, const PGresult *result);
void record_plan_free(struct record_plan *plan);

// Appends the field of a value that is not NULL, with a comma unless the object has just begun.
void record_plan_put(const struct record_plan *plan, int column, struct record_cell cell, struct buf *out);

// The column of this name; -1 when name is NULL or there is none.
int record_column_of(const PGresult *result, const char *name);
// Microseconds since 1970 of "2026-03-29 00:30:00.123456+00", the server's ISO form in UTC. -1 for "infinity" and
// whatever else is no instant.
int record_instant(struct record_cell cell, int64_t *time_us);

// The value, or text NULL for SQL's NULL.
static inline struct record_cell record_cell_at(const PGresult *result, int row, int column) {
    size_t len = (size_t)PQgetlength(result, row, column);
    if (!len && PQgetisnull(result, row, column)) return (struct record_cell){NULL, 0};
    return (struct record_cell){PQgetvalue(result, row, column), len};
}

#endif
