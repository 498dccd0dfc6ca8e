// One record of any topic for people and tools. What a value is, is found out from its bytes: JSON, then OTLP, then
// text. yyjson only validates and reads; what is printed as JSON is copied, so that no number changes.
#include "decode.h"

#include <stdio.h>
#include <yyjson.h>

#include "civil.h"
#include "json.h"
#include "otlp_json.h"
#include "otlp_text.h"
#include "plain.h"
#include "utf8.h"

enum { MAX_NAME = 120, MAX_TEXT = 200 };

static yyjson_doc *read_json(const char *data, size_t len) {
    return len ? yyjson_read(data, len, YYJSON_READ_NUMBER_AS_RAW) : NULL;
}

static void put_value(struct buf *out, const struct decode_record *record) {
    if (!record->value) {
        buf_puts(out, "null");
        return;
    }
    yyjson_doc *doc = record->otlp ? NULL : read_json(record->value, record->value_len);
    if (doc) {
        json_put_compact(out, record->value, record->value_len);
        yyjson_doc_free(doc);
    } else if (otlp_to_json(record->value, record->value_len, out) < 0) {
        json_put_string(out, record->value, record->value_len);
    }
}

void decode_json_line(const struct decode_record *record, struct buf *out) {
    buf_putc(out, '{');
    json_put_string_field(out, "topic", record->topic, strlen(record->topic));
    json_put_name(out, "key");
    if (record->key) json_put_string(out, record->key, record->key_len);
    else buf_puts(out, "null");
    json_put_name(out, "value");
    put_value(out, record);
    if (record->consumed) {
        json_put_int_field(out, "partition", record->partition);
        json_put_int_field(out, "offset", record->offset);
        if (record->timestamp_ms >= 0) {
            json_put_name(out, "timestamp");
            json_put_time(out, record->timestamp_ms * 1000);
        }
    }
    buf_puts(out, "}\n");
}

static void put_clock(struct buf *out, int64_t time_us) {
    struct civil at;
    civil_from_us(time_us, &at);
    buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02dZ", at.year, at.month, at.day, at.hour, at.minute, at.second);
}

static void put_scalar(struct buf *out, yyjson_val *value) {
    if (yyjson_is_raw(value)) buf_put(out, yyjson_get_raw(value), yyjson_get_len(value));
    else if (yyjson_is_str(value)) plain_put(out, yyjson_get_str(value), yyjson_get_len(value), MAX_TEXT);
    else if (yyjson_is_bool(value)) buf_puts(out, yyjson_get_bool(value) ? "true" : "false");
}

// " <name>=<value>" for a scalar.
static void put_pair(struct buf *out, const char *name, yyjson_val *value) {
    if (!value || yyjson_is_ctn(value)) return;
    buf_putc(out, ' ');
    plain_put(out, name, strlen(name), MAX_NAME);
    buf_putc(out, '=');
    put_scalar(out, value);
}

static void put_field(struct buf *out, yyjson_val *object, const char *name) {
    put_pair(out, name, yyjson_obj_get(object, name));
}

static void put_text_of(struct buf *out, yyjson_val *object, const char *name) {
    yyjson_val *value = yyjson_obj_get(object, name);
    if (!yyjson_is_str(value)) return;
    buf_putc(out, ' ');
    put_scalar(out, value);
}

// A record of raw-queries: its weight, then its text.
static void put_query(struct buf *out, yyjson_val *payload) {
    buf_puts(out, "query");
    put_field(out, payload, "calls");
    put_field(out, payload, "total_time_ms");
    put_field(out, payload, "mean_time_ms");
    put_field(out, payload, "rows");
    put_text_of(out, payload, "query");
}

// Texts that come last, or that identify more than they say.
static bool is_said_elsewhere(const char *name) {
    static const char *const names[] = {"event_type", "error_message", "uid", "query", "text"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

// A record of raw-logs: its severity and kind, its own fields, then its message.
static void put_event(struct buf *out, yyjson_val *root, yyjson_val *payload) {
    put_scalar(out, yyjson_obj_get(yyjson_obj_get(root, "tags"), "log_level"));
    put_text_of(out, payload, "event_type");
    size_t i, count;
    yyjson_val *name, *value;
    yyjson_obj_foreach(payload, i, count, name, value) {
        if (!is_said_elsewhere(yyjson_get_str(name))) put_pair(out, yyjson_get_str(name), value);
    }
    if (yyjson_obj_get(payload, "error_message")) put_text_of(out, payload, "error_message");
    else put_text_of(out, yyjson_obj_get(payload, "record"), "message");
    put_text_of(out, payload, "text");
}

static bool says(yyjson_val *root, const char *data_type) {
    return yyjson_equals_str(yyjson_obj_get(root, "data_type"), data_type);
}

static void put_json(struct buf *out, const struct decode_record *record, yyjson_val *root) {
    yyjson_val *payload = yyjson_obj_get(root, "payload");
    if (yyjson_is_obj(payload) && says(root, "query")) put_query(out, payload);
    else if (yyjson_is_obj(payload) && says(root, "log")) put_event(out, root, payload);
    else plain_put(out, record->value, record->value_len, MAX_TEXT);
}

static enum decode_kind kind_of_text(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)text[i] < ' ' && !strchr("\t\n\r", text[i])) || !text[i]) return DECODE_BINARY;
    return utf8_valid(text, len) ? DECODE_TEXT : DECODE_BINARY;
}

// Appends what the value says; sets its own time where it has one.
static enum decode_kind put_saying(struct buf *out, const struct decode_record *record, int64_t *time_us) {
    if (!record->value) {
        buf_puts(out, "(no value)");
        return DECODE_NOTHING;
    }
    yyjson_doc *doc = record->otlp ? NULL : read_json(record->value, record->value_len);
    if (doc) {
        yyjson_val *root = yyjson_doc_get_root(doc);
        yyjson_val *stamp = yyjson_obj_get(root, "timestamp");
        struct civil at;
        if (yyjson_is_str(stamp) && civil_parse(yyjson_get_str(stamp), yyjson_get_len(stamp), &at))
            *time_us = civil_to_us(&at);
        put_json(out, record, root);
        yyjson_doc_free(doc);
        return DECODE_JSON;
    }
    if (otlp_to_summary(record->value, record->value_len, time_us, out) == 0) return DECODE_OTLP;
    plain_put(out, record->value, record->value_len, MAX_TEXT);
    return kind_of_text(record->value, record->value_len);
}

enum decode_kind decode_saying(const struct decode_record *record, struct buf *out) {
    int64_t time_us = 0;
    return put_saying(out, record, &time_us);
}

void decode_text_line(const struct decode_record *record, int64_t now_us, bool details, struct buf *out) {
    struct buf saying = {0};
    int64_t time_us = 0;
    put_saying(&saying, record, &time_us);
    if (!time_us) time_us = record->consumed && record->timestamp_ms >= 0 ? record->timestamp_ms * 1000 : now_us;
    put_clock(out, time_us);
    buf_putc(out, ' ');
    buf_puts(out, record->topic);
    buf_putc(out, ' ');
    if (record->key) plain_put(out, record->key, record->key_len, MAX_NAME);
    else buf_putc(out, '-');
    buf_putc(out, ' ');
    buf_put(out, saying.data, saying.len);
    buf_putc(out, '\n');
    buf_free(&saying);
    if (details && record->value) otlp_to_text(record->value, record->value_len, out);
}
