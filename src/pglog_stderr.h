// PostgreSQL's plain log: lines with log_line_prefix, DETAIL and its like on lines of their own, further lines of a
// text behind a tab. Also as a container runtime stores it, with a prefix or an object of its own around each line.
#ifndef DBOBS_PGLOG_STDERR_H
#define DBOBS_PGLOG_STDERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pglog_fields.h"
#include "pglog_prefix.h"

struct pglog_stderr;

struct pglog_stderr *pglog_stderr_new(const char *log_line_prefix);
void pglog_stderr_free(struct pglog_stderr *log);

// Finds the end of the record that text begins with: behind its last line. The last record of the text is complete only
// when `is_all`: nothing more is being written. 0: not complete. *scanned: lines that an earlier call with the same,
// shorter text knows as part of it; 0 at first.
size_t pglog_stderr_cut(struct pglog_stderr *log, const char *text, size_t len, size_t *scanned, bool is_all);

// Reads a record, with its newlines, into fields, which point into memory of `log` until the next call. *time_us is the
// runtime's when it tells one, else unchanged. False when it is none: then *plain is the text without what the runtime
// put around it.
bool pglog_stderr_read(struct pglog_stderr *log, const char *text, size_t len, struct pglog_fields *fields,
                       int64_t *time_us, struct pglog_text *plain);

#endif
