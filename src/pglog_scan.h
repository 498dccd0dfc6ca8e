// jsonlog lines as servers write them, in one pass.
#ifndef DBOBS_PGLOG_SCAN_H
#define DBOBS_PGLOG_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "pglog_fields.h"

// Reads a line that is one flat JSON object without blanks between its parts, of strings and integers. The fields point
// into the line, those with escapes into `plain`, which is written anew. False: it is not of this kind, which does not
// mean that it is no JSON; fields then holds anything.
bool pglog_scan(const char *text, size_t len, struct buf *plain, struct pglog_fields *fields);

#endif
