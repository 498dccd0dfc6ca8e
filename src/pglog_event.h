// What a server log record is about: the contract's event_type and the event's own fields. No state.
#ifndef DBOBS_PGLOG_EVENT_H
#define DBOBS_PGLOG_EVENT_H

#include "buf.h"
#include "pglog_fields.h"

// The contract's event types of a server log.
enum pglog_event {
    PGLOG_EVENT_AUTHENTICATION_FAILURE,
    PGLOG_EVENT_DEADLOCK,
    PGLOG_EVENT_PLAN,
    PGLOG_EVENT_SLOW_QUERY,
    PGLOG_EVENT_QUERY_ERROR,
    PGLOG_EVENT_CONNECTION,
    PGLOG_EVENT_CHECKPOINT,
    PGLOG_EVENT_VACUUM,
    PGLOG_EVENT_LOCK_WAIT,
    PGLOG_EVENT_TEMP_FILE,
    PGLOG_EVENT_LOG,
    PGLOG_EVENT_COUNT
};

// The contract's log_level, from the least severe on.
enum pglog_level {
    PGLOG_LEVEL_DEBUG,
    PGLOG_LEVEL_INFO,
    PGLOG_LEVEL_WARNING,
    PGLOG_LEVEL_ERROR,
    PGLOG_LEVEL_CRITICAL,
    PGLOG_LEVEL_COUNT
};

// What a record is, in the contract's order.
enum pglog_event pglog_event_of(const struct pglog_fields *fields);
// Appends "event_type" and the event's fields to an object that has begun. event: what pglog_event_of says.
void pglog_put_event(struct buf *out, const struct pglog_fields *fields, enum pglog_event event);
// Its name; NULL behind the last.
const char *pglog_event_name(enum pglog_event event);

// The level of a severity, and its name; NULL behind the last.
enum pglog_level pglog_level(struct pglog_text severity);
const char *pglog_level_name(enum pglog_level level);

#endif
