// Templates of rows. One is packed twice, with numbers that differ in every byte and tell which number they are: where
// the two differ is where a row's numbers go.
#include "otlp_template.h"

#include <stdlib.h>
#include <string.h>

#include "otlp_metrics.h"
#include "otlp_plan_own.h"
#include "wire.h"

// Rows with NULLs in ever other places do without.
enum { MOST = 16, START = 0, TIME = 1, VALUE = 2, NUMBERS = 3 };

struct place {
    uint32_t offset;
    uint8_t number;  // START, TIME or VALUE
    uint8_t point;
};

struct made {
    struct otlp_template template;  // first: what is handed out
    size_t count;
    struct place places[];
};

struct otlp_templates {
    const struct otlp_planned *points;
    size_t point_count;
    size_t count, last;  // last: that was used
    struct made *list[MOST];
};

struct otlp_templates *otlp_templates_new(const struct otlp_planned *points, size_t count) {
    struct otlp_templates *templates = xcalloc(1, sizeof *templates);
    templates->points = points;
    templates->point_count = count;
    return templates;
}

static void made_free(struct made *made) {
    free((char *)made->template.bytes.data);
    free(made);
}

void otlp_templates_free(struct otlp_templates *templates) {
    if (!templates) return;
    for (size_t i = 0; i < templates->count; i++) made_free(templates->list[i]);
    free(templates);
}

// A number that tells which it is: the id in its first byte on the wire. `flip` turns every bit.
static uint64_t mark(size_t point, int number, uint64_t flip) {
    return (0x5555555555555500u | (point * NUMBERS + (size_t)number)) ^ flip;
}

static void pack(const struct otlp_templates *templates, uint64_t present, uint64_t flip, struct buf *out) {
    struct otlp_metrics *metrics = otlp_metrics_new();
    for (size_t i = 0; i < templates->point_count; i++) {
        if (!(present >> i & 1)) continue;
        const struct otlp_planned *point = &templates->points[i];
        struct otlp_stamp stamp = {mark(i, START, flip), mark(i, TIME, flip)};
        struct series_value value = {.is_double = point->metric.is_double};
        uint64_t bits = mark(i, VALUE, flip);
        if (value.is_double) memcpy(&value.real, &bits, sizeof bits);
        else value.integer = (int64_t)bits;
        otlp_metrics_add(metrics, &point->metric, stamp, value, point->constants, (struct otlp_text){"", 0});
    }
    otlp_metrics_cut(metrics, SIZE_MAX);
    otlp_metrics_write(metrics, out);
    otlp_metrics_free(metrics);
}

static struct made *make(const struct otlp_templates *templates, uint64_t present) {
    struct buf bytes = {0}, flipped = {0};
    pack(templates, present, 0, &bytes);
    pack(templates, present, UINT64_MAX, &flipped);
    struct made *made = xcalloc(1, sizeof *made + NUMBERS * templates->point_count * sizeof *made->places);
    for (size_t at = 0; at < bytes.len; at++) {
        if (bytes.data[at] == flipped.data[at]) continue;
        unsigned char id = (unsigned char)bytes.data[at];
        struct place place = {(uint32_t)at, id % NUMBERS, id / NUMBERS};
        // A gauge that has a sum's name has no start.
        bool is_start = place.number == START && templates->points[place.point].metric.kind != OTLP_GAUGE;
        if (place.number != START || is_start) made->places[made->count++] = place;
        else wire_fixed64(bytes.data + at, 0);
        at += sizeof(uint64_t) - 1;
    }
    buf_free(&flipped);
    made->template.present = present;
    made->template.bytes = (struct otlp_text){bytes.data, bytes.len};
    for (size_t i = 0; i < templates->point_count; i++) made->template.points += present >> i & 1;
    return made;
}

const struct otlp_template *otlp_template_get(struct otlp_templates *templates, uint64_t present) {
    for (size_t i = 0, at = templates->last; i < templates->count; i++) {
        if (templates->list[at]->template.present == present) {
            templates->last = at;
            return &templates->list[at]->template;
        }
        if (++at == templates->count) at = 0;
    }
    if (templates->count == MOST) return NULL;
    templates->last = templates->count;
    return &(templates->list[templates->count++] = make(templates, present))->template;
}

void otlp_template_fill(const struct otlp_template *template, char *metrics, const struct series_value *values,
                        const int64_t *starts, int64_t time_us) {
    const struct made *made = (const struct made *)template;
    for (size_t i = 0; i < made->count; i++) {
        const struct place *place = &made->places[i];
        uint64_t number = (uint64_t)time_us * 1000;
        if (place->number == START) number = (uint64_t)starts[place->point] * 1000;
        else if (place->number == VALUE) memcpy(&number, &values[place->point].integer, sizeof number);
        wire_fixed64(metrics + place->offset, number);
    }
}
