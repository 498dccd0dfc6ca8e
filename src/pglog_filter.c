// The choice is made on the fields, before a record is written. The limit is a bucket of tokens that the log's own time
// fills: records that come in the same second of the log count as one second's, however fast they are read.
#include "pglog_filter.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define BURST_SECONDS 5   // the bucket holds so much
#define RESERVE 0.2       // of the bucket, for errors and worse
#define TELL_US 10000000  // between two tellings of what was dropped
#define LONGEST_NAME 256  // of a database, in bytes

struct pglog_filter *pglog_filter_new(void) {
    struct pglog_filter *filter = xcalloc(1, sizeof *filter);
    for (size_t i = 0; i < PGLOG_EVENT_COUNT; i++) filter->share[i] = 1;
    return filter;
}

void pglog_filter_free(struct pglog_filter *filter) {
    if (!filter) return;
    for (char **pattern = filter->databases; pattern && *pattern; pattern++) free(*pattern);
    free(filter->databases);
    buf_free(&filter->first_uid);
    free(filter);
}

static bool is_wanted_database(const struct pglog_filter *filter, struct pglog_text database) {
    char name[LONGEST_NAME];
    if (!filter->databases || !database.len || database.len >= sizeof name) return true;
    memcpy(name, database.text, database.len);
    name[database.len] = '\0';
    for (char **pattern = filter->databases; *pattern; pattern++)
        if (fnmatch(*pattern, name, 0) == 0) return true;
    return false;
}

// Events of one session are kept or left out together.
static bool is_in_share(double share, const struct pglog_fields *fields) {
    struct pglog_text session = fields->at[PGLOG_SESSION_ID];
    if (!session.len) session = fields->at[PGLOG_PID];
    if (!session.len) session = fields->at[PGLOG_MESSAGE];
    uint64_t hash = session.len ? hash_bytes(0, session.text, session.len) : 0;
    return (double)(hash >> 11) * 0x1p-53 < share;
}

bool pglog_filter_wants(const struct pglog_filter *filter, const struct pglog_fields *fields, enum pglog_event event,
                        enum pglog_level level) {
    if (level < filter->least || filter->left_out[event]) return false;
    if (!is_wanted_database(filter, fields->at[PGLOG_DBNAME])) return false;
    return filter->share[event] >= 1 || is_in_share(filter->share[event], fields);
}

bool pglog_filter_passes(struct pglog_filter *filter, enum pglog_level level, int64_t time_us) {
    if (filter->rate <= 0) return true;
    double most = filter->rate * BURST_SECONDS;
    if (most < 1) most = 1;
    if (!filter->limiting || time_us - filter->filled_us > BURST_SECONDS * INT64_C(1000000)) {
        filter->tokens = most;
        filter->filled_us = time_us;
        filter->limiting = true;
    } else if (time_us > filter->filled_us) {
        filter->tokens += (double)(time_us - filter->filled_us) / 1e6 * filter->rate;
        if (filter->tokens > most) filter->tokens = most;
        filter->filled_us = time_us;
    }
    double reserve = level >= PGLOG_LEVEL_ERROR || most < 2 ? 0 : most * RESERVE;
    if (filter->tokens - reserve < 1) return false;
    filter->tokens -= 1;
    return true;
}

void pglog_filter_drop(struct pglog_filter *filter, const char *uid, size_t len, int64_t time_us, int64_t now_us) {
    if (!filter->dropped) {
        buf_clear(&filter->first_uid);
        buf_put(&filter->first_uid, uid, len);
        filter->first_dropped_us = time_us;
    }
    filter->dropped++;
    filter->last_dropped_us = time_us;
    filter->dropped_at_us = now_us;
}

bool pglog_filter_must_tell(const struct pglog_filter *filter, int64_t now_us, bool is_all) {
    if (!filter->dropped) return false;
    if (is_all) return now_us - filter->dropped_at_us >= TELL_US;
    return filter->last_dropped_us - filter->first_dropped_us >= TELL_US ||
           filter->filled_us - filter->first_dropped_us >= TELL_US;
}
