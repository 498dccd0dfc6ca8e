// Makes a record fit its topic: reads it again as JSON, cuts the longest strings to one common length and writes it.
// Rare, so it is written for exactness: numbers stay the text they were, all else keeps its order and its bytes.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "buf.h"
#include "record.h"
#include "utf8.h"

#define MARK "\xe2\x80\xa6"  // U+2026: where the middle was
#define SHORTEST 256         // strings below this are left alone
#define DEEPEST 32           // strings in deeper objects are left to the objects' becoming text

struct cut_string {
    yyjson_mut_val *value;
    char *path;
    size_t escaped;  // bytes it takes in JSON, without quotes
};

struct cut {
    yyjson_mut_doc *doc;
    struct cut_string *strings;
    size_t count, cap;
    struct buf path;
    size_t limit, paths;    // of the record; of the strings' paths together
    yyjson_mut_val *noted;  // payload.truncated as it came; NULL: none
    size_t noted_len;
    char **texts;  // what cut strings point to
    size_t text_count;
};

static size_t escaped_char(unsigned char c) {
    if (c == '"' || c == '\\' || c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t') return 2;
    return c < 0x20 ? 6 : 1;
}

static size_t escaped_len(const char *text, size_t len) {
    size_t sum = 0;
    for (size_t i = 0; i < len; i++) sum += escaped_char((unsigned char)text[i]);
    return sum;
}

static void collect_string(struct cut *cut, yyjson_mut_val *value) {
    size_t escaped = escaped_len(yyjson_mut_get_str(value), yyjson_mut_get_len(value));
    // Paths that do not fit the record cannot be noted in it: nothing more needs to be known then.
    if (escaped < SHORTEST || cut->paths > cut->limit) return;
    cut->paths += cut->path.len;
    if (cut->count == cut->cap) {
        cut->cap = cut->cap ? cut->cap * 2 : 16;
        cut->strings = xrealloc(cut->strings, cut->cap * sizeof *cut->strings);
    }
    char *path = xstrndup(cut->path.data, cut->path.len);
    cut->strings[cut->count++] = (struct cut_string){value, path, escaped};
}

static void collect(struct cut *cut, yyjson_mut_val *value, int depth);

static void collect_object(struct cut *cut, yyjson_mut_val *object, int depth) {
    size_t here = cut->path.len;
    size_t i, count;
    yyjson_mut_val *name, *value;
    yyjson_mut_obj_foreach(object, i, count, name, value) {
        if (here) buf_putc(&cut->path, '.');
        buf_put(&cut->path, yyjson_mut_get_str(name), yyjson_mut_get_len(name));
        collect(cut, value, depth);
        cut->path.len = here;
    }
}

static void collect_list(struct cut *cut, yyjson_mut_val *list, int depth) {
    size_t here = cut->path.len;
    size_t i, count;
    yyjson_mut_val *value;
    yyjson_mut_arr_foreach(list, i, count, value) {
        buf_putc(&cut->path, '.');
        buf_put_int(&cut->path, (int64_t)i);
        collect(cut, value, depth);
        cut->path.len = here;
    }
}

static void collect(struct cut *cut, yyjson_mut_val *value, int depth) {
    if (yyjson_mut_is_str(value)) collect_string(cut, value);
    if (depth == DEEPEST) return;
    if (yyjson_mut_is_obj(value)) collect_object(cut, value, depth + 1);
    if (yyjson_mut_is_arr(value)) collect_list(cut, value, depth + 1);
}

static void forget_strings(struct cut *cut) {
    for (size_t i = 0; i < cut->count; i++) free(cut->strings[i].path);
    cut->count = cut->paths = 0;
}

static int longest_first(const void *a, const void *b) {
    size_t first = ((const struct cut_string *)a)->escaped;
    size_t second = ((const struct cut_string *)b)->escaped;
    return (first < second) - (first > second);
}

// The bytes that payload.truncated takes for one string.
static size_t note_len(const struct cut_string *string) {
    return escaped_len(string->path, strlen(string->path)) + 24;
}

// The common length to which the longest strings are cut so that the record loses `excess` bytes; *cut_count says how
// many those are. 0 when they cannot lose as much.
static size_t common_length(const struct cut *cut, size_t excess, size_t *cut_count) {
    size_t sum = 0;
    size_t need = excess + sizeof ",\"truncated\":{}";
    for (size_t i = 0; i < cut->count; i++) {
        sum += cut->strings[i].escaped;
        need += note_len(&cut->strings[i]);
        size_t next = i + 1 < cut->count ? cut->strings[i + 1].escaped : 0;
        if (sum < need) continue;
        size_t level = (sum - need) / (i + 1);
        if (level < next) continue;
        *cut_count = i + 1;
        return level >= SHORTEST / 2 ? level : 0;
    }
    return 0;
}

// Replaces the middle of the string so that it takes at most `length` bytes escaped.
static void cut_middle(struct cut *cut, struct cut_string *string, size_t length) {
    const char *text = yyjson_mut_get_str(string->value);
    size_t len = yyjson_mut_get_len(string->value);
    size_t half = (length - strlen(MARK)) / 2;
    size_t head = 0, tail = len;
    for (size_t used = 0; head < len && (used += escaped_char((unsigned char)text[head])) <= half;) head++;
    for (size_t used = 0; tail > head && (used += escaped_char((unsigned char)text[tail - 1])) <= half;) tail--;
    head = utf8_cut_before(text, len, head);
    tail = utf8_cut_after(text, len, tail);
    struct buf out = {0};
    buf_put(&out, text, head);
    buf_puts(&out, MARK);
    buf_put(&out, text + tail, len - tail);
    yyjson_mut_set_strn(string->value, out.data, out.len);
    cut->texts[cut->text_count++] = out.data;
}

// What the string had before it was cut by whoever made the record, or has now.
static uint64_t original_len(const struct cut *cut, const struct cut_string *string) {
    const char *before = yyjson_mut_get_raw(yyjson_mut_obj_get(cut->noted, string->path));
    return before ? strtoull(before, NULL, 10) : yyjson_mut_get_len(string->value);
}

// The notes that came with the record, but for those of strings that are cut again.
static void add_noted(struct cut *cut, yyjson_mut_val *truncated) {
    if (!cut->noted) return;
    size_t i, count;
    yyjson_mut_val *name, *value;
    yyjson_mut_obj_foreach(cut->noted, i, count, name, value) {
        if (yyjson_mut_obj_get(truncated, yyjson_mut_get_str(name))) continue;
        yyjson_mut_val *copy = yyjson_mut_val_mut_copy(cut->doc, name);
        yyjson_mut_obj_add(truncated, copy, yyjson_mut_val_mut_copy(cut->doc, value));
    }
}

static void cut_strings(struct cut *cut, yyjson_mut_val *payload, size_t length, size_t count) {
    yyjson_mut_val *truncated = yyjson_mut_obj(cut->doc);
    cut->texts = xrealloc(cut->texts, (cut->text_count + count + 1) * sizeof *cut->texts);
    for (size_t i = 0; i < count; i++) {
        struct cut_string *string = &cut->strings[i];
        yyjson_mut_val *path = yyjson_mut_strcpy(cut->doc, string->path);
        yyjson_mut_obj_add(truncated, path, yyjson_mut_uint(cut->doc, original_len(cut, string)));
        cut_middle(cut, string, length);
    }
    add_noted(cut, truncated);
    yyjson_mut_obj_add_val(cut->doc, payload, "truncated", truncated);
}

// Every object and list of the payload becomes its own text.
static void flatten(struct cut *cut, yyjson_mut_val *payload) {
    size_t i, count = yyjson_mut_obj_size(payload);
    cut->texts = xrealloc(cut->texts, (cut->text_count + count) * sizeof *cut->texts);
    yyjson_mut_val *name, *value;
    yyjson_mut_obj_foreach(payload, i, count, name, value) {
        if (!yyjson_mut_is_ctn(value)) continue;
        size_t len;
        char *text = yyjson_mut_val_write(value, YYJSON_WRITE_NOFLAG, &len);
        if (!text) continue;
        yyjson_mut_set_strn(value, text, len);
        cut->texts[cut->text_count++] = text;
    }
}

// Tries to bring the record to the limit; 0 when it may still be too long and -1 when strings alone cannot do it.
static int cut_to(struct cut *cut, yyjson_mut_val *payload, size_t written, size_t limit) {
    forget_strings(cut);
    collect(cut, yyjson_mut_doc_get_root(cut->doc), 0);
    if (cut->count) qsort(cut->strings, cut->count, sizeof *cut->strings, longest_first);
    size_t count = 0;
    size_t length = common_length(cut, written - limit, &count);
    if (!length) return -1;
    cut_strings(cut, payload, length, count);
    return 0;
}

// What the record takes when it is written as it stands. The caller frees *text.
static size_t render(struct cut *cut, char **text) {
    size_t len = 0;
    *text = yyjson_mut_write(cut->doc, YYJSON_WRITE_NOFLAG, &len);
    return *text ? len : SIZE_MAX;
}

// Takes payload.truncated out: what is cut now is added to it.
static void take_noted(struct cut *cut, yyjson_mut_val *payload) {
    yyjson_mut_val *noted = yyjson_mut_obj_remove_key(payload, "truncated");
    if (!yyjson_mut_is_obj(noted)) return;
    cut->noted = noted;
    char *text = yyjson_mut_val_write(noted, YYJSON_WRITE_NOFLAG, &cut->noted_len);
    free(text);
}

static int shrink(struct cut *cut, struct buf *value, size_t limit) {
    yyjson_mut_val *payload = yyjson_mut_obj_get(yyjson_mut_doc_get_root(cut->doc), "payload");
    if (!yyjson_mut_is_obj(payload)) return -1;
    take_noted(cut, payload);
    char *text;
    size_t len = render(cut, &text);
    free(text);
    if (len == SIZE_MAX) return -1;
    len += cut->noted_len;
    if (len > limit && cut_to(cut, payload, len, limit)) {
        flatten(cut, payload);
        len = render(cut, &text);
        free(text);
        if (len == SIZE_MAX) return -1;
        len += cut->noted_len;
        if (len > limit && cut_to(cut, payload, len, limit)) return -1;
    }
    if (cut->noted && !yyjson_mut_obj_get(payload, "truncated")) cut_strings(cut, payload, 0, 0);
    len = render(cut, &text);
    if (len <= limit) {
        buf_clear(value);
        buf_put(value, text, len);
    }
    free(text);
    return len <= limit ? 0 : -1;
}

int record_cut(struct buf *value, size_t limit) {
    if (value->len <= limit) return 0;
    yyjson_doc *parsed = yyjson_read(value->data, value->len, YYJSON_READ_NUMBER_AS_RAW);
    if (!parsed) return -1;
    struct cut cut = {.doc = yyjson_doc_mut_copy(parsed, NULL), .limit = limit};
    yyjson_doc_free(parsed);
    int result = cut.doc ? shrink(&cut, value, limit) : -1;
    forget_strings(&cut);
    free(cut.strings);
    buf_free(&cut.path);
    for (size_t i = 0; i < cut.text_count; i++) free(cut.texts[i]);
    free(cut.texts);
    yyjson_mut_doc_free(cut.doc);
    return result;
}
