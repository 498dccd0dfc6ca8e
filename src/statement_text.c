// Texts of statements. They may hold any byte but zero; what is written is valid JSON and valid UTF-8.
#include "statement_text.h"

#include <fnmatch.h>
#include <string.h>

#include "json.h"
#include "mask.h"
#include "utf8.h"

#define PATH "payload.query"
#define CUT "\xe2\x80\xa6"  // U+2026: where the middle was
// The mark is looked for in so many first bytes.
#define MARK_WITHIN 40

static bool is_ours(const struct statement_text_rules *rules, const char *text) {
    size_t len = strnlen(text, MARK_WITHIN);
    if (!memmem(text, len, STATEMENT_MARK, sizeof STATEMENT_MARK - 1)) return false;
    for (char **keep = rules->keep; *keep; keep++)
        if (strcmp(text, *keep) == 0) return false;
    return true;
}

bool statement_text_is_left_out(const struct statement_text_rules *rules, const char *text) {
    if (is_ours(rules, text)) return true;
    for (char **pattern = rules->exclude; *pattern; pattern++)
        if (fnmatch(*pattern, text, FNM_CASEFOLD) == 0) return true;
    return false;
}

static bool begins_character(char c) {
    return (c & 0xC0) != 0x80;
}

static size_t characters(const char *text, size_t len) {
    size_t count = 0;
    for (size_t i = 0; i < len; i++) count += begins_character(text[i]);
    return count;
}

// Where character number `index` begins in valid text.
static size_t place_of(const char *text, size_t len, size_t index) {
    size_t at = 0;
    for (; at < len; at++)
        if (begins_character(text[at]) && index-- == 0) break;
    return at;
}

// Takes the middle out of valid text so that `longest` characters remain, the mark among them.
static void cut_middle(struct buf *text, size_t count, size_t longest) {
    size_t head = place_of(text->data, text->len, longest / 2);
    size_t tail = place_of(text->data, text->len, count - (longest - 1) / 2);
    struct buf out = {0};
    buf_put(&out, text->data, head);
    buf_puts(&out, CUT);
    buf_put(&out, text->data + tail, text->len - tail);
    buf_free(text);
    *text = out;
}

// Writes the text when it is too long; false when it is not.
static bool write_cut(const struct statement_text_rules *rules, const char *text, size_t len, struct buf *out) {
    if (!rules->longest || len <= rules->longest) return false;
    struct buf valid = {0};
    utf8_put(&valid, text, len);
    size_t count = characters(valid.data, valid.len), bytes = valid.len;
    bool cut = count > rules->longest;
    if (cut) {
        cut_middle(&valid, count, rules->longest);
        json_put_string_field(out, "query", valid.data, valid.len);
        buf_printf(out, ",\"truncated\":{\"" PATH "\":%zu}", bytes);
    }
    buf_free(&valid);
    return cut;
}

void statement_text_write(const struct statement_text_rules *rules, const char *text, size_t len, struct buf *out) {
    struct buf masked = {0};
    if (rules->mask && mask_passwords(&masked, text, len)) {
        text = masked.data;
        len = masked.len;
    }
    buf_clear(out);
    if (!write_cut(rules, text, len, out)) json_put_string_field(out, "query", text, len);
    buf_free(&masked);
}
