// One record of a PostgreSQL server log (jsonlog, csvlog or stderr) to one raw-logs record: classified, dated, wrapped,
// without Lua.
// The owner makes it with pglog_new; it is used for one file's lines after the other and keeps nothing of them.
#ifndef DBOBS_PGLOG_H
#define DBOBS_PGLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pglog_filter.h"
#include "record.h"
#include "tz.h"

struct pglog;

enum pglog_format { PGLOG_JSON, PGLOG_CSV, PGLOG_STDERR };

// A record, of one line or several, and where it stood: what identifies it when the record itself does not.
struct pglog_line {
    const char *text;  // without its last newline
    size_t len;
    size_t dropped;          // bytes of a huge line that were left out behind text
    size_t shrunk;           // bytes by which pglog_shrink shortened it
    const char *first_line;  // hash of the file's first line, hexadecimal
    uint32_t truncations;    // how often the file was truncated and begun anew
    int64_t offset;          // of the line's first byte
};

// Borrows the envelope. Takes the zone, the server's log_timezone; NULL when it is not known. log_line_prefix: the
// server's setting, for stderr alone.
struct pglog *pglog_new(const struct record_envelope *envelope, struct tz *tz, enum pglog_format format,
                        const char *log_line_prefix);
void pglog_free(struct pglog *log);
// Takes the filter; NULL: all is wanted again.
void pglog_set_filter(struct pglog *log, struct pglog_filter *filter);

// Finds the end of the record that text begins with, behind its newline; 0 when that has not been written yet. is_all:
// nothing more is being written, which completes the last record of a stderr log. *scanned: where an earlier call with
// the same, shorter text came; 0 at first.
size_t pglog_cut(struct pglog *log, const char *text, size_t len, size_t *scanned, bool is_all);

// Shortens the beginning of a huge record in place, to `most` bytes where its long strings allow that: the middle of
// them is cut out, which its record then notes in payload.truncated; zeros before it just go. Returns what is behind
// the last cut in it, 0 when there is none.
size_t pglog_shrink(const struct pglog *log, char *text, size_t *len, size_t most);

// Builds the record of a line; now_us dates it when its own time cannot be told. It stays until the next call. NULL:
// the filter does not want it.
struct record *pglog_read(struct pglog *log, const struct pglog_line *line, int64_t now_us);

// The record that tells how many were dropped for the filter's rate, when it is time for it, else NULL. It stays until
// the next call. is_all: nothing more is to be read for now.
struct record *pglog_dropped(struct pglog *log, int64_t now_us, bool is_all);
// How many were dropped and not told yet.
uint64_t pglog_dropping(const struct pglog *log);

// How many records had a time that the zone does not explain, and an example of it ("" when there is none).
uint64_t pglog_undated(const struct pglog *log, const char **example);
// How many lines were no record of the format.
uint64_t pglog_unparsed(const struct pglog *log);

#endif
