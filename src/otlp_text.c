// OTLP metrics for people: every point on a line of its own, or a whole request in one line. Walks the structs of
// otlp_read.c, which are freed before returning.
#include "otlp_text.h"

#include <stdbool.h>

#include "otlp_read.h"
#include "plain.h"

enum { MAX_NAME = 200, SUMMARY_WIDTH = 160 };

struct points {
    Otlp__NumberDataPoint *const *list;
    size_t count;
};

static struct points points_of(const Otlp__Metric *metric) {
    if (metric->data_case == OTLP__METRIC__DATA_GAUGE)
        return (struct points){metric->gauge->data_points, metric->gauge->n_data_points};
    if (metric->data_case == OTLP__METRIC__DATA_SUM)
        return (struct points){metric->sum->data_points, metric->sum->n_data_points};
    return (struct points){NULL, 0};
}

static void put_plain(struct buf *out, ProtobufCBinaryData text) {
    plain_put(out, (const char *)text.data, text.len, MAX_NAME);
}

static void put_number(struct buf *out, const Otlp__NumberDataPoint *point) {
    if (point->value_case == OTLP__NUMBER_DATA_POINT__VALUE_AS_INT) buf_put_int(out, point->as_int);
    else if (point->value_case == OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE) otlp_read_double(out, point->as_double);
    else buf_puts(out, "no value");
}

static void put_point(struct buf *out, const Otlp__Metric *metric, const Otlp__NumberDataPoint *point) {
    put_plain(out, metric->name);
    if (point->n_attributes) {
        buf_putc(out, '{');
        otlp_read_attributes_text(out, point->attributes, point->n_attributes);
        buf_putc(out, '}');
    }
    buf_putc(out, ' ');
    put_number(out, point);
}

// "1" stands for a plain number.
static bool has_unit(const Otlp__Metric *metric) {
    return metric->unit.len && !(metric->unit.len == 1 && metric->unit.data[0] == '1');
}

static void put_metric_lines(struct buf *out, const Otlp__Metric *metric) {
    struct points points = points_of(metric);
    if (!points.count) {
        buf_puts(out, "    ");
        put_plain(out, metric->name);
        buf_puts(out, metric->base.n_unknown_fields ? " (a kind that is not shown here)\n" : " (no points)\n");
    }
    for (size_t i = 0; i < points.count; i++) {
        buf_puts(out, "    ");
        put_point(out, metric, points.list[i]);
        if (has_unit(metric)) {
            buf_putc(out, ' ');
            put_plain(out, metric->unit);
        }
        buf_putc(out, '\n');
    }
}

int otlp_to_text(const char *data, size_t len, struct buf *out) {
    Otlp__ExportMetricsServiceRequest *request = otlp_read(data, len);
    if (!request) return -1;
    for (size_t i = 0; i < request->n_resource_metrics; i++) {
        const Otlp__ResourceMetrics *resource = request->resource_metrics[i];
        buf_puts(out, "  ");
        if (resource->resource)
            otlp_read_attributes_text(out, resource->resource->attributes, resource->resource->n_attributes);
        buf_putc(out, '\n');
        for (size_t s = 0; s < resource->n_scope_metrics; s++)
            for (size_t m = 0; m < resource->scope_metrics[s]->n_metrics; m++)
                put_metric_lines(out, resource->scope_metrics[s]->metrics[m]);
    }
    otlp__export_metrics_service_request__free_unpacked(request, NULL);
    return 0;
}

static size_t count_points(const Otlp__ResourceMetrics *resource, int64_t *time_us) {
    size_t count = 0;
    for (size_t s = 0; s < resource->n_scope_metrics; s++)
        for (size_t m = 0; m < resource->scope_metrics[s]->n_metrics; m++) {
            struct points points = points_of(resource->scope_metrics[s]->metrics[m]);
            if (points.count && !*time_us) *time_us = (int64_t)(points.list[0]->time_unix_nano / 1000);
            count += points.count;
        }
    return count;
}

// As many of the resource's points as fit on the line; "..." stands for the others.
static void put_some_points(struct buf *out, const Otlp__ResourceMetrics *resource) {
    size_t begin = out->len;
    for (size_t s = 0; s < resource->n_scope_metrics; s++)
        for (size_t m = 0; m < resource->scope_metrics[s]->n_metrics; m++) {
            const Otlp__Metric *metric = resource->scope_metrics[s]->metrics[m];
            struct points points = points_of(metric);
            for (size_t i = 0; i < points.count; i++) {
                if (out->len - begin > SUMMARY_WIDTH) {
                    buf_puts(out, ", ...");
                    return;
                }
                buf_puts(out, out->len == begin ? ": " : ", ");
                put_point(out, metric, points.list[i]);
            }
        }
}

static size_t attribute_count(const Otlp__ResourceMetrics *resource) {
    return resource->resource ? resource->resource->n_attributes : 0;
}

int otlp_to_summary(const char *data, size_t len, int64_t *time_us, struct buf *out) {
    Otlp__ExportMetricsServiceRequest *request = otlp_read(data, len);
    if (!request) return -1;
    const Otlp__ResourceMetrics *shown = request->resource_metrics[0];
    size_t points = 0;
    *time_us = 0;
    for (size_t i = 0; i < request->n_resource_metrics; i++) {
        const Otlp__ResourceMetrics *resource = request->resource_metrics[i];
        points += count_points(resource, time_us);
        // The one with the fewest attributes is the database or the server, not one of its tables.
        if (attribute_count(resource) < attribute_count(shown)) shown = resource;
    }
    buf_printf(out, "%zu resource%s, %zu point%s", request->n_resource_metrics,
               request->n_resource_metrics == 1 ? "" : "s", points, points == 1 ? "" : "s");
    put_some_points(out, shown);
    otlp__export_metrics_service_request__free_unpacked(request, NULL);
    return 0;
}
