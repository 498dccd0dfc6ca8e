// Start times of cumulative series. For each series it remembers when it was first observed, when last, and, when it
// can only rise, with which value; the start moves when the value fell or a reset is known. The series that come in one
// row share one entry. Belongs to the collector of one target; the owner frees it.
#ifndef DBOBS_SERIES_H
#define DBOBS_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A set has at most so many members: each is a bit.
#define SERIES_MAX_POINTS 64
// A row whose last reset is not known.
#define SERIES_NO_RESET INT64_MIN

struct series;

// A measured value. 64-bit integers stay integers.
struct series_value {
    bool is_double;
    union {
        int64_t integer;
        double real;
    };
};

// A series is told by the sum of hashes: of its resource, of its metric, and of each of its attributes. So it is the
// same one whether an attribute was part of the row or of the member, and whatever their order.
struct series_member {
    uint64_t metric;             // hash of what the metric is
    const uint64_t *attributes;  // hashes of those that it has in every row
    size_t attribute_count;
    size_t point;    // its place among the row's values and starts, below SERIES_MAX_POINTS
    bool monotonic;  // the value can only rise, so a lower one means that it began anew
};

// The series that come in each row of a query. The caller fills in the first three; zeroes are right for the rest.
struct series_set {
    const struct series_member *members;
    size_t count;
    uint64_t points;  // bit i: a member has point i
    // Where the members were in the last row's entry; series.c's.
    uint64_t shape, present;
    bool whole;
    struct {
        uint16_t slot, value;
    } places[SERIES_MAX_POINTS];
};

struct series_row {
    uint64_t resource;           // sum of the hashes of what all series of the resource have in common
    const uint64_t *attributes;  // hashes of those that all members have in this row
    size_t attribute_count;
    const struct series_value *values;
    uint64_t present;  // bit i: values[i] is there
    int64_t time_us;   // of the observation, since 1970
    int64_t reset_us;  // when exactly the monotonic members of this row began anew, or SERIES_NO_RESET
};

struct series *series_new(void);
void series_free(struct series *series);

// Notes that the members whose value is there were observed, and sets their starts, microseconds since 1970. A start is
// never later than time_us, also when the clock was set back. One that moved is not before the last observation.
void series_observe(struct series *series, struct series_set *set, const struct series_row *row, int64_t *starts);

// Forgets series whose last observation is before time_us. They begin anew when they are seen again.
void series_forget(struct series *series, int64_t time_us);

size_t series_count(const struct series *series);
// Bytes held.
size_t series_memory(const struct series *series);

#endif
