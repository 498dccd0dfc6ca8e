// Reads jsonlog lines: those as servers write them in one pass, all others with yyjson, in memory that is reused from
// line to line.
#include "pglog_json.h"

#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "pglog_scan.h"
#include "utf8.h"

#define POOLED_LINE (64 * 1024)  // longer lines are parsed in memory of their own

struct pglog_json {
    struct buf mended;  // the line when it was no UTF-8
    struct buf plain;   // texts whose escapes were resolved
    char *pool;
    size_t pool_size;
    yyjson_doc *doc;  // of the last line; the fields point into it
};

struct pglog_json *pglog_json_new(void) {
    struct pglog_json *json = xcalloc(1, sizeof *json);
    json->pool_size = yyjson_read_max_memory_usage(POOLED_LINE, YYJSON_READ_NUMBER_AS_RAW);
    json->pool = xmalloc(json->pool_size);
    return json;
}

void pglog_json_free(struct pglog_json *json) {
    if (!json) return;
    yyjson_doc_free(json->doc);
    buf_free(&json->mended);
    buf_free(&json->plain);
    free(json->pool);
    free(json);
}

static yyjson_doc *parse(struct pglog_json *json, const char *text, size_t len) {
    yyjson_alc pool;
    bool pooled = len <= POOLED_LINE && yyjson_alc_pool_init(&pool, json->pool, json->pool_size);
    // The parser reads only, although it does not say so: it writes in place under another flag.
    return yyjson_read_opts((char *)(uintptr_t)text, len, YYJSON_READ_NUMBER_AS_RAW, pooled ? &pool : NULL, NULL);
}

// The document of the line, mended when it is no UTF-8: *object is then the mended one. NULL: no JSON object.
static yyjson_doc *parse_line(struct pglog_json *json, struct pglog_text *object) {
    yyjson_doc *doc = parse(json, object->text, object->len);
    if (!doc && !utf8_valid(object->text, object->len)) {
        buf_clear(&json->mended);
        utf8_put(&json->mended, object->text, object->len);
        *object = (struct pglog_text){json->mended.data, json->mended.len};
        doc = parse(json, object->text, object->len);
    }
    if (doc && yyjson_is_obj(yyjson_doc_get_root(doc))) return doc;
    yyjson_doc_free(doc);
    return NULL;
}

static void take_fields(yyjson_val *object, struct pglog_fields *fields) {
    size_t i, count;
    yyjson_val *name, *value;
    enum pglog_field expected = PGLOG_TIMESTAMP;
    yyjson_obj_foreach(object, i, count, name, value) {
        if (!yyjson_is_str(value) && !yyjson_is_raw(value)) continue;
        enum pglog_field field = pglog_find_field(yyjson_get_str(name), yyjson_get_len(name), expected);
        if (field == PGLOG_FIELD_COUNT) continue;
        expected = field + 1;
        // Strings and raw numbers keep their text in the same place.
        fields->at[field] = (struct pglog_text){yyjson_is_str(value) ? yyjson_get_str(value) : yyjson_get_raw(value),
                                                yyjson_get_len(value)};
    }
}

bool pglog_json_read(struct pglog_json *json, const char *text, size_t len, struct pglog_fields *fields,
                     struct pglog_text *object) {
    len -= len && text[len - 1] == '\r';  // of a server on Windows
    *object = (struct pglog_text){text, len};
    if (pglog_scan(text, len, &json->plain, fields)) return true;
    *fields = (struct pglog_fields){0};
    yyjson_doc_free(json->doc);
    json->doc = parse_line(json, object);
    if (!json->doc) return false;
    take_fields(yyjson_doc_get_root(json->doc), fields);
    return true;
}
