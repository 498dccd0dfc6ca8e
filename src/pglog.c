// Reads jsonlog lines with yyjson and writes records. The server's object is copied into the record as it stands; only
// the few fields that classify and date it are looked at. Memory: the parser's pool and the record, both reused.
#include "pglog.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "civil.h"
#include "json.h"
#include "pglog_event.h"
#include "utf8.h"

#define POOLED_LINE (64 * 1024)  // longer lines are parsed in memory of their own

struct pglog {
    const struct record_envelope *envelope;
    struct tz *tz;
    struct record record;
    struct buf mended;  // the line when it was no UTF-8
    char *pool;
    size_t pool_size;

    // Lines of one minute under one abbreviation lie at one distance from UTC: looked up once.
    char minute[16];
    char abbreviation[16];
    int64_t distance_us;

    uint64_t undated, unparsed;
    char example[48];
};

struct pglog *pglog_new(const struct record_envelope *envelope, struct tz *tz) {
    struct pglog *log = xcalloc(1, sizeof *log);
    log->envelope = envelope;
    log->tz = tz;
    log->pool_size = yyjson_read_max_memory_usage(POOLED_LINE, YYJSON_READ_NUMBER_AS_RAW);
    log->pool = xmalloc(log->pool_size);
    return log;
}

void pglog_free(struct pglog *log) {
    if (!log) return;
    tz_free(log->tz);
    record_free(&log->record);
    buf_free(&log->mended);
    free(log->pool);
    free(log);
}

uint64_t pglog_undated(const struct pglog *log, const char **example) {
    *example = log->example;
    return log->undated;
}

uint64_t pglog_unparsed(const struct pglog *log) {
    return log->unparsed;
}

static yyjson_doc *parse(struct pglog *log, const char *text, size_t len) {
    yyjson_alc pool;
    bool pooled = len <= POOLED_LINE && yyjson_alc_pool_init(&pool, log->pool, log->pool_size);
    // The parser reads only, although it does not say so: it writes in place under another flag.
    return yyjson_read_opts((char *)(uintptr_t)text, len, YYJSON_READ_NUMBER_AS_RAW, pooled ? &pool : NULL, NULL);
}

// The document of the line, mended when it is no UTF-8: *text and *len are then the mended ones. NULL: no JSON object.
static yyjson_doc *parse_line(struct pglog *log, const char **text, size_t *len) {
    yyjson_doc *doc = parse(log, *text, *len);
    if (!doc && !utf8_valid(*text, *len)) {
        buf_clear(&log->mended);
        utf8_put(&log->mended, *text, *len);
        *text = log->mended.data;
        *len = log->mended.len;
        doc = parse(log, *text, *len);
    }
    if (doc && yyjson_is_obj(yyjson_doc_get_root(doc))) return doc;
    yyjson_doc_free(doc);
    return NULL;
}

static const struct {
    const char *name;
    size_t len, field;
} names[] = {
#define NAME(json, field) \
    { json, sizeof json - 1, offsetof(struct pglog_fields, field) }
    NAME("timestamp", timestamp),     NAME("user", user),
    NAME("dbname", database),         NAME("remote_host", client),
    NAME("session_id", session),      NAME("line_num", line_number),
    NAME("error_severity", severity), NAME("state_code", state_code),
    NAME("message", message),         NAME("detail", detail),
    NAME("statement", statement),
#undef NAME
};

static void take_fields(yyjson_val *object, struct pglog_fields *fields) {
    size_t i, count;
    yyjson_val *name, *value;
    yyjson_obj_foreach(object, i, count, name, value) {
        if (!yyjson_is_str(value) && !yyjson_is_raw(value)) continue;
        const char *text = yyjson_get_str(name);
        size_t len = yyjson_get_len(name);
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            if (names[n].len != len || memcmp(names[n].name, text, len) != 0) continue;
            // Strings and raw numbers keep their text in the same place.
            *(struct pglog_text *)((char *)fields + names[n].field) = (struct pglog_text){
                yyjson_is_str(value) ? yyjson_get_str(value) : yyjson_get_raw(value), yyjson_get_len(value)};
            break;
        }
    }
}

// The instant of "2026-03-29 02:30:00.123 CEST". -1 when it cannot be told.
static int read_time(struct pglog *log, struct pglog_text text, int64_t *time_us) {
    struct civil local;
    size_t at = civil_parse(text.text, text.len, &local);
    if (!at || at + 1 >= text.len || text.text[at] != ' ') return -1;
    const char *abbreviation = text.text + at + 1;
    size_t len = text.len - at - 1;
    if (len >= sizeof log->abbreviation || memchr(abbreviation, '\0', len)) return -1;
    int64_t local_us = civil_to_us(&local);
    bool known = memcmp(log->minute, text.text, sizeof log->minute) == 0 && strlen(log->abbreviation) == len &&
                 memcmp(log->abbreviation, abbreviation, len) == 0;
    if (!known) {
        if (tz_instant(log->tz, &local, abbreviation, len, time_us)) return -1;
        log->distance_us = local_us - *time_us;
        memcpy(log->minute, text.text, sizeof log->minute);
        memcpy(log->abbreviation, abbreviation, len);
        log->abbreviation[len] = '\0';
    }
    *time_us = local_us - log->distance_us;
    return 0;
}

static void note_undated(struct pglog *log, struct pglog_text text) {
    if (log->undated++) return;
    size_t len = text.len < sizeof log->example - 1 ? text.len : sizeof log->example - 1;
    struct buf example = {0};
    utf8_put(&example, text.text, len);
    len = utf8_cut_before(example.data, example.len, sizeof log->example - 1);
    if (len) memcpy(log->example, example.data, len);
    log->example[len] = '\0';
    buf_free(&example);
}

static void put_uid(struct buf *out, const struct pglog_line *line, const struct pglog_fields *fields) {
    struct buf uid = {0};
    if (fields && fields->session.len && fields->line_number.len) {
        buf_put(&uid, fields->session.text, fields->session.len);
        buf_putc(&uid, '/');
        buf_put(&uid, fields->line_number.text, fields->line_number.len);
    } else {
        buf_printf(&uid, "%s.%u:%lld", line->first_line, line->truncations, (long long)line->offset);
    }
    json_put_string_field(out, "uid", uid.data, uid.len);
    buf_free(&uid);
}

static void write_parsed(struct pglog *log, const struct pglog_line *line, const struct pglog_fields *fields,
                         const char *text, size_t len, int64_t now_us) {
    int64_t time_us = now_us;
    if (fields->timestamp.text && read_time(log, fields->timestamp, &time_us)) note_undated(log, fields->timestamp);
    struct buf *out = &log->record.value;
    record_begin(&log->record, log->envelope, time_us, fields->database.text, fields->database.len,
                 pglog_level(fields->severity));
    pglog_put_event(out, fields);
    put_uid(out, line, fields);
    json_put_name(out, "record");
    buf_put(out, text, len);
    record_end(&log->record);
}

// A line that is no JSON object is sent as text.
static void write_unparsed(struct pglog *log, const struct pglog_line *line, int64_t now_us) {
    struct buf *out = &log->record.value;
    log->unparsed++;
    record_begin(&log->record, log->envelope, now_us, NULL, 0, "info");
    json_put_string_field(out, "event_type", "log", 3);
    put_uid(out, line, NULL);
    json_put_name(out, "unparsed");
    buf_puts(out, "true");
    json_put_string_field(out, "text", line->text, line->len);
    if (line->dropped) {
        json_put_name(out, "truncated");
        buf_putc(out, '{');
        json_put_int_field(out, "payload.text", (int64_t)(line->len + line->dropped));
        buf_putc(out, '}');
    }
    record_end(&log->record);
}

struct record *pglog_read(struct pglog *log, const struct pglog_line *line, int64_t now_us) {
    const char *text = line->text;
    size_t len = line->len;
    yyjson_doc *doc = line->dropped ? NULL : parse_line(log, &text, &len);
    if (!doc) {
        write_unparsed(log, line, now_us);
        return &log->record;
    }
    struct pglog_fields fields = {0};
    take_fields(yyjson_doc_get_root(doc), &fields);
    write_parsed(log, line, &fields, text, len, now_us);
    yyjson_doc_free(doc);
    return &log->record;
}
