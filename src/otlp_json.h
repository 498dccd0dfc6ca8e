// OTLP metrics decoded to OTLP/JSON: lowerCamelCase, 64-bit integers as strings. The bytes may be anybody's: wrong ones
// are refused, deep ones are cut, text that is no UTF-8 becomes U+FFFD.
#ifndef DBOBS_OTLP_JSON_H
#define DBOBS_OTLP_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

// Whether the bytes are an ExportMetricsServiceRequest with at least one resource and nothing that does not belong in
// it.
bool otlp_is_request(const char *data, size_t len);

// Appends the request as OTLP/JSON on one line, without newline. -1, and nothing appended, when it is none.
int otlp_to_json(const char *data, size_t len, struct buf *out);

#endif
