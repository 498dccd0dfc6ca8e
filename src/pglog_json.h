// PostgreSQL's jsonlog: one JSON object a line.
#ifndef DBOBS_PGLOG_JSON_H
#define DBOBS_PGLOG_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "pglog_fields.h"

struct pglog_json;

struct pglog_json *pglog_json_new(void);
void pglog_json_free(struct pglog_json *json);

// Reads a line. The fields point into memory that lasts until the next call; *object is the server's text, with U+FFFD
// in the place of what is no UTF-8. False when it is no JSON object.
bool pglog_json_read(struct pglog_json *json, const char *text, size_t len, struct pglog_fields *fields,
                     struct pglog_text *object);

#endif
