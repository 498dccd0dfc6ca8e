// A bump allocator over a list of blocks. An allocation larger than a block gets a block of its own, which the next
// reset gives back.
#include "arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

enum { USUAL_SIZE = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    alignas(max_align_t) char data[];
};

static struct arena_block *block_new(size_t size) {
    struct arena_block *block = xmalloc(sizeof *block + size);
    block->next = NULL;
    block->size = size;
    return block;
}

// Moves on to a block with room for size: the next one when it is there and fits, else a new one before it.
static void next_block(struct arena *arena, size_t size) {
    struct arena_block **link = arena->current ? &arena->current->next : &arena->first;
    if (!*link || (*link)->size < size) {
        struct arena_block *block = block_new(size > USUAL_SIZE ? size : USUAL_SIZE);
        block->next = *link;
        *link = block;
    }
    arena->current = *link;
    arena->used = 0;
}

void *arena_alloc(struct arena *arena, size_t size) {
    size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (!arena->current || arena->current->size - arena->used < size) next_block(arena, size);
    void *memory = arena->current->data + arena->used;
    arena->used += size;
    return memory;
}

void *arena_copy(struct arena *arena, const void *data, size_t size) {
    void *copy = arena_alloc(arena, size);
    if (size) memcpy(copy, data, size);
    return copy;
}

void arena_reset(struct arena *arena) {
    struct arena_block **link = &arena->first;
    while (*link) {
        struct arena_block *block = *link;
        if (block->size > USUAL_SIZE) {
            *link = block->next;
            free(block);
        } else {
            link = &block->next;
        }
    }
    arena->current = arena->first;
    arena->used = 0;
}

void arena_free(struct arena *arena) {
    while (arena->first) {
        struct arena_block *next = arena->first->next;
        free(arena->first);
        arena->first = next;
    }
    *arena = (struct arena){0};
}
