// What the decoders of OTLP share: foreign bytes to structs, and values as JSON and as text. No state.
#ifndef DBOBS_OTLP_READ_H
#define DBOBS_OTLP_READ_H

#include <stddef.h>

#include "buf.h"
#include "otlp.pb-c.h"

// The request in the bytes; NULL when they are none, have no resource, or have something that a request does not have.
// Free it with otlp__export_metrics_service_request__free_unpacked(request, NULL).
Otlp__ExportMetricsServiceRequest *otlp_read(const char *data, size_t len);

// Appends attributes as OTLP/JSON: [{"key":..,"value":{"stringValue":..}},..].
void otlp_read_attributes(struct buf *out, Otlp__KeyValue *const *attributes, size_t count);
// Appends attributes for people: name="text", other=5.
void otlp_read_attributes_text(struct buf *out, Otlp__KeyValue *const *attributes, size_t count);
// Appends the shortest decimal that reads back as the same double; NaN and infinities as the texts OTLP/JSON has.
void otlp_read_double(struct buf *out, double value);

#endif
