// The fields of a server log record, under their jsonlog names and in jsonlog's order, whichever format they came from.
#ifndef DBOBS_PGLOG_FIELDS_H
#define DBOBS_PGLOG_FIELDS_H

#include <stddef.h>

#include "buf.h"

enum pglog_field {
    PGLOG_TIMESTAMP,
    PGLOG_USER,
    PGLOG_DBNAME,
    PGLOG_PID,
    PGLOG_REMOTE_HOST,
    PGLOG_REMOTE_PORT,
    PGLOG_SESSION_ID,
    PGLOG_LINE_NUM,
    PGLOG_PS,
    PGLOG_SESSION_START,
    PGLOG_VXID,
    PGLOG_TXID,
    PGLOG_ERROR_SEVERITY,
    PGLOG_STATE_CODE,
    PGLOG_MESSAGE,
    PGLOG_DETAIL,
    PGLOG_HINT,
    PGLOG_INTERNAL_QUERY,
    PGLOG_INTERNAL_POSITION,
    PGLOG_CONTEXT,
    PGLOG_STATEMENT,
    PGLOG_CURSOR_POSITION,
    PGLOG_FUNC_NAME,
    PGLOG_FILE_NAME,
    PGLOG_FILE_LINE_NUM,
    PGLOG_APPLICATION_NAME,
    PGLOG_BACKEND_TYPE,
    PGLOG_LEADER_PID,
    PGLOG_QUERY_ID,
    PGLOG_FIELD_COUNT
};

// Text of a record; text is NULL when the record has no such field.
struct pglog_text {
    const char *text;
    size_t len;
};

struct pglog_fields {
    struct pglog_text at[PGLOG_FIELD_COUNT];
};

// Appends the fields that are there as a JSON object, numbers as numbers, as jsonlog has them.
void pglog_put_fields(struct buf *out, const struct pglog_fields *fields);
// The field of a jsonlog name; PGLOG_FIELD_COUNT for other names. expected: the one that it most likely is.
enum pglog_field pglog_find_field(const char *name, size_t len, enum pglog_field expected);
// Takes "exec_simple_query, postgres.c:1234" apart into func_name, file_name and file_line_num; without a function's
// name it is "postgres.c:1234".
void pglog_take_location(struct pglog_fields *fields, struct pglog_text location);

#endif
