// Start times of cumulative series. For each series it remembers when it was first observed, when last, and with which
// value; the start moves to the time of the last observation before when the value fell. 32 bytes a series, kept by
// the hash of what identifies it. Belongs to the collector of one target; the owner frees it.
#ifndef DBOBS_SERIES_H
#define DBOBS_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct series;

// A measured value. 64-bit integers stay integers.
struct series_value {
    bool is_double;
    union {
        int64_t integer;
        double real;
    };
};

struct series *series_new(void);
void series_free(struct series *series);

// Notes that the series was observed at time_us with value and returns its start time in the same unit (microseconds
// since 1970). monotonic: the value can only rise, so a lower one means that it began anew. A start is never later
// than time_us, also when the clock was set back.
int64_t series_observe(struct series *series, uint64_t identity, int64_t time_us, struct series_value value,
                       bool monotonic);

// Forgets series whose last observation is before time_us. They begin anew when they are seen again.
void series_forget(struct series *series, int64_t time_us);

size_t series_count(const struct series *series);
// Bytes held.
size_t series_memory(const struct series *series);

// The hash that identities are made of: of data, continuing from seed.
uint64_t series_hash(uint64_t seed, const void *data, size_t len);

#endif
