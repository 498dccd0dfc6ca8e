// Finds the word PASSWORD and the string literal behind it in any of SQL's forms, and "password = value" in a literal,
// as connection strings have it. Where a setting of the server decides where a literal ends (a backslash before a
// quote), the longer reading is taken: too much masked gives nothing away.
#include "mask.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

static const char word[] = "password";

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

// The next whole word PASSWORD at or after `at`: the place behind it; len when there is none.
static size_t after_word(const char *text, size_t len, size_t at) {
    size_t size = sizeof word - 1;
    for (; at + size <= len; at++) {
        if ((text[at] | 0x20) != 'p' || strncasecmp(text + at, word, size) != 0) continue;
        bool whole = (at == 0 || !is_word(text[at - 1])) && (at + size == len || !is_word(text[at + size]));
        if (whole) return at + size;
    }
    return len;
}

static bool starts(const char *text, size_t len, size_t at, const char *prefix) {
    size_t size = strlen(prefix);
    return at + size <= len && memcmp(text + at, prefix, size) == 0;
}

// The last search for the end of a comment: from any place between the two its result is the same.
struct last_search {
    size_t from, found;
};

// What is known of the text so far, so that a word costs no look at all of it.
struct scan {
    const char *text;
    size_t len;
    struct last_search comment, line;
    size_t work;     // bytes looked at between words and literals
    size_t counted;  // quotes before it are counted,
    bool inside;     // and their number is odd
};

// Where `end` is at or behind `at`; len when it is not there.
static size_t find_end(struct scan *scan, struct last_search *last, size_t at, const char *end) {
    if (at >= last->from && at <= last->found) return last->found;
    const char *found = memmem(scan->text + at, scan->len - at, end, strlen(end));
    *last = (struct last_search){at, found ? (size_t)(found - scan->text) : scan->len};
    scan->work += last->found - at;
    return last->found;
}

// Past blanks, comments, a closing quote of "password", and an equals sign.
static size_t skip_between(struct scan *scan, size_t at) {
    const char *text = scan->text;
    for (; at < scan->len; scan->work++) {
        if (strchr(" \t\r\n\f\v\"=", text[at]) && text[at]) {
            at++;
        } else if (starts(text, scan->len, at, "--")) {
            at = find_end(scan, &scan->line, at, "\n");
        } else if (starts(text, scan->len, at, "/*")) {
            at = find_end(scan, &scan->comment, at + 2, "*/");
            at = at < scan->len ? at + 2 : at;
        } else {
            break;
        }
    }
    return at;
}

// The end of the literal whose opening quote is at `at`.
static size_t quoted_end(const char *text, size_t len, size_t at) {
    for (at++; at < len; at++) {
        if (text[at] == '\\') at++;
        else if (text[at] == '\'' && at + 1 < len && text[at + 1] == '\'') at++;
        else if (text[at] == '\'') return at + 1;
    }
    return len;
}

// The end of a $tag$ literal that begins at `at`; `at` when there is none (a parameter such as $1).
static size_t dollar_end(const char *text, size_t len, size_t at) {
    size_t tag = at + 1;
    if (tag < len && text[tag] >= '0' && text[tag] <= '9') return at;
    while (tag < len && is_word(text[tag])) tag++;
    if (tag >= len || text[tag] != '$') return at;
    size_t size = tag + 1 - at;
    const char *end = memmem(text + tag + 1, len - tag - 1, text + at, size);
    return end ? (size_t)(end - text) + size : len;
}

// The end of the literal that begins at `at`; `at` when there is none.
static size_t literal_end(const char *text, size_t len, size_t at) {
    if (at >= len) return at;
    if (text[at] == '$') return dollar_end(text, len, at);
    size_t quote = at;
    if (starts(text, len, at, "U&") || starts(text, len, at, "u&")) quote += 2;
    else if (strchr("EeNn", text[at]) && text[at]) quote++;
    return quote < len && text[quote] == '\'' ? quoted_end(text, len, quote) : at;
}

// Whether `at` is within a literal, by the quotes before it. From call to call it grows.
static bool is_inside(struct scan *scan, size_t at) {
    for (; scan->counted < at; scan->counted++) scan->inside ^= scan->text[scan->counted] == '\'';
    return scan->inside;
}

// Comments within comments could be made to be read again for each word in them: such a text is masked to its end.
static bool is_too_much(const struct scan *scan) {
    return scan->work / 64 > scan->len;
}

static size_t skip_blanks(const char *text, size_t len, size_t at) {
    while (at < len && text[at] && strchr(" \t\r\n\f\v", text[at])) at++;
    return at;
}

// What gives a password away, and what takes its place. Empty: nothing does.
struct secret {
    size_t begin, end;
    const char *instead;
};

// "= value" at `at` in a literal. The value may have quotes of its own: all up to the literal's end counts as it.
static struct secret value_at(const char *text, size_t len, size_t at) {
    at = skip_blanks(text, len, at);
    if (at == len || text[at] != '=') return (struct secret){at, at, ""};
    at = skip_blanks(text, len, at + 1);
    size_t end = quoted_end(text, len, at - 1);
    return (struct secret){at, end > at && text[end - 1] == '\'' ? end - 1 : end, "***"};
}

// What follows the word that ends at `at`.
static struct secret secret_at(struct scan *scan, size_t at) {
    const char *text = scan->text;
    size_t len = scan->len, begin = skip_between(scan, at);
    struct secret secret = {begin, begin, "'***'"};
    bool inside = is_inside(scan, at);
    // The quote behind the word closes a literal that holds it, as in 'wrong password'.
    if (begin == at && inside) return secret;
    secret.end = is_too_much(scan) ? len : literal_end(text, len, begin);
    // A literal goes on in the next line: 'a' newline 'b'.
    for (size_t next = secret.end; secret.end > begin; secret.end = quoted_end(text, len, next)) {
        next = skip_between(scan, secret.end);
        if (next >= len || text[next] != '\'') break;
    }
    if (!inside) return secret;
    // Quotes in comments mislead about what is inside.
    struct secret value = value_at(text, len, at);
    return secret.end == begin || value.end > secret.end ? value : secret;
}

bool mask_passwords(struct buf *out, const char *text, size_t len) {
    const struct last_search none = {SIZE_MAX, 0};
    struct scan scan = {.text = text, .len = len, .comment = none, .line = none};
    bool masked = false;
    size_t done = 0;
    buf_clear(out);
    for (size_t at = after_word(text, len, 0); at < len; at = after_word(text, len, at)) {
        struct secret secret = secret_at(&scan, at);
        if (secret.end == secret.begin) continue;
        buf_put(out, text + done, secret.begin - done);
        buf_puts(out, secret.instead);
        done = at = secret.end;
        masked = true;
    }
    buf_put(out, text + done, len - done);
    return masked;
}
