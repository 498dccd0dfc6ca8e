// A bump allocator over a list of blocks, the one in use first. What is larger than a block gets a block of its own.
#include "arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

enum { USUAL_SIZE = 4 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    alignas(max_align_t) char data[];
};

void *arena_alloc(struct arena *arena, size_t size) {
    size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (!arena->first || arena->first->size - arena->used < size) {
        size_t block_size = size > USUAL_SIZE ? size : USUAL_SIZE;
        struct arena_block *block = xmalloc(sizeof *block + block_size);
        block->size = block_size;
        block->next = arena->first;
        arena->first = block;
        arena->used = 0;
    }
    void *memory = arena->first->data + arena->used;
    arena->used += size;
    return memory;
}

void *arena_copy(struct arena *arena, const void *data, size_t size) {
    void *copy = arena_alloc(arena, size);
    if (size) memcpy(copy, data, size);
    return copy;
}

void arena_free(struct arena *arena) {
    while (arena->first) {
        struct arena_block *next = arena->first->next;
        free(arena->first);
        arena->first = next;
    }
    *arena = (struct arena){0};
}
