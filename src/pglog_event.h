// What a server log record is about: the contract's event_type and the event's own fields. No state.
#ifndef DBOBS_PGLOG_EVENT_H
#define DBOBS_PGLOG_EVENT_H

#include <stddef.h>

#include "buf.h"

// Text within a parsed line; text is NULL when the record has no such field.
struct pglog_text {
    const char *text;
    size_t len;
};

// The fields of a record that are looked at.
struct pglog_fields {
    struct pglog_text timestamp, user, database, client, session, line_number;
    struct pglog_text severity, state_code, message, detail, statement;
};

// Appends "event_type" and the event's fields to an object that has begun.
void pglog_put_event(struct buf *out, const struct pglog_fields *fields);
// The contract's log_level of a severity.
const char *pglog_level(struct pglog_text severity);

#endif
