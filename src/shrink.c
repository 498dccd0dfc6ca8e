// A string is gone through token by token (a character's byte, an escape, a doubled quote, a mark), so that a cut never
// divides one; it keeps its beginning and its end. What is cut is counted as the string's reader would see it.
#include "shrink.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ELLIPSIS "\xe2\x80\xa6"
#define SHORTEST 256               // bytes that are kept at both ends, at least
#define SHORTEST_OPEN (64 * 1024)  // and of a string whose end is not there

struct shrinking {
    enum shrink_syntax syntax;
    const struct shrink_mark *mark;
    const char *text;
    size_t len;
    bool escapes;  // the string at hand has them
};

struct shrink_mark shrink_mark_new(uint64_t secret) {
    struct shrink_mark mark;
    char text[SHRINK_MARK_HEAD + 1];
    snprintf(text, sizeof text, ELLIPSIS "dbobs:%016llx:", (unsigned long long)secret);
    memcpy(mark.head, text, sizeof mark.head);
    return mark;
}

static bool is_mark(const struct shrinking *all, size_t at) {
    return all->len - at >= SHRINK_MARK_LEN && memcmp(all->text + at, all->mark->head, SHRINK_MARK_HEAD) == 0;
}

static int hex4(const char *text) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *found = text[i] ? strchr(digits, text[i] | 0x20) : NULL;
        if (!found) return -1;
        value = value * 16 + (int)(found - digits);
    }
    return value;
}

// The escape at `at`: *bytes is what it stands for, in UTF-8.
static size_t escape(const struct shrinking *all, size_t at, size_t end, uint64_t *bytes) {
    *bytes = 1;
    if (end - at < 2) return end - at;
    int code = all->text[at + 1] == 'u' && end - at >= 6 ? hex4(all->text + at + 2) : -1;
    if (code < 0) return 2;
    *bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : 3;
    if (code >= 0xd800 && code < 0xdc00 && end - at >= 12 && all->text[at + 6] == '\\') {
        *bytes = 4;
        return 12;
    }
    return 6;
}

// The token at `at` within a string that goes up to end: its length; *bytes is what it stands for.
static size_t token(const struct shrinking *all, size_t at, size_t end, uint64_t *bytes) {
    char c = all->text[at];
    *bytes = 1;
    if (c == *all->mark->head && is_mark(all, at)) {
        *bytes = strtoull(all->text + at + SHRINK_MARK_HEAD, NULL, 10);
        return SHRINK_MARK_LEN;
    }
    if (all->escapes && c == '\\') return escape(all, at, end, bytes);
    bool pair = at + 1 < end && ((all->syntax == SHRINK_CSV && c == '"' && all->text[at + 1] == '"') ||
                                 (all->syntax == SHRINK_PLAIN && c == '\n' && all->text[at + 1] == '\t'));
    return pair ? 2 : 1;
}

// Where the next string begins, from `at` on; len when there is none.
static size_t string_start(const struct shrinking *all, size_t at) {
    if (all->syntax == SHRINK_PLAIN || at >= all->len) return at;
    const char *quote = memchr(all->text + at, '"', all->len - at);
    return quote ? (size_t)(quote - all->text) + 1 : all->len;
}

// Where the string that begins at `at` ends: at its quote or newline, or with the text.
static size_t string_end(const struct shrinking *all, size_t at) {
    while (at < all->len) {
        const char *found = all->text + at;
        if (all->syntax == SHRINK_JSON) {
            while (found < all->text + all->len && *found != '"' && *found != '\\') found++;
        } else {
            found = memchr(found, all->syntax == SHRINK_CSV ? '"' : '\n', all->len - at);
        }
        if (!found || found == all->text + all->len) return all->len;
        at = (size_t)(found - all->text);
        if (*found == '\\') {
            at += 2;
            continue;
        }
        if (all->syntax == SHRINK_JSON) return at;
        // The last byte may be the first of a pair.
        if (at + 1 < all->len && found[1] != (all->syntax == SHRINK_CSV ? '"' : '\t')) return at;
        at += 2;
    }
    return all->len;
}

static bool is_within_character(const char *text, size_t at) {
    return ((unsigned char)text[at] & 0xc0) == 0x80;
}

// Cuts the middle of the string [from, end), which keeps `keep` bytes at both ends. Returns how much shorter it became.
static size_t cut_string(const struct shrinking *all, char *text, size_t from, size_t end, size_t keep) {
    uint64_t bytes, cut = 0;
    size_t head = from, tail;
    while (head < end && head - from < keep) head += token(all, head, end, &bytes);
    for (int i = 0; i < 3 && head > from && head < end && is_within_character(text, head); i++) head--;
    // A line must not begin with a mark: it would be another record.
    if (all->syntax == SHRINK_PLAIN && head > from && text[head - 1] == '\n') head--;
    for (tail = head; tail < end && end - tail > keep; cut += bytes) tail += token(all, tail, end, &bytes);
    for (int i = 0; i < 3 && tail < end && is_within_character(text, tail); i++, cut++) tail++;
    if (tail - head <= SHRINK_MARK_LEN) return 0;
    char number[24];
    snprintf(number, sizeof number, "%020llu", (unsigned long long)cut);
    memcpy(text + head, all->mark->head, SHRINK_MARK_HEAD);
    memcpy(text + head + SHRINK_MARK_HEAD, number, 20);
    memcpy(text + head + SHRINK_MARK_HEAD + 20, ":" ELLIPSIS, 4);
    memmove(text + head + SHRINK_MARK_LEN, text + tail, all->len - tail);
    return tail - head - SHRINK_MARK_LEN;
}

// Cuts each string that is longer than three times `keep`.
static void cut_strings(struct shrinking *all, char *text, size_t keep) {
    for (size_t at = string_start(all, 0); at < all->len;) {
        all->escapes = all->syntax == SHRINK_JSON || (all->syntax == SHRINK_PLAIN && text[at] == '{');
        size_t end = string_end(all, at);
        // What is still being written may be the beginning of another record, unless it is long.
        if (end - at > 3 * keep && (end < all->len || keep >= SHORTEST_OPEN)) {
            size_t gone = cut_string(all, text, at, end, keep);
            all->len -= gone;
            end -= gone;
        }
        at = string_start(all, end + 1);
    }
}

void shrink(enum shrink_syntax syntax, const struct shrink_mark *mark, char *text, size_t *len, size_t most) {
    struct shrinking all = {.syntax = syntax, .mark = mark, .text = text, .len = *len};
    for (size_t keep = most / 8; all.len > most && keep >= SHORTEST; keep /= 4) cut_strings(&all, text, keep);
    *len = all.len;
}

size_t shrink_last(const struct shrink_mark *mark, const char *text, size_t len) {
    const char *at = text, *end = text + len, *last = NULL;
    while ((at = memmem(at, (size_t)(end - at), mark->head, SHRINK_MARK_HEAD)) && end - at >= SHRINK_MARK_LEN)
        last = at += SHRINK_MARK_LEN;
    return last ? (size_t)(last - text) : 0;
}
