// PostgreSQL's csvlog: records of 23 to 26 columns, quotes over several lines. No state: the caller keeps the text.
#ifndef DBOBS_PGLOG_CSV_H
#define DBOBS_PGLOG_CSV_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "pglog_fields.h"

enum pglog_csv_result {
    PGLOG_CSV_RECORD,      // a whole record
    PGLOG_CSV_BROKEN,      // what is no record: half of one, or another text
    PGLOG_CSV_INCOMPLETE,  // its end has not been written yet
};

// Finds the end of the record that text begins with. *end is behind its newline, except when it is incomplete.
// *scanned: bytes that an earlier call with the same, shorter text went through, and where this one came; 0 at first.
enum pglog_csv_result pglog_csv_cut(const char *text, size_t len, size_t *scanned, size_t *end);

// Reads a record, without its newline, into fields; quotes within quoted columns are undone in `unquoted`, which the
// fields point into as well as into text. False when it is no record.
bool pglog_csv_read(const char *text, size_t len, struct buf *unquoted, struct pglog_fields *fields);

#endif
