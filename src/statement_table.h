// What is remembered of each statement of a server: a hash table whose entries lie close together, since a hundred
// servers may have five thousand each. Owned by the tracker that embeds it.
#ifndef DBOBS_STATEMENT_TABLE_H
#define DBOBS_STATEMENT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text;

enum statement_flag {
    STATEMENT_SEEN = 1,         // found in this collection
    STATEMENT_DONE = 2,         // a record of it was sent in this collection
    STATEMENT_SENT = 4,         // the fingerprint is of a record that was sent
    STATEMENT_LEFT_OUT = 8,     // its text says that it is not to be sent
    STATEMENT_TEXTLESS = 16,    // the view has no text of it
    STATEMENT_SENT_BARE = 32,   // it was sent without its text, which could not be read
    STATEMENT_TOPLEVEL = 64,    // part of the key
    STATEMENT_ANONYMOUS = 128,  // part of the key: it has no queryid, which is a hash of its values instead
    STATEMENT_KEY = STATEMENT_TOPLEVEL | STATEMENT_ANONYMOUS,
    STATEMENT_WANTED = 256,  // it is among the first so many of this collection
};

struct statement_key {
    int64_t queryid;
    uint32_t userid, dbid;
    uint16_t flags;  // of STATEMENT_KEY
};

struct statement {
    int64_t queryid;
    uint32_t userid, dbid;
    uint64_t fingerprint;  // of the values that were sent
    int64_t calls;
    int64_t observed_us;   // when this incarnation was seen first
    struct text *text;     // NULL: not known, or not kept
    uint32_t incarnation;  // differs, or falls, when the entry was evicted and came back
    uint16_t flags;
};

// Zeroed memory is an empty table.
struct statement_table {
    struct statement *entries;
    uint32_t *index;  // number of an entry + 1 by hash; 0: free
    uint32_t count, cap, index_size;
};

// The entry with this key; a new one is zeroed but for its key. Valid until the next call.
struct statement *statement_table_get(struct statement_table *table, const struct statement_key *key);
// Drops the entries without the flag; `drop` is called with each.
void statement_table_sweep(struct statement_table *table, uint16_t flag, void (*drop)(void *owner, struct statement *),
                           void *owner);
void statement_table_free(struct statement_table *table);

#endif
