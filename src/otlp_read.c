// Reads foreign OTLP bytes. protobuf-c does the unpacking; an array or key-value list inside a value stays bytes until
// it is written, so that nesting is followed to MAX_DEPTH and no further (then it reads null).
#include "otlp_read.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "plain.h"

enum { MAX_DEPTH = 16, MAX_NAME = 200 };

static void put_value(struct buf *out, const Otlp__AnyValue *value, int depth);

Otlp__ExportMetricsServiceRequest *otlp_read(const char *data, size_t len) {
    if (len == 0) return NULL;
    Otlp__ExportMetricsServiceRequest *request =
        otlp__export_metrics_service_request__unpack(NULL, len, (const uint8_t *)data);
    if (!request) return NULL;
    if (request->n_resource_metrics && !request->base.n_unknown_fields) return request;
    otlp__export_metrics_service_request__free_unpacked(request, NULL);
    return NULL;
}

void otlp_read_double(struct buf *out, double value) {
    char text[32];
    if (isnan(value)) {
        buf_puts(out, "\"NaN\"");
    } else if (isinf(value)) {
        buf_puts(out, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    } else {
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, value);
            if (strtod(text, NULL) == value) break;
        }
        buf_puts(out, text);
    }
}

// Empty bytes have no address.
static void put_string(struct buf *out, ProtobufCBinaryData text) {
    json_put_string(out, text.len ? (const char *)text.data : "", text.len);
}

static void put_base64(struct buf *out, ProtobufCBinaryData data) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buf_putc(out, '"');
    for (size_t i = 0; i < data.len; i += 3) {
        size_t have = data.len - i < 3 ? data.len - i : 3;
        uint32_t bits = (uint32_t)data.data[i] << 16;
        if (have > 1) bits |= (uint32_t)data.data[i + 1] << 8;
        if (have > 2) bits |= data.data[i + 2];
        buf_putc(out, digits[bits >> 18]);
        buf_putc(out, digits[bits >> 12 & 63]);
        buf_putc(out, have > 1 ? digits[bits >> 6 & 63] : '=');
        buf_putc(out, have > 2 ? digits[bits & 63] : '=');
    }
    buf_putc(out, '"');
}

static void put_pairs(struct buf *out, Otlp__KeyValue *const *pairs, size_t count, int depth) {
    buf_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i) buf_putc(out, ',');
        buf_putc(out, '{');
        json_put_name(out, "key");
        put_string(out, pairs[i]->key);
        json_put_name(out, "value");
        put_value(out, pairs[i]->value, depth);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

// The values of an array: {"values":[..]}.
static void put_array(struct buf *out, ProtobufCBinaryData data, int depth) {
    Otlp__ArrayValue *array = depth < MAX_DEPTH ? otlp__array_value__unpack(NULL, data.len, data.data) : NULL;
    buf_puts(out, "{\"values\":[");
    for (size_t i = 0; array && i < array->n_values; i++) {
        if (i) buf_putc(out, ',');
        put_value(out, array->values[i], depth + 1);
    }
    buf_puts(out, "]}");
    if (array) otlp__array_value__free_unpacked(array, NULL);
}

static void put_list(struct buf *out, ProtobufCBinaryData data, int depth) {
    Otlp__KeyValueList *list = depth < MAX_DEPTH ? otlp__key_value_list__unpack(NULL, data.len, data.data) : NULL;
    buf_puts(out, "{\"values\":");
    put_pairs(out, list ? list->values : NULL, list ? list->n_values : 0, depth + 1);
    buf_putc(out, '}');
    if (list) otlp__key_value_list__free_unpacked(list, NULL);
}

static void put_value(struct buf *out, const Otlp__AnyValue *value, int depth) {
    buf_putc(out, '{');
    switch (value ? value->value_case : OTLP__ANY_VALUE__VALUE__NOT_SET) {
    case OTLP__ANY_VALUE__VALUE_STRING_VALUE:
        json_put_name(out, "stringValue");
        put_string(out, value->string_value);
        break;
    case OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
        buf_puts(out, value->bool_value ? "\"boolValue\":true" : "\"boolValue\":false");
        break;
    case OTLP__ANY_VALUE__VALUE_INT_VALUE:
        buf_printf(out, "\"intValue\":\"%lld\"", (long long)value->int_value);
        break;
    case OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
        json_put_name(out, "doubleValue");
        otlp_read_double(out, value->double_value);
        break;
    case OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
        json_put_name(out, "arrayValue");
        put_array(out, value->array_value, depth);
        break;
    case OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
        json_put_name(out, "kvlistValue");
        put_list(out, value->kvlist_value, depth);
        break;
    case OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
        json_put_name(out, "bytesValue");
        put_base64(out, value->bytes_value);
        break;
    default:
        break;
    }
    buf_putc(out, '}');
}

void otlp_read_attributes(struct buf *out, Otlp__KeyValue *const *attributes, size_t count) {
    put_pairs(out, attributes, count, 0);
}

void otlp_read_attributes_text(struct buf *out, Otlp__KeyValue *const *attributes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const Otlp__AnyValue *value = attributes[i]->value;
        if (i) buf_puts(out, ", ");
        plain_put(out, (const char *)attributes[i]->key.data, attributes[i]->key.len, MAX_NAME);
        buf_putc(out, '=');
        if (value && value->value_case == OTLP__ANY_VALUE__VALUE_STRING_VALUE) put_string(out, value->string_value);
        else if (value && value->value_case == OTLP__ANY_VALUE__VALUE_INT_VALUE) buf_put_int(out, value->int_value);
        else put_value(out, value, 0);
    }
}
