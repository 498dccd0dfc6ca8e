// Fuzz target: what the one pass over a jsonlog line takes is what a parser of all JSON takes.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "pglog_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds) abort();
}

static struct pglog_text text_of(yyjson_val *value) {
    must(yyjson_is_str(value) || yyjson_is_raw(value));
    return (struct pglog_text){yyjson_is_str(value) ? yyjson_get_str(value) : yyjson_get_raw(value),
                               yyjson_get_len(value)};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pglog_fields fields = {0}, expected = {0};
    struct buf plain = {0};
    // In memory of its own size, so that a read past its end is seen.
    char *text = malloc(size + 1);
    if (size) memcpy(text, data, size);
    char *line = malloc(size ? size : 1);
    if (size) memcpy(line, data, size);
    if (pglog_scan(line, size, &plain, &fields)) {
        yyjson_doc *doc = yyjson_read(text, size, YYJSON_READ_NUMBER_AS_RAW);
        must(yyjson_is_obj(yyjson_doc_get_root(doc)));
        size_t i, count;
        yyjson_val *name, *value;
        yyjson_obj_foreach(yyjson_doc_get_root(doc), i, count, name, value) {
            enum pglog_field field = pglog_find_field(yyjson_get_str(name), yyjson_get_len(name), PGLOG_TIMESTAMP);
            struct pglog_text one = text_of(value);
            if (field != PGLOG_FIELD_COUNT) expected.at[field] = one;
        }
        for (int field = 0; field < PGLOG_FIELD_COUNT; field++) {
            struct pglog_text one = expected.at[field], other = fields.at[field];
            must((one.text == NULL) == (other.text == NULL) && one.len == other.len);
            must(!one.len || memcmp(one.text, other.text, one.len) == 0);
        }
        yyjson_doc_free(doc);
    }
    buf_free(&plain);
    free(line);
    free(text);
    return 0;
}
