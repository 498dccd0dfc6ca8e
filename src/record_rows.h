// Rows of a query result straight to records: each column becomes a field of the payload under its own name.
#ifndef DBOBS_RECORD_ROWS_H
#define DBOBS_RECORD_ROWS_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"
#include "record_plan.h"

// How rows become records. The owner sets the first fields and frees the struct with record_rows_free.
struct record_rows {
    struct record_envelope envelope;
    int64_t time_us;         // of the collection, since 1970
    char *log_level;         // tags.log_level; NULL: no such tag
    char *database_column;   // names the record's database instead of the envelope's; not in the payload; NULL: none
    char *timestamp_column;  // gives the record's time instead of time_us; not in the payload; NULL: none
    char *masked_column;     // literals after PASSWORD in it read '***'; NULL: none
    struct record record;
    struct record_plan plan;  // of the result at hand
    struct buf masked;
};

// Puts the rows from *row on, one record each, and moves *row behind the last one taken. SINK_OK: all were; SINK_FULL:
// call again when the sink has room; SINK_ERROR: `error` says why row *row was not.
enum sink_result record_rows_put(struct record_rows *rows, const PGresult *result, int *row, struct sink *sink,
                                 struct batch *batch, char *error, size_t size);
void record_rows_free(struct record_rows *rows);

#endif
