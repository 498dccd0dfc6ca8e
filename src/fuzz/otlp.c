// Fuzz target: any bytes as the value and key of a record, decoded in each form. What comes out must be one line of
// valid JSON or valid UTF-8 text, and a request that is decoded must be so in every form.
#include <stdint.h>
#include <stdlib.h>
#include <yyjson.h>

#include "decode.h"
#include "otlp_json.h"
#include "otlp_text.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds) abort();
}

// Numbers are copied as they came, so they may be larger than a double.
static void check_json(const struct buf *text) {
    yyjson_doc *doc = yyjson_read(text->data, text->len, YYJSON_READ_NUMBER_AS_RAW);
    must(doc != NULL);
    yyjson_doc_free(doc);
}

static void check_line(const struct decode_record *record) {
    struct buf out = {0};
    decode_json_line(record, &out);
    must(out.data[out.len - 1] == '\n' && memchr(out.data, '\n', out.len - 1) == NULL);
    check_json(&out);
    buf_clear(&out);
    decode_text_line(record, 0, true, &out);
    must(utf8_valid(out.data, out.len) && memchr(out.data, '\x1b', out.len) == NULL);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    struct decode_record record = {.topic = "topic", .key = text, .key_len = size, .value = text, .value_len = size};
    check_line(&record);
    record.otlp = record.consumed = true;
    check_line(&record);

    struct buf out = {0};
    int decoded = otlp_to_json(text, size, &out);
    must((decoded == 0) == otlp_is_request(text, size));
    if (decoded == 0) check_json(&out);
    must(decoded == 0 || out.len == 0);
    buf_clear(&out);
    must(otlp_to_text(text, size, &out) == decoded);
    buf_free(&out);
    return 0;
}
