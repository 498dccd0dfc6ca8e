// Which records of a server log are wanted: by level, event type and database, a share of the sessions, and so many a
// second. The caller owns the filter. Times are the log's own, so that a backlog is no storm.
#ifndef DBOBS_PGLOG_FILTER_H
#define DBOBS_PGLOG_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "pglog_event.h"
#include "pglog_fields.h"

struct pglog_filter {
    enum pglog_level least;            // records of a lower level are left out
    bool left_out[PGLOG_EVENT_COUNT];  // by event type
    double share[PGLOG_EVENT_COUNT];   // 0 to 1: of the sessions whose events of this type are wanted
    char **databases;  // patterns with * and ?, ended by NULL: of other databases' records none; NULL: all
    double rate;       // records a second of the log's time; 0: no limit

    // Of the limit.
    double tokens;
    int64_t filled_us;                          // the log's time up to which tokens came in
    bool limiting;                              // tokens are counted
    uint64_t dropped;                           // since it was told last
    int64_t first_dropped_us, last_dropped_us;  // of these, the log's time
    int64_t dropped_at_us;                      // the clock's time of the last
    struct buf first_uid;                       // of the first of these
};

// Wants everything.
struct pglog_filter *pglog_filter_new(void);
void pglog_filter_free(struct pglog_filter *filter);

// Whether a record is wanted, but for the limit. Records without a database are of all databases.
bool pglog_filter_wants(const struct pglog_filter *filter, const struct pglog_fields *fields, enum pglog_event event,
                        enum pglog_level level);
// Whether the limit lets a record of this time pass. Errors have the last fifth of a burst for themselves.
bool pglog_filter_passes(struct pglog_filter *filter, enum pglog_level level, int64_t time_us);
// Counts one that did not pass. now_us: the clock's time.
void pglog_filter_drop(struct pglog_filter *filter, const char *uid, size_t len, int64_t time_us, int64_t now_us);
// Whether it is time to tell what was dropped: ten seconds of the log's time after the first of them, or, when
// nothing more comes for now (is_all), after the last of them.
bool pglog_filter_must_tell(const struct pglog_filter *filter, int64_t now_us, bool is_all);

#endif
