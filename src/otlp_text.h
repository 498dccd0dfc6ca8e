// OTLP metrics decoded for people. The bytes may be anybody's, as in otlp_json.h.
#ifndef DBOBS_OTLP_TEXT_H
#define DBOBS_OTLP_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

// Appends a line for each resource, "  <attributes>", and under it a line for each point,
// "    <metric>{<attributes>} <value> <unit>". -1, and nothing appended, when the bytes are no request.
int otlp_to_text(const char *data, size_t len, struct buf *out);

// Appends what the request says in one line, without newline: how many resources and points, and as many of the least
// special resource's points as fit. -1, and nothing appended, when the bytes are no request. time_us: set to the
// first point's time, microseconds since 1970, 0 when it has none.
int otlp_to_summary(const char *data, size_t len, int64_t *time_us, struct buf *out);

#endif
