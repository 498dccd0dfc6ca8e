// Takes the fields out of a jsonlog line without building a document. It accepts less than JSON: what the server never
// writes is left to the parser that knows all of it. No state.
#include "pglog_scan.h"

#include "json.h"
#include "utf8.h"

// The value of two hexadecimal digits, -1 when they are none.
static int hex_byte(const char *at) {
    int value = 0;
    for (int i = 0; i < 2; i++) {
        char c = at[i];
        if (c >= '0' && c <= '9') value = value * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') value = value * 16 + ((c | 0x20) - 'a') + 10;
        else return -1;
    }
    return value;
}

// The character that the escape at `at` (behind its backslash) stands for, -1 when it is another than servers write.
// *len: what the escape takes behind its backslash.
static int unescape(const char *at, const char *end, size_t *len) {
    *len = 1;
    if (at == end) return -1;
    switch (*at) {
    case '"':
    case '\\':
    case '/':
        return *at;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        *len = 5;
        if (end - at < 5 || at[1] != '0' || at[2] != '0' || (at[3] & 0x80) || at[3] > '7') return -1;
        return hex_byte(at + 3);
    default:
        return -1;
    }
}

// Goes over a string from behind its quote. Returns the place of the quote that ends it, NULL when it is not ended or
// not understood.
static const char *skip_string(const char *at, const char *end, bool *escaped) {
    size_t len;
    *escaped = false;
    for (;;) {
        at += json_plain_len(at, (size_t)(end - at));
        if (at == end) return NULL;
        if (*at == '"') return at;
        if (*at == '\\') {
            *escaped = true;
            if (unescape(at + 1, end, &len) < 0) return NULL;
            at += 1 + len;
            continue;
        }
        len = (unsigned char)*at < 0x80 ? 0 : utf8_char(at, (size_t)(end - at));
        if (!len) return NULL;
        at += len;
    }
}

// What a string between `at` and `end` stands for; `plain` has room for it.
static struct pglog_text unescape_all(const char *at, const char *end, struct buf *plain) {
    size_t from = plain->len, len;
    while (at < end) {
        const char *backslash = memchr(at, '\\', (size_t)(end - at));
        const char *until = backslash ? backslash : end;
        buf_put(plain, at, (size_t)(until - at));
        at = until;
        if (!backslash) break;
        buf_putc(plain, (char)unescape(at + 1, end, &len));
        at += 1 + len;
    }
    return (struct pglog_text){plain->data + from, plain->len - from};
}

// What is behind the integer at `at`; NULL when there is none.
static const char *skip_integer(const char *at, const char *end) {
    if (at < end && *at == '-') at++;
    const char *from = at;
    while (at < end && *at >= '0' && *at <= '9') at++;
    if (at == from || (*from == '0' && at > from + 1)) return NULL;
    return at;
}

// Reads the value at `at`; returns what is behind it, NULL when it is not understood.
static const char *take_value(const char *at, const char *end, struct buf *plain, struct pglog_text *value) {
    bool escaped;
    if (at == end) return NULL;
    if (*at != '"') {
        const char *behind = skip_integer(at, end);
        if (behind) *value = (struct pglog_text){at, (size_t)(behind - at)};
        return behind;
    }
    const char *quote = skip_string(++at, end, &escaped);
    if (!quote) return NULL;
    if (escaped) *value = unescape_all(at, quote, plain);
    else *value = (struct pglog_text){at, (size_t)(quote - at)};
    return quote + 1;
}

bool pglog_scan(const char *text, size_t len, struct buf *plain, struct pglog_fields *fields) {
    const char *at = text, *end = text + len;
    enum pglog_field expected = PGLOG_TIMESTAMP;
    bool escaped;
    // Room for all beforehand: the fields point into it.
    buf_clear(plain);
    buf_reserve(plain, len);
    if (len < 2 || *at != '{') return false;
    do {
        at++;
        if (at == end || *at != '"') return false;
        const char *name = at + 1;
        const char *quote = skip_string(name, end, &escaped);
        if (!quote || escaped || end - quote < 3 || quote[1] != ':') return false;
        enum pglog_field field = pglog_find_field(name, (size_t)(quote - name), expected);
        struct pglog_text value;
        at = take_value(quote + 2, end, plain, &value);
        if (!at || at == end) return false;
        if (field != PGLOG_FIELD_COUNT) {
            fields->at[field] = value;
            expected = field + 1;
        }
    } while (*at == ',');
    return *at == '}' && at + 1 == end;
}
