// The envelope of raw-logs and raw-queries. What does not change from record to record is rendered once.
#include "record.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "utf8.h"

static void put_field(struct buf *out, const char *name, const char *text) {
    json_put_string_field(out, name, text, strlen(text));
}

void record_envelope_init(struct record_envelope *envelope, const struct record_source *source) {
    *envelope = (struct record_envelope){.host = xstrdup(source->host), .database = xstrdup(source->database)};
    put_field(&envelope->before, "source", "postgresql");
    put_field(&envelope->before, "data_type", source->data_type);
    put_field(&envelope->before, "host", source->host);
    json_put_int_field(&envelope->before, "port", source->port);
    json_put_name(&envelope->before, "database");
    put_field(&envelope->after, "environment", source->environment);
    json_put_name(&envelope->after, "tags");
    buf_putc(&envelope->after, '{');
}

void record_envelope_tag(struct record_envelope *envelope, const char *name, const char *value) {
    if (strcmp(name, "log_level") != 0) put_field(&envelope->after, name, value);
}

void record_envelope_free(struct record_envelope *envelope) {
    free(envelope->host);
    free(envelope->database);
    buf_free(&envelope->before);
    buf_free(&envelope->after);
    *envelope = (struct record_envelope){0};
}

// What depends on the database only: the key, and the fields between timestamp and tags.
static void render_middle(struct record *record, const struct record_envelope *envelope, const char *database,
                          size_t len) {
    struct buf *middle = &record->middle;
    record->envelope = envelope;
    buf_clear(&record->database);
    buf_put(&record->database, database, len);

    buf_clear(&record->key);
    utf8_put(&record->key, envelope->host, strlen(envelope->host));
    buf_putc(&record->key, ':');
    utf8_put(&record->key, database, len);

    buf_clear(middle);
    buf_putc(middle, ',');
    buf_put(middle, envelope->before.data, envelope->before.len);
    json_put_string(middle, database, len);
    buf_putc(middle, ',');
    buf_put(middle, envelope->after.data, envelope->after.len);
}

// Records of one minute are dated by their seconds only.
static void put_time(struct record *record, int64_t time_us) {
    enum { MINUTE = 60000000, MINUTE_LEN = sizeof "\"2026-03-29T00:30:" - 1, TIME_LEN = MINUTE_LEN + 11 };
    struct buf *value = &record->value;
    if (*record->minute && time_us >= record->minute_us && time_us - record->minute_us < MINUTE) {
        int32_t rest = (int32_t)(time_us - record->minute_us);
        char text[TIME_LEN] = {0};
        memcpy(text, record->minute, MINUTE_LEN);
        for (int at = TIME_LEN - 3; at >= MINUTE_LEN; at--) {
            if (at == MINUTE_LEN + 2) continue;
            text[at] = (char)('0' + rest % 10);
            rest /= 10;
        }
        text[MINUTE_LEN + 2] = '.';
        text[TIME_LEN - 2] = 'Z';
        text[TIME_LEN - 1] = '"';
        buf_put(value, text, sizeof text);
        return;
    }
    size_t from = value->len;
    json_put_time(value, time_us);
    *record->minute = '\0';
    if (time_us < 0 || value->len - from != TIME_LEN) return;
    memcpy(record->minute, value->data + from, MINUTE_LEN);
    record->minute_us = time_us / MINUTE * MINUTE;
}

void record_begin(struct record *record, const struct record_envelope *envelope, int64_t time_us, const char *database,
                  size_t database_len, const char *log_level) {
    if (!database) {
        database = envelope->database;
        database_len = strlen(database);
    }
    const struct buf *before = &record->database;
    if (record->envelope != envelope || before->len != database_len ||
        (database_len && memcmp(before->data, database, database_len) != 0))
        render_middle(record, envelope, database, database_len);

    struct buf *value = &record->value;
    buf_clear(value);
    buf_puts(value, "{\"timestamp\":");
    put_time(record, time_us);
    buf_put(value, record->middle.data, record->middle.len);
    if (log_level) put_field(value, "log_level", log_level);
    buf_puts(value, "},\"payload\":{");
}

void record_end(struct record *record) {
    buf_puts(&record->value, "}}");
}

void record_free(struct record *record) {
    buf_free(&record->key);
    buf_free(&record->value);
    buf_free(&record->database);
    buf_free(&record->middle);
}

enum sink_result record_put(struct record *record, struct sink *sink, struct batch *batch, char *error, size_t size) {
    // A record that cannot be cut goes as it is: the sink then says what is wrong with it.
    if (sink->limit > record->key.len && record->key.len + record->value.len > sink->limit)
        (void)record_cut(&record->value, sink->limit - record->key.len);
    struct sink_record put = {.key = record->key.data,
                              .key_len = record->key.len,
                              .value = record->value.data,
                              .value_len = record->value.len,
                              .batch = batch};
    return sink->ops->put(sink, &put, error, size);
}
