// OTLP metrics as OTLP/JSON: the writers below walk the structs of otlp_read.c, which are freed before returning. What
// our schema does not have (histograms) is left out: such a metric has its name and no data.
#include "otlp_json.h"

#include <stdint.h>

#include "json.h"
#include "otlp_read.h"

bool otlp_is_request(const char *data, size_t len) {
    Otlp__ExportMetricsServiceRequest *request = otlp_read(data, len);
    if (!request) return false;
    otlp__export_metrics_service_request__free_unpacked(request, NULL);
    return true;
}

static void put_text_field(struct buf *out, const char *name, ProtobufCBinaryData text) {
    if (text.len) json_put_string_field(out, name, (const char *)text.data, text.len);
}

// 64-bit numbers are texts in OTLP/JSON.
static void put_time_field(struct buf *out, const char *name, uint64_t nanoseconds) {
    if (!nanoseconds) return;
    json_put_name(out, name);
    buf_printf(out, "\"%llu\"", (unsigned long long)nanoseconds);
}

static void put_attributes(struct buf *out, Otlp__KeyValue *const *attributes, size_t count) {
    if (!count) return;
    json_put_name(out, "attributes");
    otlp_read_attributes(out, attributes, count);
}

static void put_point(struct buf *out, const Otlp__NumberDataPoint *point) {
    buf_putc(out, '{');
    put_attributes(out, point->attributes, point->n_attributes);
    put_time_field(out, "startTimeUnixNano", point->start_time_unix_nano);
    put_time_field(out, "timeUnixNano", point->time_unix_nano);
    if (point->value_case == OTLP__NUMBER_DATA_POINT__VALUE_AS_INT) {
        json_put_name(out, "asInt");
        buf_printf(out, "\"%lld\"", (long long)point->as_int);
    } else if (point->value_case == OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE) {
        json_put_name(out, "asDouble");
        otlp_read_double(out, point->as_double);
    }
    if (point->flags) json_put_int_field(out, "flags", point->flags);
    buf_putc(out, '}');
}

static void put_points(struct buf *out, Otlp__NumberDataPoint *const *points, size_t count) {
    json_put_name(out, "dataPoints");
    buf_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i) buf_putc(out, ',');
        put_point(out, points[i]);
    }
    buf_putc(out, ']');
}

static void put_metric(struct buf *out, const Otlp__Metric *metric) {
    buf_putc(out, '{');
    put_text_field(out, "name", metric->name);
    put_text_field(out, "description", metric->description);
    put_text_field(out, "unit", metric->unit);
    if (metric->data_case == OTLP__METRIC__DATA_GAUGE) {
        json_put_name(out, "gauge");
        buf_putc(out, '{');
        put_points(out, metric->gauge->data_points, metric->gauge->n_data_points);
        buf_putc(out, '}');
    } else if (metric->data_case == OTLP__METRIC__DATA_SUM) {
        json_put_name(out, "sum");
        buf_putc(out, '{');
        put_points(out, metric->sum->data_points, metric->sum->n_data_points);
        json_put_int_field(out, "aggregationTemporality", metric->sum->aggregation_temporality);
        if (metric->sum->is_monotonic) buf_puts(out, ",\"isMonotonic\":true");
        buf_putc(out, '}');
    }
    buf_putc(out, '}');
}

static void put_scope(struct buf *out, const Otlp__ScopeMetrics *scope) {
    buf_putc(out, '{');
    if (scope->scope) {
        json_put_name(out, "scope");
        buf_putc(out, '{');
        put_text_field(out, "name", scope->scope->name);
        put_text_field(out, "version", scope->scope->version);
        put_attributes(out, scope->scope->attributes, scope->scope->n_attributes);
        buf_putc(out, '}');
    }
    json_put_name(out, "metrics");
    buf_putc(out, '[');
    for (size_t i = 0; i < scope->n_metrics; i++) {
        if (i) buf_putc(out, ',');
        put_metric(out, scope->metrics[i]);
    }
    buf_putc(out, ']');
    put_text_field(out, "schemaUrl", scope->schema_url);
    buf_putc(out, '}');
}

static void put_resource(struct buf *out, const Otlp__ResourceMetrics *resource) {
    buf_putc(out, '{');
    if (resource->resource) {
        json_put_name(out, "resource");
        buf_putc(out, '{');
        put_attributes(out, resource->resource->attributes, resource->resource->n_attributes);
        buf_putc(out, '}');
    }
    json_put_name(out, "scopeMetrics");
    buf_putc(out, '[');
    for (size_t i = 0; i < resource->n_scope_metrics; i++) {
        if (i) buf_putc(out, ',');
        put_scope(out, resource->scope_metrics[i]);
    }
    buf_putc(out, ']');
    put_text_field(out, "schemaUrl", resource->schema_url);
    buf_putc(out, '}');
}

int otlp_to_json(const char *data, size_t len, struct buf *out) {
    Otlp__ExportMetricsServiceRequest *request = otlp_read(data, len);
    if (!request) return -1;
    buf_puts(out, "{\"resourceMetrics\":[");
    for (size_t i = 0; i < request->n_resource_metrics; i++) {
        if (i) buf_putc(out, ',');
        put_resource(out, request->resource_metrics[i]);
    }
    buf_puts(out, "]}");
    otlp__export_metrics_service_request__free_unpacked(request, NULL);
    return 0;
}
