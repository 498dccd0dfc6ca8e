// Fuzz target: a record that is shortened while it grows has the same fields as the whole one: those that were short
// are the same, and of the others beginning, end and length are. The first byte tells the format, the second in which
// steps it grows; a byte 0xff repeats the one before it, so that short inputs make long strings.
#include "shrink.h"
#include "pglog_check.h"
#include "pglog_csv.h"
#include "pglog_json.h"
#include "pglog_stderr.h"

#define MOST 4096  // bytes to which it is shortened

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct readers {
    enum pglog_format format;
    struct pglog_json *json;
    struct pglog_stderr *plain;
    struct buf unquoted;
};

static void readers_init(struct readers *readers, enum pglog_format format) {
    *readers = (struct readers){.format = format};
    readers->json = pglog_json_new();
    readers->plain = pglog_stderr_new("%m [%p] ");
}

static void readers_free(struct readers *readers) {
    pglog_json_free(readers->json);
    pglog_stderr_free(readers->plain);
    buf_free(&readers->unquoted);
}

static bool read_fields(struct readers *readers, const struct buf *text, struct pglog_fields *fields) {
    struct pglog_text rest;
    int64_t time_us = 0;
    *fields = (struct pglog_fields){0};
    if (readers->format == PGLOG_JSON) return pglog_json_read(readers->json, text->data, text->len, fields, &rest);
    if (readers->format == PGLOG_CSV) return pglog_csv_read(text->data, text->len, &readers->unquoted, fields);
    return pglog_stderr_read(readers->plain, text->data, text->len, fields, &time_us, &rest);
}

// Its marks stand for what is between what was kept.
static void check_field(const struct shrink_mark *mark, struct pglog_text whole, struct pglog_text cut) {
    must((whole.text == NULL) == (cut.text == NULL));
    if (!whole.len) return;
    const char *at = cut.text, *end = cut.text + cut.len, *found;
    size_t len = 0;
    while (at < end && (found = memmem(at, (size_t)(end - at), mark->head, SHRINK_MARK_HEAD))) {
        must(end - found >= SHRINK_MARK_LEN);
        if (at == cut.text) must(memcmp(at, whole.text, (size_t)(found - at)) == 0);
        len += (size_t)(found - at) + strtoull(found + SHRINK_MARK_HEAD, NULL, 10);
        at = found + SHRINK_MARK_LEN;
    }
    size_t rest = (size_t)(end - at);
    must(len + rest == whole.len && memcmp(at, whole.text + len, rest) == 0);
}

// What a record in the topic says of it is valid, without a mark, and as long as the notes say.
static void check_sent(enum pglog_format format, const struct buf *whole, size_t step) {
    const struct record_source source = {"log", "host", 5432, "postgres", "test"};
    struct record_envelope envelope;
    struct buf text = {0};
    char error[256];
    record_envelope_init(&envelope, &source);
    struct pglog *log = pglog_new(&envelope, tz_load("UTC", error, sizeof error), format, "%m [%p] ");
    size_t shrunk = 0;
    for (size_t at = 0; at < whole->len; at += step) {
        size_t more = whole->len - at < step ? whole->len - at : step;
        buf_put(&text, whole->data + at, more);
        size_t before = text.len;
        must(pglog_shrink(log, text.data, &text.len, MOST) <= text.len);
        shrunk += before - text.len;
    }
    const struct pglog_line line = {
        .text = text.data, .len = text.len, .shrunk = shrunk, .first_line = "00112233445566aa"};
    const struct record *record = pglog_read(log, &line, 0);
    check_record(&record->value);
    must(!memmem(record->value.data, record->value.len,
                 "\xe2\x80\xa6"
                 "dbobs:",
                 9));
    pglog_free(log);
    record_envelope_free(&envelope);
    buf_free(&text);
}

static void check_shrunk(enum pglog_format format, const struct buf *whole, size_t step) {
    static const enum shrink_syntax syntax[] = {SHRINK_JSON, SHRINK_CSV, SHRINK_PLAIN};
    struct shrink_mark mark = shrink_mark_new(0x5eed5eed5eed5eedu);
    struct readers readers[2];
    struct pglog_fields fields, others;
    struct buf text = {0};
    for (size_t at = 0; at < whole->len; at += step) {
        size_t more = whole->len - at < step ? whole->len - at : step;
        buf_put(&text, whole->data + at, more);
        size_t len = text.len;
        shrink(syntax[format], &mark, text.data, &len, SIZE_MAX / 2);
        must(len == text.len);
        shrink(syntax[format], &mark, text.data, &text.len, MOST);
        must(text.len <= len && shrink_last(&mark, text.data, text.len) <= text.len);
    }
    readers_init(&readers[0], format);
    readers_init(&readers[1], format);
    // Bytes that are no UTF-8 are more when they are replaced, and an object of a container runtime is unwrapped.
    bool plain = utf8_valid(whole->data, whole->len);
    if (format == PGLOG_STDERR) plain = plain && !memchr(whole->data, '{', whole->len);
    if (plain && read_fields(&readers[0], whole, &fields)) {
        must(read_fields(&readers[1], &text, &others));
        for (int i = 0; i < PGLOG_FIELD_COUNT; i++) check_field(&mark, fields.at[i], others.at[i]);
    }
    readers_free(&readers[0]);
    readers_free(&readers[1]);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf text = {0};
    if (size < 3) return 0;
    enum pglog_format format = (enum pglog_format)(data[0] % 3);
    size_t step = (size_t)(data[1] + 1) * 32;
    for (size_t i = 2; i < size && text.len < (1 << 16); i++) {
        char before = text.len ? text.data[text.len - 1] : 'x';
        for (int n = data[i] == 0xff ? 100 : 0; n; n--) buf_putc(&text, before);
        if (data[i] != 0xff) buf_putc(&text, (char)data[i]);
    }
    buf_reserve(&text, 1);
    // The fuzzer sees what marks are compared with.
    if (!memmem(text.data, text.len, "dbobs:", 6)) {
        check_shrunk(format, &text, step);
        check_sent(format, &text, step);
    }
    buf_free(&text);
    return 0;
}
