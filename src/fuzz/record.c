// Fuzz target: any JSON as the payload of a record, cut to a limit that the first byte chooses. What was cut is valid,
// within the limit, and says so; a field that is JSON is copied as valid JSON on one line.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "json.h"
#include "record.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds) abort();
}

static void check_cut(struct buf *value, size_t limit, int noted) {
    size_t before = value->len;
    if (record_cut(value, limit)) {
        must(value->len == before);
        return;
    }
    must(value->len <= limit && utf8_valid(value->data, value->len));
    yyjson_doc *doc = yyjson_read(value->data, value->len, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_val *root = yyjson_doc_get_root(doc);
    yyjson_val *payload = yyjson_obj_get(root, "payload");
    must(yyjson_is_obj(payload) && yyjson_is_str(yyjson_obj_get(root, "host")));
    yyjson_val *note = yyjson_obj_get(yyjson_obj_get(payload, "truncated"), "payload.text");
    must(!noted || (note && strcmp(yyjson_get_raw(note), "123456") == 0));
    yyjson_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    const char *text = (const char *)data + 1;
    size_t len = size - 1;
    const struct record_source source = {"query", "host", 5432, "postgres", "test"};
    struct record_envelope envelope;
    struct record record = {0};
    record_envelope_init(&envelope, &source);
    record_envelope_tag(&envelope, "name", "value");
    record_begin(&record, &envelope, (int64_t)size * 1000003, text, len < 20 ? len : 20, NULL);
    json_put_string_field(&record.value, "text", text, len);
    if (json_valid(text, len)) {
        size_t from = record.value.len;
        json_put_name(&record.value, "value");
        json_put_compact(&record.value, text, len);
        must(memchr(record.value.data + from, '\n', record.value.len - from) == NULL);
    }
    // A maker's own note, as of a string that was cut before.
    if (size % 3 == 0) {
        json_put_name(&record.value, "truncated");
        buf_puts(&record.value, "{\"payload.text\":123456}");
    }
    record_end(&record);
    must(json_valid(record.value.data, record.value.len));
    check_cut(&record.value, 200 + data[0] * 16u, size % 3 == 0);
    record_free(&record);
    record_envelope_free(&envelope);
    return 0;
}
