// Marks become ellipses: the record is read again as JSON and written with what was cut noted. Rare, so it is written
// for exactness: numbers stay the text they were, all else keeps its order.
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "shrink.h"

#define ELLIPSIS "\xe2\x80\xa6"
#define DEEPEST 1000  // the server's own objects are flat

struct noting {
    yyjson_mut_doc *doc;
    yyjson_mut_val *truncated;  // what was noted before and now
    const struct shrink_mark *mark;
    struct buf path;
};

// The string without marks, appended to out; returns how many bytes they stand for, 0 when it has none.
static uint64_t without_marks(const struct shrink_mark *mark, const char *text, size_t len, struct buf *out) {
    uint64_t cut = 0;
    const char *end = text + len;
    for (const char *found; (found = memmem(text, (size_t)(end - text), mark->head, SHRINK_MARK_HEAD));) {
        if (end - found < SHRINK_MARK_LEN) break;
        cut += strtoull(found + SHRINK_MARK_HEAD, NULL, 10);
        buf_put(out, text, (size_t)(found - text));
        buf_puts(out, ELLIPSIS);
        text = found + SHRINK_MARK_LEN;
    }
    buf_put(out, text, (size_t)(end - text));
    return cut;
}

// Frees text.
static void set_text(const struct noting *noting, yyjson_mut_val *value, struct buf *text) {
    yyjson_mut_val *copy = yyjson_mut_strncpy(noting->doc, text->data, text->len);
    yyjson_mut_set_strn(value, yyjson_mut_get_str(copy), text->len);
    buf_free(text);
}

static void note_string(struct noting *noting, yyjson_mut_val *value) {
    struct buf text = {0};
    size_t len = yyjson_mut_get_len(value);
    if (!memmem(yyjson_mut_get_str(value), len, noting->mark->head, SHRINK_MARK_HEAD)) return;
    uint64_t cut = without_marks(noting->mark, yyjson_mut_get_str(value), len, &text);
    buf_put(&noting->path, "", 1);
    noting->path.len--;
    yyjson_mut_val *before = yyjson_mut_obj_get(noting->truncated, noting->path.data);
    const char *known = yyjson_mut_get_raw(before);
    // Bytes behind the text may be noted already.
    uint64_t all = known ? strtoull(known, NULL, 10) : 0;
    uint64_t behind = all > len ? all - len : 0;
    size_t marks = (len - text.len) / (SHRINK_MARK_LEN - strlen(ELLIPSIS));
    uint64_t original = text.len - marks * strlen(ELLIPSIS) + cut + behind;
    set_text(noting, value, &text);
    if (before) yyjson_mut_obj_remove_key(noting->truncated, noting->path.data);
    yyjson_mut_obj_add(noting->truncated, yyjson_mut_strcpy(noting->doc, noting->path.data),
                       yyjson_mut_uint(noting->doc, original));
}

// What has no whole name cannot be noted: of a name only the mark goes.
static void mend_name(const struct noting *noting, yyjson_mut_val *name) {
    struct buf text = {0};
    size_t len = yyjson_mut_get_len(name);
    if (!memmem(yyjson_mut_get_str(name), len, noting->mark->head, SHRINK_MARK_HEAD)) return;
    without_marks(noting->mark, yyjson_mut_get_str(name), len, &text);
    set_text(noting, name, &text);
}

static void note(struct noting *noting, yyjson_mut_val *value, int depth) {
    size_t here = noting->path.len, i, count;
    yyjson_mut_val *name, *member;
    if (yyjson_mut_is_str(value)) note_string(noting, value);
    if (depth == DEEPEST) return;
    yyjson_mut_obj_foreach(value, i, count, name, member) {
        mend_name(noting, name);
        if (here) buf_putc(&noting->path, '.');
        buf_put(&noting->path, yyjson_mut_get_str(name), yyjson_mut_get_len(name));
        note(noting, member, depth + 1);
        noting->path.len = here;
    }
    yyjson_mut_arr_foreach(value, i, count, member) {
        buf_putc(&noting->path, '.');
        buf_put_int(&noting->path, (int64_t)i);
        note(noting, member, depth + 1);
        noting->path.len = here;
    }
}

void shrink_note(struct buf *record, const struct shrink_mark *mark) {
    yyjson_doc *parsed = yyjson_read(record->data, record->len, YYJSON_READ_NUMBER_AS_RAW);
    struct noting noting = {.doc = parsed ? yyjson_doc_mut_copy(parsed, NULL) : NULL, .mark = mark};
    yyjson_doc_free(parsed);
    yyjson_mut_val *root = yyjson_mut_doc_get_root(noting.doc), *payload = yyjson_mut_obj_get(root, "payload");
    if (!yyjson_mut_is_obj(payload)) {
        yyjson_mut_doc_free(noting.doc);
        return;
    }
    noting.truncated = yyjson_mut_obj_remove_key(payload, "truncated");
    if (!yyjson_mut_is_obj(noting.truncated)) noting.truncated = yyjson_mut_obj(noting.doc);
    note(&noting, root, 0);
    if (yyjson_mut_obj_size(noting.truncated) > 0)
        yyjson_mut_obj_add_val(noting.doc, payload, "truncated", noting.truncated);
    size_t len;
    char *text = yyjson_mut_write(noting.doc, YYJSON_WRITE_NOFLAG, &len);
    if (text) {
        buf_clear(record);
        buf_put(record, text, len);
    }
    free(text);
    buf_free(&noting.path);
    yyjson_mut_doc_free(noting.doc);
}
