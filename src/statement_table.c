// Linear probing over an index of entry numbers. Nothing is ever deleted from the index: a sweep makes it anew.
#include "statement_table.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "hash.h"

#define FIRST_INDEX 64

static uint32_t hash_of(int64_t queryid, uint32_t userid, uint32_t dbid, uint16_t flags) {
    uint64_t hash = hash_word(0, (uint64_t)queryid);
    hash = hash_word(hash, (uint64_t)userid << 32 | dbid);
    return (uint32_t)(hash_word(hash, flags & STATEMENT_KEY) >> 32);
}

static void index_put(struct statement_table *table, uint32_t number) {
    const struct statement *entry = &table->entries[number];
    uint32_t at = hash_of(entry->queryid, entry->userid, entry->dbid, entry->flags);
    while (table->index[at & (table->index_size - 1)]) at++;
    table->index[at & (table->index_size - 1)] = number + 1;
}

// The index is at most three quarters full.
static void index_make(struct statement_table *table) {
    uint32_t size = FIRST_INDEX;
    while (size / 4 * 3 < table->cap) size *= 2;
    free(table->index);
    table->index = xcalloc(size, sizeof *table->index);
    table->index_size = size;
    for (uint32_t i = 0; i < table->count; i++) index_put(table, i);
}

static bool is(const struct statement *entry, const struct statement_key *key) {
    return entry->queryid == key->queryid && entry->userid == key->userid && entry->dbid == key->dbid &&
           (entry->flags & STATEMENT_KEY) == key->flags;
}

struct statement *statement_table_get(struct statement_table *table, const struct statement_key *key) {
    uint32_t at = hash_of(key->queryid, key->userid, key->dbid, key->flags);
    for (; table->index_size && table->index[at & (table->index_size - 1)]; at++) {
        struct statement *entry = &table->entries[table->index[at & (table->index_size - 1)] - 1];
        if (is(entry, key)) return entry;
    }
    if (table->count == table->cap) {
        table->cap += table->cap / 4 + FIRST_INDEX / 2;
        table->entries = xrealloc(table->entries, table->cap * sizeof *table->entries);
        index_make(table);
    }
    struct statement *entry = &table->entries[table->count];
    *entry = (struct statement){.queryid = key->queryid, .userid = key->userid, .dbid = key->dbid, .flags = key->flags};
    index_put(table, table->count++);
    return entry;
}

void statement_table_sweep(struct statement_table *table, uint16_t flag, void (*drop)(void *owner, struct statement *),
                           void *owner) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->entries[i].flags & flag) table->entries[kept++] = table->entries[i];
        else drop(owner, &table->entries[i]);
    }
    if (kept == table->count) return;
    table->count = kept;
    index_make(table);
}

void statement_table_free(struct statement_table *table) {
    free(table->entries);
    free(table->index);
    *table = (struct statement_table){0};
}
