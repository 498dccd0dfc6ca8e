// What holds for the record of every piece of a server log, whatever bytes it was: for the fuzz targets of the formats.
#ifndef DBOBS_FUZZ_PGLOG_CHECK_H
#define DBOBS_FUZZ_PGLOG_CHECK_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "pglog.h"
#include "utf8.h"

#define LIMIT 2000

static void must(int holds) {
    if (!holds) abort();
}

// The record is valid JSON in valid UTF-8 with the contract's fields.
static void check_record(const struct buf *value) {
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

// And still is when it is cut to a small topic.
static void check_piece(struct pglog *log, const char *text, size_t len, int64_t offset) {
    const struct pglog_line line = {.text = text, .len = len, .first_line = "00112233445566aa", .offset = offset};
    struct record *record = pglog_read(log, &line, 0);
    check_record(&record->value);
    if (record->value.len <= LIMIT || record_cut(&record->value, LIMIT) != 0) return;
    must(record->value.len <= LIMIT);
    check_record(&record->value);
}

// Cuts the text into records as it grows, `step` bytes at a time: no byte is lost and none comes twice.
static void check_stream(struct pglog *log, const char *text, size_t len, size_t step) {
    size_t at = 0, scanned = 0;
    for (size_t until = 0; at < len;) {
        until = until + step < len ? until + step : len;
        // In memory of its own size, so that a read past its end is seen.
        char *piece = malloc(until - at + 1);
        memcpy(piece, text + at, until - at);
        size_t end = until > at ? pglog_cut(log, piece, until - at, &scanned, until == len) : 0;
        must(end <= until - at && (end == 0 || piece[end - 1] == '\n'));
        if (!end && until == len) end = len - at;
        if (end) {
            check_piece(log, piece, end - (piece[end - 1] == '\n'), (int64_t)at);
            at += end;
            scanned = 0;
        }
        free(piece);
    }
}

// Runs the stream over a log in the format; the first byte tells the step.
static int fuzz_format(const uint8_t *data, size_t size, enum pglog_format format, const char *prefix) {
    const struct record_source source = {"log", "host", 5432, "postgres", "test"};
    struct record_envelope envelope;
    char error[256];
    if (!size) return 0;
    record_envelope_init(&envelope, &source);
    struct pglog *log =
        pglog_new(&envelope, tz_load("CET-1CEST,M3.5.0,M10.5.0/3", error, sizeof error), format, prefix);
    check_stream(log, (const char *)data + 1, size - 1, (size_t)data[0] * 16 + 1);
    pglog_free(log);
    record_envelope_free(&envelope);
    return 0;
}

#endif
