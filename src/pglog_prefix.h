// log_line_prefix: what stands before each line of a stderr log, compiled once and matched against lines.
#ifndef DBOBS_PGLOG_PREFIX_H
#define DBOBS_PGLOG_PREFIX_H

#include <stdbool.h>
#include <stddef.h>

#include "pglog_fields.h"

struct pglog_prefix;

// Takes the setting as the server has it. Escapes that the server does not know either stand for nothing, as there.
struct pglog_prefix *pglog_prefix_new(const char *setting);
void pglog_prefix_free(struct pglog_prefix *prefix);

// Called with what stands behind a prefix; false: it is none, look for another way to read it.
typedef bool pglog_prefix_check(void *argument, const char *rest, size_t len);

// Reads the prefix that the line begins with, up to a place where `check` holds, into fields. Returns its length; -1
// when the line has none. Texts without bounds of their own (%u, %d, %a) are read as short as they can be.
ptrdiff_t pglog_prefix_match(const struct pglog_prefix *prefix, const char *line, size_t len,
                             struct pglog_fields *fields, pglog_prefix_check *check, void *argument);

#endif
