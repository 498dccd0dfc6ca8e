// Writes rows as records. Numbers are copied as the server wrote them, so none is rounded; a value without a JSON form
// (NULL, NaN, infinity) is left out. The result must be in text format with the server's timestamps in UTC and ISO.
#include "record_rows.h"

#include <stdlib.h>
#include <string.h>

#include "civil.h"
#include "json.h"
#include "mask.h"

// Of the server's pg_type, where these numbers never change.
enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_OID = 26,
    OID_XID = 28,
    OID_JSON = 114,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701,
    OID_TIMESTAMPTZ = 1184,
    OID_NUMERIC = 1700,
    OID_JSONB = 3802,
    OID_XID8 = 5069
};

struct cell {
    const char *text;
    size_t len;
};

// Reads "2026-03-29 00:30:00.123456+00". -1 for "infinity" and whatever else is no instant.
static int parse_instant(struct cell cell, int64_t *time_us) {
    struct civil civil;
    size_t at = civil_parse(cell.text, cell.len, &civil);
    if (!at || cell.len - at != 3 || strncmp(cell.text + at, "+00", 3) != 0) return -1;
    *time_us = civil_to_us(&civil);
    return 0;
}

static void put_number(struct buf *out, const char *name, struct cell cell) {
    // Digits may begin behind the sign; NaN and Infinity begin with a letter there.
    const char *first = cell.text + (*cell.text == '-');
    if (*first < '0' || *first > '9') return;
    json_put_name(out, name);
    buf_put(out, cell.text, cell.len);
}

static void put_time(struct buf *out, const char *name, struct cell cell) {
    int64_t time_us;
    json_put_name(out, name);
    if (parse_instant(cell, &time_us)) json_put_string(out, cell.text, cell.len);
    else json_put_time(out, time_us);
}

static void put_cell(struct buf *out, const char *name, Oid type, struct cell cell) {
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
        put_number(out, name, cell);
        break;
    case OID_BOOL:
        json_put_name(out, name);
        buf_puts(out, *cell.text == 't' ? "true" : "false");
        break;
    case OID_TIMESTAMPTZ:
        put_time(out, name, cell);
        break;
    case OID_JSON:
    case OID_JSONB:
        json_put_name(out, name);
        json_put_compact(out, cell.text, cell.len);
        break;
    default:
        json_put_string_field(out, name, cell.text, cell.len);
    }
}

static struct cell cell_at(const PGresult *result, int row, int column) {
    return (struct cell){PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column)};
}

// The column of this name; -1 when name is NULL or there is none.
static int column_of(const PGresult *result, const char *name) {
    for (int column = 0; name && column < PQnfields(result); column++)
        if (strcmp(PQfname(result, column), name) == 0) return column;
    return -1;
}

// The columns with a part of their own; -1 where there is none.
struct roles {
    int database, timestamp, masked;
};

static void write_row(struct record_rows *rows, const PGresult *result, int row, const struct roles *roles) {
    struct buf *out = &rows->record.value;
    struct cell database = {0};
    int64_t time_us = rows->time_us;
    if (roles->database >= 0 && !PQgetisnull(result, row, roles->database))
        database = cell_at(result, row, roles->database);
    if (roles->timestamp >= 0) (void)parse_instant(cell_at(result, row, roles->timestamp), &time_us);
    record_begin(&rows->record, &rows->envelope, time_us, database.text, database.len, rows->log_level);
    for (int column = 0; column < PQnfields(result); column++) {
        if (column == roles->database || column == roles->timestamp || PQgetisnull(result, row, column)) continue;
        struct cell cell = cell_at(result, row, column);
        if (column == roles->masked && mask_passwords(&rows->masked, cell.text, cell.len))
            cell = (struct cell){rows->masked.data, rows->masked.len};
        put_cell(out, PQfname(result, column), PQftype(result, column), cell);
    }
    record_end(&rows->record);
}

enum sink_result record_rows_put(struct record_rows *rows, const PGresult *result, int *row, struct sink *sink,
                                 struct batch *batch, char *error, size_t size) {
    const struct roles roles = {column_of(result, rows->database_column), column_of(result, rows->timestamp_column),
                                column_of(result, rows->masked_column)};
    for (; *row < PQntuples(result); ++*row) {
        write_row(rows, result, *row, &roles);
        enum sink_result put = record_put(&rows->record, sink, batch, error, size);
        if (put != SINK_OK) return put;
    }
    return SINK_OK;
}

void record_rows_free(struct record_rows *rows) {
    record_envelope_free(&rows->envelope);
    free(rows->log_level);
    free(rows->database_column);
    free(rows->timestamp_column);
    free(rows->masked_column);
    record_free(&rows->record);
    buf_free(&rows->masked);
    *rows = (struct record_rows){0};
}
