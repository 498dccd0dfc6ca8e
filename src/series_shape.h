// The shapes of a store of series: which series the entries have, in which order. Nearly all entries share a few, so
// they are kept once. Belongs to the store.
#ifndef DBOBS_SERIES_SHAPE_H
#define DBOBS_SERIES_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SERIES_NO_VALUE = UINT16_MAX };

struct series_slot {
    uint64_t identity;
    uint16_t value;  // place among the entry's values; SERIES_NO_VALUE: none is kept
};

struct series_shape {
    struct series_shape *next;
    uint64_t hash;   // tells it from all others
    size_t entries;  // that have it
    uint16_t count, values;
    struct series_slot slots[];
};

// Zeroed memory is an empty collection.
struct series_shapes {
    struct series_shape *buckets[64];
};

// What a shape gets more than another one has. At most SERIES_MAX_POINTS.
struct series_addition {
    uint64_t identity;
    bool has_value;
};

// The shape that has `base`'s slots (NULL: none) and those behind them. NULL when it would be too large.
struct series_shape *series_shape_get(struct series_shapes *shapes, const struct series_shape *base,
                                      const struct series_addition *more, size_t count);
// The slot of an identity, looked for from `hint` on; -1 when the shape does not have it.
int series_shape_find(const struct series_shape *shape, uint64_t identity, size_t hint);
// Frees those that no entry has.
void series_shapes_sweep(struct series_shapes *shapes);
void series_shapes_free(struct series_shapes *shapes);
size_t series_shapes_memory(const struct series_shapes *shapes);

#endif
