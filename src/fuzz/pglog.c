// Fuzz target: any bytes as one line of a server log. The record is always valid JSON in valid UTF-8 with the
// contract's fields, and still is when it is cut to a small topic.
#include <stdint.h>
#include <stdlib.h>
#include <yyjson.h>

#include "pglog.h"
#include "utf8.h"

#define LIMIT 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds) abort();
}

static void check(const struct buf *value) {
    must(utf8_valid(value->data, value->len));
    yyjson_doc *doc = yyjson_read(value->data, value->len, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_val *root = yyjson_doc_get_root(doc);
    yyjson_val *payload = yyjson_obj_get(root, "payload");
    must(yyjson_get_len(yyjson_obj_get(root, "timestamp")) >= 27);
    must(yyjson_is_str(yyjson_obj_get(yyjson_obj_get(root, "tags"), "log_level")));
    must(yyjson_is_str(yyjson_obj_get(payload, "event_type")) && yyjson_is_str(yyjson_obj_get(payload, "uid")));
    must((yyjson_obj_get(payload, "record") != NULL) != (yyjson_obj_get(payload, "unparsed") != NULL));
    yyjson_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct record_source source = {"log", "host", 5432, "postgres", "test"};
    struct record_envelope envelope;
    char error[256];
    record_envelope_init(&envelope, &source);
    struct pglog *log = pglog_new(&envelope, tz_load("CET-1CEST,M3.5.0,M10.5.0/3", error, sizeof error));
    const struct pglog_line line = {
        .text = (const char *)data, .len = size, .first_line = "00112233445566aa", .offset = 7};
    struct record *record = pglog_read(log, &line, 0);
    check(&record->value);
    if (record->value.len > LIMIT && record_cut(&record->value, LIMIT) == 0) {
        must(record->value.len <= LIMIT);
        check(&record->value);
    }
    pglog_free(log);
    record_envelope_free(&envelope);
    return 0;
}
