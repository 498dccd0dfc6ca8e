// Names and types of jsonlog's fields (PostgreSQL's jsonlog.c). No state.
#include "pglog_fields.h"

#include <stdbool.h>
#include <string.h>

#include "json.h"

static const struct {
    const char *name;
    size_t len;
    bool is_number;
    const char *begin;  // of the field in an object that has others before it
} known[PGLOG_FIELD_COUNT] = {
#define TEXT(name) \
    { name, sizeof name - 1, false, ",\"" name "\":" }
#define NUMBER(name) \
    { name, sizeof name - 1, true, ",\"" name "\":" }
    [PGLOG_TIMESTAMP] = TEXT("timestamp"),
    [PGLOG_USER] = TEXT("user"),
    [PGLOG_DBNAME] = TEXT("dbname"),
    [PGLOG_PID] = NUMBER("pid"),
    [PGLOG_REMOTE_HOST] = TEXT("remote_host"),
    [PGLOG_REMOTE_PORT] = NUMBER("remote_port"),
    [PGLOG_SESSION_ID] = TEXT("session_id"),
    [PGLOG_LINE_NUM] = NUMBER("line_num"),
    [PGLOG_PS] = TEXT("ps"),
    [PGLOG_SESSION_START] = TEXT("session_start"),
    [PGLOG_VXID] = TEXT("vxid"),
    [PGLOG_TXID] = NUMBER("txid"),
    [PGLOG_ERROR_SEVERITY] = TEXT("error_severity"),
    [PGLOG_STATE_CODE] = TEXT("state_code"),
    [PGLOG_MESSAGE] = TEXT("message"),
    [PGLOG_DETAIL] = TEXT("detail"),
    [PGLOG_HINT] = TEXT("hint"),
    [PGLOG_INTERNAL_QUERY] = TEXT("internal_query"),
    [PGLOG_INTERNAL_POSITION] = NUMBER("internal_position"),
    [PGLOG_CONTEXT] = TEXT("context"),
    [PGLOG_STATEMENT] = TEXT("statement"),
    [PGLOG_CURSOR_POSITION] = NUMBER("cursor_position"),
    [PGLOG_FUNC_NAME] = TEXT("func_name"),
    [PGLOG_FILE_NAME] = TEXT("file_name"),
    [PGLOG_FILE_LINE_NUM] = NUMBER("file_line_num"),
    [PGLOG_APPLICATION_NAME] = TEXT("application_name"),
    [PGLOG_BACKEND_TYPE] = TEXT("backend_type"),
    [PGLOG_LEADER_PID] = NUMBER("leader_pid"),
    [PGLOG_QUERY_ID] = NUMBER("query_id"),
#undef TEXT
#undef NUMBER
};

static uint64_t word_of(const char *text, size_t len) {
    uint64_t word = 0;
    memcpy(&word, text, len);
    return word;
}

// Whether two names of one length are the same; without a call for each of a line's names.
static bool same_name(const char *a, const char *b, size_t len) {
    if (len < 8)
        return len < 4 ? memcmp(a, b, len) == 0
                       : word_of(a, 4) == word_of(b, 4) && word_of(a + len - 4, 4) == word_of(b + len - 4, 4);
    for (; len > 8; len -= 8, a += 8, b += 8) {
        if (word_of(a, 8) != word_of(b, 8)) return false;
        if (len < 16) return word_of(a + len - 8, 8) == word_of(b + len - 8, 8);
    }
    return word_of(a, 8) == word_of(b, 8);
}

enum pglog_field pglog_find_field(const char *name, size_t len, enum pglog_field expected) {
    int field = expected;
    for (int i = 0; i < PGLOG_FIELD_COUNT; i++, field++) {
        if (field >= PGLOG_FIELD_COUNT) field = 0;
        if (known[field].len == len && same_name(known[field].name, name, len)) return (enum pglog_field)field;
    }
    return PGLOG_FIELD_COUNT;
}

// Whether the text is an integer as JSON writes it.
static bool is_integer(struct pglog_text text) {
    size_t at = text.len && *text.text == '-';
    if (at == text.len || text.len > 20 || (text.text[at] == '0' && text.len > at + 1)) return false;
    for (; at < text.len; at++)
        if (text.text[at] < '0' || text.text[at] > '9') return false;
    return true;
}

void pglog_put_fields(struct buf *out, const struct pglog_fields *fields) {
    buf_putc(out, '{');
    for (int field = 0; field < PGLOG_FIELD_COUNT; field++) {
        struct pglog_text text = fields->at[field];
        if (!text.text) continue;
        bool first = out->data[out->len - 1] == '{';
        buf_put(out, known[field].begin + first, known[field].len + sizeof ",\"\":" - 1 - first);
        if (known[field].is_number && is_integer(text)) buf_put(out, text.text, text.len);
        else json_put_string(out, text.text, text.len);
    }
    buf_putc(out, '}');
}

void pglog_take_location(struct pglog_fields *fields, struct pglog_text location) {
    if (!location.len) return;
    const char *end = location.text + location.len;
    const char *comma = memmem(location.text, location.len, ", ", 2);
    const char *file = comma ? comma + 2 : location.text;
    const char *colon = memrchr(file, ':', (size_t)(end - file));
    if (comma) fields->at[PGLOG_FUNC_NAME] = (struct pglog_text){location.text, (size_t)(comma - location.text)};
    if (!colon) return;
    fields->at[PGLOG_FILE_NAME] = (struct pglog_text){file, (size_t)(colon - file)};
    fields->at[PGLOG_FILE_LINE_NUM] = (struct pglog_text){colon + 1, (size_t)(end - colon - 1)};
}
