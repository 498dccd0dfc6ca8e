// Writes records of what the three formats' readers found: dates them, classifies them, puts the server's object
// (jsonlog: as it stands; else made of the fields) into the envelope. Memory: the readers' and the record, reused.
#include "pglog.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "civil.h"
#include "json.h"
#include "pglog_csv.h"
#include "pglog_event.h"
#include "pglog_json.h"
#include "pglog_stderr.h"
#include "pglog_words.h"
#include "shrink.h"
#include "utf8.h"

struct pglog {
    const struct record_envelope *envelope;
    struct tz *tz;
    enum pglog_format format;
    struct pglog_json *json;
    struct pglog_stderr *plain;
    struct buf unquoted;  // csvlog's columns
    struct record record;
    struct buf uid;

    // Lines of one minute under one abbreviation lie at one distance from UTC: looked up once.
    char minute[16];
    char abbreviation[16];
    int64_t distance_us;

    struct pglog_filter *filter;  // NULL: all is wanted
    bool left_out;                // the record at hand is not wanted
    int64_t now_us;               // when it was read

    struct shrink_mark mark;  // where huge records were cut

    uint64_t undated, unparsed;
    char example[48];
};

struct pglog *pglog_new(const struct record_envelope *envelope, struct tz *tz, enum pglog_format format,
                        const char *log_line_prefix) {
    struct pglog *log = xcalloc(1, sizeof *log);
    uint64_t secret = (uint64_t)(uintptr_t)log;
    (void)!getrandom(&secret, sizeof secret, GRND_NONBLOCK);
    log->mark = shrink_mark_new(secret);
    log->envelope = envelope;
    log->tz = tz;
    log->format = format;
    if (format == PGLOG_JSON) log->json = pglog_json_new();
    if (format == PGLOG_STDERR) log->plain = pglog_stderr_new(log_line_prefix ? log_line_prefix : "");
    return log;
}

void pglog_free(struct pglog *log) {
    if (!log) return;
    tz_free(log->tz);
    pglog_json_free(log->json);
    pglog_stderr_free(log->plain);
    pglog_filter_free(log->filter);
    buf_free(&log->unquoted);
    record_free(&log->record);
    buf_free(&log->uid);
    free(log);
}

void pglog_set_filter(struct pglog *log, struct pglog_filter *filter) {
    pglog_filter_free(log->filter);
    log->filter = filter;
}

// NUL bytes before a record: what a power cut or a truncation under a writer that does not append leaves in its place.
static size_t count_zeros(const char *text, size_t len) {
    size_t count = 0;
    while (count < len && !text[count]) count++;
    return count;
}

static size_t cut(struct pglog *log, const char *text, size_t len, size_t *scanned, bool is_all) {
    size_t end = 0;
    if (log->format == PGLOG_STDERR) return pglog_stderr_cut(log->plain, text, len, scanned, is_all);
    if (log->format == PGLOG_CSV) return pglog_csv_cut(text, len, scanned, &end) == PGLOG_CSV_INCOMPLETE ? 0 : end;
    const char *newline = memchr(text + *scanned, '\n', len - *scanned);
    *scanned = len;
    return newline ? (size_t)(newline - text) + 1 : 0;
}

size_t pglog_cut(struct pglog *log, const char *text, size_t len, size_t *scanned, bool is_all) {
    size_t zeros = count_zeros(text, len);
    if (zeros == len) return 0;
    size_t behind = *scanned > zeros ? *scanned - zeros : 0;
    size_t end = cut(log, text + zeros, len - zeros, &behind, is_all);
    *scanned = behind + zeros;
    return end ? end + zeros : 0;
}

uint64_t pglog_undated(const struct pglog *log, const char **example) {
    *example = log->example;
    return log->undated;
}

uint64_t pglog_unparsed(const struct pglog *log) {
    return log->unparsed;
}

// The instant of "1774744200.123", as %n in a prefix gives it. -1 when it is none.
static int read_epoch(struct pglog_text text, int64_t *time_us) {
    enum { MAX_SECONDS = 12, FINEST = 6 };  // digits
    int64_t value = 0;
    int fraction = -1;  // digits read behind the point; -1 before it
    for (size_t i = 0; i < text.len; i++) {
        if (text.text[i] == '.' && fraction < 0 && i > 0) {
            fraction = 0;
            continue;
        }
        if (text.text[i] < '0' || text.text[i] > '9' || fraction == FINEST) return -1;
        if (fraction < 0 && i == MAX_SECONDS) return -1;
        value = value * 10 + (text.text[i] - '0');
        if (fraction >= 0) fraction++;
    }
    for (int digits = fraction < 0 ? 0 : fraction; digits < FINEST; digits++) value *= 10;
    *time_us = value;
    return text.len && fraction != 0 ? 0 : -1;
}

// The instant of "2026-03-29 02:30:00.123 CEST". -1 when it cannot be told.
static int read_time(struct pglog *log, struct pglog_text text, int64_t *time_us) {
    struct civil local;
    size_t at = civil_parse(text.text, text.len, &local);
    if (!at) return read_epoch(text, time_us);
    if (at + 1 >= text.len || text.text[at] != ' ') return -1;
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

// The uid of the record, until the next one's.
static const struct buf *make_uid(struct pglog *log, const struct pglog_line *line, const struct pglog_fields *fields) {
    struct buf *uid = &log->uid;
    buf_clear(uid);
    if (fields && fields->at[PGLOG_SESSION_ID].len && fields->at[PGLOG_LINE_NUM].len) {
        buf_put(uid, fields->at[PGLOG_SESSION_ID].text, fields->at[PGLOG_SESSION_ID].len);
        buf_putc(uid, '/');
        buf_put(uid, fields->at[PGLOG_LINE_NUM].text, fields->at[PGLOG_LINE_NUM].len);
    } else {
        buf_puts(uid, line->first_line);
        buf_putc(uid, '.');
        buf_put_int(uid, line->truncations);
        buf_putc(uid, ':');
        buf_put_int(uid, line->offset);
    }
    return uid;
}

static void put_uid_field(struct pglog *log, const struct pglog_line *line, const struct pglog_fields *fields) {
    const struct buf *uid = make_uid(log, line, fields);
    json_put_string_field(&log->record.value, "uid", uid->data, uid->len);
}

// Whether the rate lets the record pass; one that does not is counted.
static bool passes(struct pglog *log, const struct pglog_line *line, const struct pglog_fields *fields,
                   enum pglog_level level, int64_t time_us) {
    if (pglog_filter_passes(log->filter, level, time_us)) return true;
    const struct buf *uid = make_uid(log, line, fields);
    pglog_filter_drop(log->filter, uid->data, uid->len, time_us, log->now_us);
    return false;
}

// Begins the record of what was read, up to the field `record`. False when it is not wanted.
static bool begin_parsed(struct pglog *log, const struct pglog_line *line, const struct pglog_fields *fields,
                         int64_t time_us) {
    struct pglog_text time = fields->at[PGLOG_TIMESTAMP], database = fields->at[PGLOG_DBNAME];
    enum pglog_level level = pglog_level(fields->at[PGLOG_ERROR_SEVERITY]);
    enum pglog_event event = pglog_event_of(fields);
    if (log->filter && !pglog_filter_wants(log->filter, fields, event, level)) return false;
    if (time.text && read_time(log, time, &time_us)) note_undated(log, time);
    if (log->filter && !passes(log, line, fields, level, time_us)) return false;
    struct buf *out = &log->record.value;
    record_begin(&log->record, log->envelope, time_us, database.text, database.len, pglog_level_name(level));
    pglog_put_event(out, fields, event);
    put_uid_field(log, line, fields);
    json_put_name(out, "record");
    return true;
}

// Text that is no record goes as it is. Its level is not known: only its type, `log`, and the rate leave it out.
static void write_unparsed(struct pglog *log, const struct pglog_line *line, struct pglog_text text, int64_t now_us) {
    struct buf *out = &log->record.value;
    log->unparsed++;
    if (log->filter && log->filter->left_out[PGLOG_EVENT_LOG]) log->left_out = true;
    else if (log->filter && log->filter->rate > 0)
        log->left_out =
            !passes(log, line, NULL, PGLOG_LEVEL_INFO, log->filter->limiting ? log->filter->filled_us : now_us);
    if (log->left_out) return;
    record_begin(&log->record, log->envelope, now_us, NULL, 0, "info");
    json_put_string_field(out, "event_type", "log", 3);
    put_uid_field(log, line, NULL);
    json_put_name(out, "unparsed");
    buf_puts(out, "true");
    json_put_string_field(out, "text", text.text, text.len);
    if (line->dropped) {
        json_put_name(out, "truncated");
        buf_putc(out, '{');
        json_put_int_field(out, "payload.text", (int64_t)(text.len + line->dropped));
        buf_putc(out, '}');
    }
    record_end(&log->record);
}

static bool read_json(struct pglog *log, const struct pglog_line *line, struct pglog_text text, int64_t now_us) {
    struct pglog_fields fields = {0};
    struct pglog_text object;
    if (!pglog_json_read(log->json, text.text, text.len, &fields, &object)) return false;
    log->left_out = !begin_parsed(log, line, &fields, now_us);
    if (log->left_out) return true;
    buf_put(&log->record.value, object.text, object.len);
    record_end(&log->record);
    return true;
}

static void write_fields(struct pglog *log, const struct pglog_line *line, struct pglog_fields *fields,
                         int64_t time_us) {
    // jsonlog leaves it out, too.
    struct pglog_text *code = &fields->at[PGLOG_STATE_CODE];
    if (code->len == 5 && memcmp(code->text, "00000", 5) == 0) *code = (struct pglog_text){0};
    log->left_out = !begin_parsed(log, line, fields, time_us);
    if (log->left_out) return;
    pglog_put_fields(&log->record.value, fields);
    record_end(&log->record);
}

static bool read_csv(struct pglog *log, const struct pglog_line *line, struct pglog_text text, int64_t now_us) {
    struct pglog_fields fields = {0};
    if (!pglog_csv_read(text.text, text.len, &log->unquoted, &fields)) return false;
    struct pglog_text *severity = &fields.at[PGLOG_ERROR_SEVERITY];
    const struct pglog_word *word = severity->text ? pglog_severity(severity->text, severity->len) : NULL;
    const char *english = word ? pglog_severity_name(word->kind) : NULL;
    if (english && strcmp(word->text, english) != 0) *severity = (struct pglog_text){english, strlen(english)};
    write_fields(log, line, &fields, now_us);
    return true;
}

static void read_stderr(struct pglog *log, const struct pglog_line *line, struct pglog_text text, int64_t now_us) {
    struct pglog_fields fields = {0};
    struct pglog_text plain;
    int64_t time_us = now_us;
    if (pglog_stderr_read(log->plain, text.text, text.len, &fields, &time_us, &plain))
        write_fields(log, line, &fields, time_us);
    else if (text.len < line->len) write_unparsed(log, line, (struct pglog_text){line->text, line->len}, time_us);
    else write_unparsed(log, line, plain, time_us);
}

size_t pglog_shrink(const struct pglog *log, char *text, size_t *len, size_t most) {
    static const enum shrink_syntax syntax[] = {
        [PGLOG_JSON] = SHRINK_JSON, [PGLOG_CSV] = SHRINK_CSV, [PGLOG_STDERR] = SHRINK_PLAIN};
    size_t zeros = count_zeros(text, *len);
    // One is left, so that the record still has the place where they began.
    if (zeros > 1) memmove(text, text + zeros - 1, *len -= zeros - 1);
    shrink(syntax[log->format], &log->mark, text, len, most);
    return shrink_last(&log->mark, text, *len);
}

struct record *pglog_read(struct pglog *log, const struct pglog_line *line, int64_t now_us) {
    const struct pglog_text whole = {line->text, line->len - (line->len && line->text[line->len - 1] == '\r')};
    size_t zeros = count_zeros(line->text, line->len);
    const struct pglog_text text = {line->text + zeros, line->len - zeros};
    log->left_out = false;
    log->now_us = now_us;
    bool read = false;
    if (log->format == PGLOG_STDERR && !line->dropped) {
        read_stderr(log, line, text, now_us);
        read = true;
    } else if (!line->dropped) {
        read = log->format == PGLOG_CSV ? read_csv(log, line, text, now_us) : read_json(log, line, text, now_us);
    }
    if (!read) write_unparsed(log, line, whole, now_us);
    if (log->left_out) return NULL;
    if (line->shrunk) shrink_note(&log->record.value, &log->mark);
    return &log->record;
}

struct record *pglog_dropped(struct pglog *log, int64_t now_us, bool is_all) {
    struct pglog_filter *filter = log->filter;
    if (!filter || !pglog_filter_must_tell(filter, now_us, is_all)) return NULL;
    struct buf *out = &log->record.value;
    record_begin(&log->record, log->envelope, filter->last_dropped_us, NULL, 0, "warning");
    json_put_string_field(out, "event_type", "log", 3);
    buf_puts(&filter->first_uid, "/dropped");
    json_put_string_field(out, "uid", filter->first_uid.data, filter->first_uid.len);
    json_put_int_field(out, "dropped_events", (int64_t)filter->dropped);
    json_put_name(out, "dropped_since");
    json_put_time(out, filter->first_dropped_us);
    json_put_name(out, "events_per_second");
    buf_printf(out, "%.15g", filter->rate);
    record_end(&log->record);
    filter->dropped = 0;
    return &log->record;
}

uint64_t pglog_dropping(const struct pglog *log) {
    return log->filter ? log->filter->dropped : 0;
}
