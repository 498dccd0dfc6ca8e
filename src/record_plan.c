// Columns as JSON fields. Numbers are copied as the server wrote them, so none is rounded; a value without a JSON form
// (NaN, infinity) is left out. The result must be in text format with the server's timestamps in UTC and ISO.
#include "record_plan.h"

#include <stdlib.h>
#include <string.h>

#include "civil.h"
#include "json.h"
#include "pg_types.h"

static enum record_kind kind_of(Oid type) {
    switch (type) {
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_OID:
    case OID_XID:
    case OID_XID8:
    case OID_FLOAT4:
    case OID_FLOAT8:
    case OID_NUMERIC:
        return RECORD_NUMBER;
    case OID_BOOL:
        return RECORD_BOOL;
    case OID_TIMESTAMPTZ:
        return RECORD_TIME;
    case OID_JSON:
    case OID_JSONB:
        return RECORD_JSON;
    default:
        return RECORD_TEXT;
    }
}

void record_plan_make(struct record_plan *plan, const PGresult *result) {
    plan->count = PQnfields(result);
    if (plan->count > plan->cap) {
        plan->cap = plan->count;
        plan->columns = xrealloc(plan->columns, (size_t)plan->cap * sizeof *plan->columns);
    }
    buf_clear(&plan->names);
    for (int i = 0; i < plan->count; i++) {
        const char *name = PQfname(result, i);
        struct record_column *column = &plan->columns[i];
        column->kind = kind_of(PQftype(result, i));
        column->name = plan->names.len;
        buf_putc(&plan->names, ',');
        json_put_string(&plan->names, name, strlen(name));
        buf_putc(&plan->names, ':');
        column->name_len = plan->names.len - column->name;
    }
}

void record_plan_free(struct record_plan *plan) {
    free(plan->columns);
    buf_free(&plan->names);
    *plan = (struct record_plan){0};
}

int record_column_of(const PGresult *result, const char *name) {
    for (int column = 0; name && column < PQnfields(result); column++)
        if (strcmp(PQfname(result, column), name) == 0) return column;
    return -1;
}

int record_instant(struct record_cell cell, int64_t *time_us) {
    struct civil civil;
    size_t at = cell.text ? civil_parse(cell.text, cell.len, &civil) : 0;
    if (!at || cell.len - at != 3 || strncmp(cell.text + at, "+00", 3) != 0) return -1;
    *time_us = civil_to_us(&civil);
    return 0;
}

static void put_time(struct buf *out, struct record_cell cell) {
    int64_t time_us;
    if (record_instant(cell, &time_us)) json_put_string(out, cell.text, cell.len);
    else json_put_time(out, time_us);
}

// Digits may begin behind the sign; NaN and Infinity begin with a letter there.
static bool is_finite(const char *text) {
    const char *first = text + (*text == '-');
    return *first >= '0' && *first <= '9';
}

void record_plan_put(const struct record_plan *plan, int column, struct record_cell cell, struct buf *out) {
    const struct record_column *to = &plan->columns[column];
    if (to->kind == RECORD_HIDDEN || (to->kind == RECORD_NUMBER && !is_finite(cell.text))) return;
    size_t no_comma = out->len && out->data[out->len - 1] == '{';
    buf_put(out, plan->names.data + to->name + no_comma, to->name_len - no_comma);
    switch (to->kind) {
    case RECORD_NUMBER:
        buf_put(out, cell.text, cell.len);
        break;
    case RECORD_BOOL:
        buf_puts(out, *cell.text == 't' ? "true" : "false");
        break;
    case RECORD_TIME:
        put_time(out, cell);
        break;
    case RECORD_JSON:
        json_put_compact(out, cell.text, cell.len);
        break;
    case RECORD_TEXT:
        json_put_string(out, cell.text, cell.len);
        break;
    case RECORD_HIDDEN:
        break;
    }
}
