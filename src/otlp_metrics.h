// The metrics of one resource under construction: points are packed as they come, those of one metric together, and
// written out in the order of the metrics' names, in as many parts as it takes. Owns its memory, about what it packed.
#ifndef DBOBS_OTLP_METRICS_H
#define DBOBS_OTLP_METRICS_H

#include "buf.h"
#include "otlp.h"

struct otlp_metrics;

struct otlp_stamp {
    uint64_t start_ns;  // sent for sums only
    uint64_t time_ns;
};

struct otlp_metrics *otlp_metrics_new(void);
void otlp_metrics_free(struct otlp_metrics *metrics);

// Appends a field (its number is `field`) with a KeyValue. What is no UTF-8 becomes U+FFFD.
void otlp_put_text_attribute(struct buf *out, int field, struct otlp_text name, struct otlp_text value);
void otlp_put_int_attribute(struct buf *out, int field, struct otlp_text name, int64_t value);
// Appends a field of text, likewise; nothing when the text is empty.
void otlp_put_text(struct buf *out, int field, struct otlp_text text);

// The field of a point's attributes.
enum { OTLP_POINT_ATTRIBUTE = 7 };

// Adds a point; constants and own are its attributes, as put above. Metrics of one name are one metric: the first's.
void otlp_metrics_add(struct otlp_metrics *metrics, const struct otlp_metric *metric, struct otlp_stamp stamp,
                      struct series_value value, struct otlp_text constants, struct otlp_text own);

// Bytes that all points take, with and without what stands around them.
size_t otlp_metrics_size(const struct otlp_metrics *metrics);
size_t otlp_metrics_bytes(const struct otlp_metrics *metrics);
// The next part to write: as many points as `room` bytes hold, but at least one. Returns the bytes it takes, 0 when
// there is no point.
size_t otlp_metrics_cut(struct otlp_metrics *metrics, size_t room);
// Appends that part and drops its points, whose number it returns.
size_t otlp_metrics_write(struct otlp_metrics *metrics, struct buf *out);

// Drops all points; the memory is kept for the next ones.
void otlp_metrics_clear(struct otlp_metrics *metrics);
// Gives the memory back.
void otlp_metrics_release(struct otlp_metrics *metrics);

#endif
