// A fast 64-bit hash of bytes, for tables, identities and for seeing whether something changed. Not for use against an
// adversary.
#ifndef DBOBS_HASH_H
#define DBOBS_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Goes on from a hash (0 at first) with a word.
static inline uint64_t hash_word(uint64_t hash, uint64_t word) {
    unsigned __int128 product =
        (unsigned __int128)(hash ^ UINT64_C(0x9e3779b97f4a7c15)) * (word ^ UINT64_C(0xd6e8feb86659fd93));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

// The same with bytes.
static inline uint64_t hash_bytes(uint64_t hash, const void *data, size_t len) {
    const char *at = data;
    uint64_t word;
    hash ^= len * UINT64_C(0xff51afd7ed558ccd);
    for (; len >= sizeof word; at += sizeof word, len -= sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = hash_word(hash, word);
    }
    word = 0;
    if (len) memcpy(&word, at, len);
    return hash_word(hash_word(hash, word), len);
}

#endif
