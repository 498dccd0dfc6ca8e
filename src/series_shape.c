// Shapes: immutable, found by a hash of their identities in order. Two that share it would mix up start times; it has
// 64 bits and there are a few dozen. Nothing here fails.
#include "series_shape.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "hash.h"
#include "series.h"

// Entries are searched one slot after the other; who has so many series in one resource gives them attributes.
enum { MAX_SLOTS = 4096 };

static size_t size_of(size_t slots) {
    return sizeof(struct series_shape) + slots * sizeof(struct series_slot);
}

static struct series_shape **bucket_of(struct series_shapes *shapes, uint64_t hash) {
    return &shapes->buckets[hash % (sizeof shapes->buckets / sizeof *shapes->buckets)];
}

static struct series_shape *shape_new(const struct series_shape *base, const struct series_addition *more,
                                      size_t count) {
    size_t had = base ? base->count : 0;
    struct series_shape *shape = xmalloc(size_of(had + count));
    if (base) memcpy(shape, base, size_of(had));
    else *shape = (struct series_shape){0};
    shape->entries = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t value = more[i].has_value ? shape->values++ : (uint16_t)SERIES_NO_VALUE;
        shape->slots[shape->count++] = (struct series_slot){more[i].identity, value};
    }
    return shape;
}

struct series_shape *series_shape_get(struct series_shapes *shapes, const struct series_shape *base,
                                      const struct series_addition *more, size_t count) {
    if ((base ? base->count : 0) + count > MAX_SLOTS) return NULL;
    uint64_t hash = base ? base->hash : 1;
    for (size_t i = 0; i < count; i++) hash = hash_bytes(hash, &more[i].identity, sizeof more[i].identity);
    struct series_shape **bucket = bucket_of(shapes, hash);
    struct series_shape *shape = *bucket;
    while (shape && shape->hash != hash) shape = shape->next;
    if (shape) return shape;
    shape = shape_new(base, more, count);
    shape->hash = hash;
    shape->next = *bucket;
    *bucket = shape;
    return shape;
}

int series_shape_find(const struct series_shape *shape, uint64_t identity, size_t hint) {
    for (size_t i = hint; i < shape->count; i++)
        if (shape->slots[i].identity == identity) return (int)i;
    for (size_t i = 0; i < hint && i < shape->count; i++)
        if (shape->slots[i].identity == identity) return (int)i;
    return -1;
}

void series_shapes_sweep(struct series_shapes *shapes) {
    for (size_t i = 0; i < sizeof shapes->buckets / sizeof *shapes->buckets; i++) {
        struct series_shape **link = &shapes->buckets[i];
        while (*link) {
            struct series_shape *shape = *link;
            if (shape->entries) {
                link = &shape->next;
            } else {
                *link = shape->next;
                free(shape);
            }
        }
    }
}

void series_shapes_free(struct series_shapes *shapes) {
    for (size_t i = 0; i < sizeof shapes->buckets / sizeof *shapes->buckets; i++)
        for (struct series_shape *shape = shapes->buckets[i]; shape;) {
            struct series_shape *next = shape->next;
            free(shape);
            shape = next;
        }
    *shapes = (struct series_shapes){0};
}

size_t series_shapes_memory(const struct series_shapes *shapes) {
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof shapes->buckets / sizeof *shapes->buckets; i++)
        for (const struct series_shape *shape = shapes->buckets[i]; shape; shape = shape->next)
            bytes += size_of(shape->count);
    return bytes;
}
