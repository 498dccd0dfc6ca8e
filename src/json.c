// Writes JSON. Runs of plain characters are copied whole; only what needs an escape or is no UTF-8 is looked at.
#include "json.h"

#include <emmintrin.h>
#include <string.h>
#include <yyjson.h>

#include "civil.h"
#include "utf8.h"

static bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

size_t json_plain_len(const char *text, size_t len) {
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), blank = _mm_set1_epi8(0x20);
    size_t at = 0;
    for (; len - at >= 16; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(text + at));
        // Bytes beyond ASCII are negative, and so below the blank, too.
        __m128i other = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)),
                                     _mm_cmplt_epi8(bytes, blank));
        unsigned found = (unsigned)_mm_movemask_epi8(other);
        if (found) return at + (size_t)__builtin_ctz(found);
    }
    while (at < len && is_plain((unsigned char)text[at])) at++;
    return at;
}

static void put_escaped(struct buf *out, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    const char *found = c ? strchr(from, c) : NULL;
    if (found) {
        buf_putc(out, '\\');
        buf_putc(out, to[found - from]);
    } else {
        buf_puts(out, "\\u00");
        buf_putc(out, hex[c >> 4]);
        buf_putc(out, hex[c & 15]);
    }
}

void json_put_string(struct buf *out, const char *text, size_t len) {
    const char *end = text + len;
    buf_reserve(out, len + 2);
    buf_putc(out, '"');
    while (text < end) {
        size_t run = json_plain_len(text, (size_t)(end - text));
        buf_put(out, text, run);
        text += run;
        if (text == end) break;
        if ((unsigned char)*text < 0x80) {
            put_escaped(out, (unsigned char)*text++);
            continue;
        }
        size_t bytes = utf8_char(text, (size_t)(end - text));
        if (bytes) buf_put(out, text, bytes);
        else buf_puts(out, UTF8_REPLACEMENT);
        text += bytes ? bytes : 1;
    }
    buf_putc(out, '"');
}

void json_put_name(struct buf *out, const char *name) {
    if (out->len && out->data[out->len - 1] != '{') buf_putc(out, ',');
    json_put_string(out, name, strlen(name));
    buf_putc(out, ':');
}

void json_put_string_field(struct buf *out, const char *name, const char *text, size_t len) {
    json_put_name(out, name);
    json_put_string(out, text, len);
}

void json_put_int_field(struct buf *out, const char *name, int64_t value) {
    json_put_name(out, name);
    buf_put_int(out, value);
}

// The length of the string that begins at text, quotes included.
static size_t string_len(const char *text, size_t len) {
    size_t at = 1;
    while (at < len && text[at] != '"') at += text[at] == '\\' && at + 1 < len ? 2 : 1;
    return at < len ? at + 1 : len;
}

void json_put_compact(struct buf *out, const char *text, size_t len) {
    while (len) {
        size_t part = *text == '"' ? string_len(text, len) : 1;
        if (part > 1) utf8_put(out, text, part);
        else if (!strchr(" \t\r\n", *text)) buf_putc(out, *text);
        text += part;
        len -= part;
    }
}

bool json_valid(const char *text, size_t len) {
    yyjson_doc *doc = yyjson_read(text, len, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_doc_free(doc);
    return doc != NULL;
}

static void put_padded(struct buf *out, int value, int width) {
    char digits[12];
    for (int i = width; i-- > 0; value /= 10) digits[i] = (char)('0' + value % 10);
    buf_put(out, digits, (size_t)width);
}

void json_put_time(struct buf *out, int64_t time_us) {
    struct civil civil;
    civil_from_us(time_us, &civil);
    buf_putc(out, '"');
    if (civil.year >= 0 && civil.year <= 9999) put_padded(out, civil.year, 4);
    else buf_put_int(out, civil.year);
    const int parts[] = {civil.month, civil.day, civil.hour, civil.minute, civil.second};
    for (int i = 0; i < 5; i++) {
        buf_putc(out, "--T::"[i]);
        put_padded(out, parts[i], 2);
    }
    buf_putc(out, '.');
    put_padded(out, civil.microsecond, 6);
    buf_puts(out, "Z\"");
}
