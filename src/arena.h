// Memory for many small things that all go at once: the message structs of one OTLP resource. Nothing is freed singly;
// arena_reset keeps the memory for the next round. The owner frees the arena.
#ifndef DBOBS_ARENA_H
#define DBOBS_ARENA_H

#include <stddef.h>

struct arena_block;

// Zeroed memory is an empty arena.
struct arena {
    struct arena_block *first, *current;
    size_t used;  // bytes of the current block
};

// Uninitialised memory, aligned for any type. Never NULL.
void *arena_alloc(struct arena *arena, size_t size);
void *arena_copy(struct arena *arena, const void *data, size_t size);
// Everything that was handed out is gone; blocks of the usual size are kept, larger ones are freed.
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

#endif
