// Fuzz target: any bytes made valid UTF-8, cut, and written as JSON. What was valid stays as it is; what comes out is
// always valid, and is read back as what went in.
#include <stdint.h>
#include <stdlib.h>
#include <yyjson.h>

#include "json.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds) abort();
}

static void check_cuts(const struct buf *text) {
    for (size_t at = 0; at <= text->len && at < 64; at++) {
        size_t before = utf8_cut_before(text->data, text->len, at), after = utf8_cut_after(text->data, text->len, at);
        must(before <= at && at <= after && after <= text->len && after - before <= 4);
        must(utf8_valid(text->data, before) && utf8_valid(text->data + after, text->len - after));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    struct buf mended = {0}, json = {0};
    buf_reserve(&mended, 1);
    utf8_put(&mended, text, size);
    must(utf8_valid(mended.data, mended.len));
    if (utf8_valid(text, size)) must(mended.len == size && memcmp(mended.data, text, size) == 0);
    check_cuts(&mended);

    json_put_string(&json, text, size);
    yyjson_doc *doc = yyjson_read(json.data, json.len, YYJSON_READ_NOFLAG);
    yyjson_val *root = yyjson_doc_get_root(doc);
    must(yyjson_get_len(root) == mended.len && memcmp(yyjson_get_str(root), mended.data, mended.len) == 0);
    yyjson_doc_free(doc);
    buf_free(&mended);
    buf_free(&json);
    return 0;
}
