// Writing JSON into a struct buf: always valid JSON and valid UTF-8, whatever bytes come in. No state.
#ifndef DBOBS_JSON_H
#define DBOBS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

// How many bytes at the beginning of text stand in a JSON string as they are and are ASCII.
size_t json_plain_len(const char *text, size_t len);
// Appends text as a JSON string with its quotes. Bytes that are no UTF-8 become U+FFFD.
void json_put_string(struct buf *out, const char *text, size_t len);
// Appends `"name":`, with a comma before it unless the object has just begun.
void json_put_name(struct buf *out, const char *name);
// Appends `"name":` and the value.
void json_put_string_field(struct buf *out, const char *name, const char *text, size_t len);
void json_put_int_field(struct buf *out, const char *name, int64_t value);
// Appends text, which is valid JSON but for bytes that are no UTF-8, on one line: without the blanks between its parts.
void json_put_compact(struct buf *out, const char *text, size_t len);
// Whether text is one JSON value.
bool json_valid(const char *text, size_t len);
// Appends microseconds since 1970 as "2026-03-29T00:30:00.123456Z", with quotes.
void json_put_time(struct buf *out, int64_t time_us);

#endif
