// Fuzz target: any bytes as the text of a statement, with every rule; the first byte chooses the longest length. What
// is written is JSON and UTF-8, not longer than that, and one text in a store however often it is taken.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "statement_text.h"
#include "texts.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds) abort();
}

static void check_field(const struct buf *field, size_t longest) {
    struct buf object = {0};
    buf_putc(&object, '{');
    buf_put(&object, field->data, field->len);
    buf_putc(&object, '}');
    must(utf8_valid(object.data, object.len));
    yyjson_doc *doc = yyjson_read(object.data, object.len, YYJSON_READ_NOFLAG);
    yyjson_val *query = yyjson_obj_get(yyjson_doc_get_root(doc), "query");
    must(yyjson_is_str(query));
    size_t characters = 0;
    for (const char *c = yyjson_get_str(query); *c; c++) characters += (*c & 0xC0) != 0x80;
    must(!longest || characters <= longest);
    must(characters == longest || !yyjson_obj_get(yyjson_doc_get_root(doc), "truncated"));
    yyjson_doc_free(doc);
    buf_free(&object);
}

static void check_store(const struct buf *field) {
    struct texts *texts = texts_new();
    struct text *first = texts_take(texts, field->data, field->len, SIZE_MAX);
    struct text *second = texts_take(texts, field->data, field->len, 0);
    must(first && first == second && first->len == field->len);
    must(!texts_take(texts, "another", 7, 0));
    texts_give_back(texts, first);
    texts_give_back(texts, second);
    texts_unref(texts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    // As libpq hands it over: a string that ends where its first zero byte is.
    char *text = xstrndup((const char *)data + 1, size - 1);
    char *exclude[] = {"FETCH *", "*[a-z]?x*y*", NULL}, *keep[] = {"/* dbobs */ commit", NULL};
    const struct statement_text_rules rules = {
        .mask = data[0] & 1, .longest = data[0] >> 1, .exclude = exclude, .keep = keep};
    struct buf field = {0};
    if (!statement_text_is_left_out(&rules, text)) must(strncmp(text, STATEMENT_MARK " s", 13) != 0);
    statement_text_write(&rules, text, strlen(text), &field);
    check_field(&field, rules.longest);
    check_store(&field);
    buf_free(&field);
    free(text);
    return 0;
}
