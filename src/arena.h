// Memory for many small things that all go at once: the names of a plan. Nothing is freed singly. The owner frees the
// arena.
#ifndef DBOBS_ARENA_H
#define DBOBS_ARENA_H

#include <stddef.h>

struct arena_block;

// Zeroed memory is an empty arena.
struct arena {
    struct arena_block *first;
    size_t used;  // bytes of the first block
};

// Uninitialised memory, aligned for any type. Never NULL.
void *arena_alloc(struct arena *arena, size_t size);
void *arena_copy(struct arena *arena, const void *data, size_t size);
void arena_free(struct arena *arena);

#endif
