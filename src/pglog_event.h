// What a server log record is about: the contract's event_type and the event's own fields. No state.
#ifndef DBOBS_PGLOG_EVENT_H
#define DBOBS_PGLOG_EVENT_H

#include "buf.h"
#include "pglog_fields.h"

// Appends "event_type" and the event's fields to an object that has begun.
void pglog_put_event(struct buf *out, const struct pglog_fields *fields);
// The contract's log_level of a severity.
const char *pglog_level(struct pglog_text severity);

#endif
