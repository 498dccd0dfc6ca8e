// Writes rows as records, column by column as the result's plan says; a value that is NULL is left out.
#include "record_rows.h"

#include <stdlib.h>

#include "mask.h"

// The columns with a part of their own; -1 where there is none.
struct roles {
    int database, timestamp, masked;
};

static void write_row(struct record_rows *rows, const PGresult *result, int row, const struct roles *roles) {
    struct buf *out = &rows->record.value;
    struct record_cell database = {0};
    int64_t time_us = rows->time_us;
    if (roles->database >= 0) database = record_cell_at(result, row, roles->database);
    if (roles->timestamp >= 0) (void)record_instant(record_cell_at(result, row, roles->timestamp), &time_us);
    record_begin(&rows->record, &rows->envelope, time_us, database.text, database.len, rows->log_level);
    for (int column = 0; column < rows->plan.count; column++) {
        struct record_cell cell = record_cell_at(result, row, column);
        if (!cell.text) continue;
        if (column == roles->masked && mask_passwords(&rows->masked, cell.text, cell.len))
            cell = (struct record_cell){rows->masked.data, rows->masked.len};
        record_plan_put(&rows->plan, column, cell, out);
    }
    record_end(&rows->record);
}

enum sink_result record_rows_put(struct record_rows *rows, const PGresult *result, int *row, struct sink *sink,
                                 struct batch *batch, char *error, size_t size) {
    const struct roles roles = {record_column_of(result, rows->database_column),
                                record_column_of(result, rows->timestamp_column),
                                record_column_of(result, rows->masked_column)};
    record_plan_make(&rows->plan, result);
    if (roles.database >= 0) rows->plan.columns[roles.database].kind = RECORD_HIDDEN;
    if (roles.timestamp >= 0) rows->plan.columns[roles.timestamp].kind = RECORD_HIDDEN;
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
    record_plan_free(&rows->plan);
    buf_free(&rows->masked);
    *rows = (struct record_rows){0};
}
