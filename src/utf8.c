// Validates and mends UTF-8. ASCII, nearly all of what we see, is passed over eight bytes at a time.
#include "utf8.h"

#include <stdint.h>
#include <string.h>

static bool continues(unsigned char byte) {
    return (byte & 0xC0) == 0x80;
}

size_t utf8_char(const char *text, size_t len) {
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80) return 1;
    if (at[0] < 0xC2 || at[0] > 0xF4) return 0;
    if (len < 2 || !continues(at[1])) return 0;
    if (at[0] < 0xE0) return 2;
    // The second byte tells overlong forms, surrogates and what lies above U+10FFFF.
    if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] > 0x9F)) return 0;
    if ((at[0] == 0xF0 && at[1] < 0x90) || (at[0] == 0xF4 && at[1] > 0x8F)) return 0;
    if (len < 3 || !continues(at[2])) return 0;
    if (at[0] < 0xF0) return 3;
    return len >= 4 && continues(at[3]) ? 4 : 0;
}

static size_t ascii_len(const char *text, size_t len) {
    size_t done = 0;
    for (uint64_t word; len - done >= sizeof word; done += sizeof word) {
        memcpy(&word, text + done, sizeof word);
        if (word & 0x8080808080808080u) break;
    }
    while (done < len && !(text[done] & 0x80)) done++;
    return done;
}

size_t utf8_valid_len(const char *text, size_t len) {
    size_t done = 0;
    for (;;) {
        done += ascii_len(text + done, len - done);
        if (done == len) return len;
        size_t bytes = utf8_char(text + done, len - done);
        if (!bytes) return done;
        done += bytes;
    }
}

bool utf8_valid(const char *text, size_t len) {
    return utf8_valid_len(text, len) == len;
}

void utf8_put(struct buf *out, const char *text, size_t len) {
    while (len) {
        size_t good = utf8_valid_len(text, len);
        buf_put(out, text, good);
        if (good == len) return;
        buf_puts(out, UTF8_REPLACEMENT);
        text += good + 1;
        len -= good + 1;
    }
}

size_t utf8_cut_before(const char *text, size_t len, size_t at) {
    if (at >= len) return len;
    while (at > 0 && continues((unsigned char)text[at])) at--;
    return at;
}

size_t utf8_cut_after(const char *text, size_t len, size_t at) {
    while (at < len && continues((unsigned char)text[at])) at++;
    return at < len ? at : len;
}
