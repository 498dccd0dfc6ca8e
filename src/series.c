// Start times of cumulative series: an open-addressing table of 32-byte entries, keyed by a 64-bit hash. Two series
// that share a hash would share a start time; among a million series that happens once in forty million collectors.
// The table belongs to its owner; nothing here fails.
#include "series.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"

enum { FIRST_SIZE = 64 };

struct entry {
    uint64_t identity;  // 0: the slot is empty
    int64_t start_us;
    int64_t last_us;
    union {
        int64_t integer;
        double real;
    } last;
};

struct series {
    struct entry *entries;
    size_t size;  // a power of two
    size_t count;
};

struct series *series_new(void) {
    struct series *series = xcalloc(1, sizeof *series);
    series->size = FIRST_SIZE;
    series->entries = xcalloc(series->size, sizeof *series->entries);
    return series;
}

void series_free(struct series *series) {
    if (!series) return;
    free(series->entries);
    free(series);
}

// The series' entry, or the empty slot where it belongs.
static struct entry *find(struct entry *entries, size_t size, uint64_t identity) {
    size_t at = identity & (size - 1);
    while (entries[at].identity && entries[at].identity != identity) at = (at + 1) & (size - 1);
    return &entries[at];
}

// Makes the table anew with room for `count` entries at three quarters full; those not observed since are left out.
static void rebuild(struct series *series, size_t count, int64_t since_us) {
    size_t size = FIRST_SIZE;
    while (size / 4 * 3 < count) size *= 2;
    struct entry *entries = xcalloc(size, sizeof *entries);
    series->count = 0;
    for (size_t i = 0; i < series->size; i++) {
        const struct entry *old = &series->entries[i];
        if (!old->identity || old->last_us < since_us) continue;
        *find(entries, size, old->identity) = *old;
        series->count++;
    }
    free(series->entries);
    series->entries = entries;
    series->size = size;
}

static bool fell(const struct entry *entry, struct series_value value) {
    return value.is_double ? value.real < entry->last.real : value.integer < entry->last.integer;
}

int64_t series_observe(struct series *series, uint64_t identity, int64_t time_us, struct series_value value,
                       bool monotonic) {
    if (identity == 0) identity = 1;
    struct entry *entry = find(series->entries, series->size, identity);
    if (!entry->identity) {
        if (series->count + 1 > series->size / 4 * 3) {
            rebuild(series, series->count + 1, INT64_MIN);
            entry = find(series->entries, series->size, identity);
        }
        entry->identity = identity;
        entry->start_us = time_us;
        series->count++;
    } else if (monotonic && fell(entry, value)) {
        entry->start_us = entry->last_us;
    }
    if (entry->start_us > time_us) entry->start_us = time_us;
    entry->last_us = time_us;
    if (value.is_double) entry->last.real = value.real;
    else entry->last.integer = value.integer;
    return entry->start_us;
}

void series_forget(struct series *series, int64_t time_us) {
    size_t kept = 0;
    for (size_t i = 0; i < series->size; i++)
        kept += series->entries[i].identity && series->entries[i].last_us >= time_us;
    if (kept < series->count) rebuild(series, kept, time_us);
}

size_t series_count(const struct series *series) {
    return series->count;
}

size_t series_memory(const struct series *series) {
    return sizeof *series + series->size * sizeof *series->entries;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd6e8feb86659fd93u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t series_hash(uint64_t seed, const void *data, size_t len) {
    const char *at = data;
    uint64_t hash = seed ^ (len * 0xff51afd7ed558ccdu);
    uint64_t word;
    for (; len >= sizeof word; at += sizeof word, len -= sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = mix(hash, word);
    }
    word = 0;
    if (len) memcpy(&word, at, len);
    return mix(mix(hash, word), len);
}
