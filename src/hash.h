// A fast 64-bit hash of bytes, for tables and for seeing whether something changed. Not for use against an adversary.
#ifndef DBOBS_HASH_H
#define DBOBS_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hash_word(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

static inline uint64_t hash_bytes(uint64_t hash, const char *data, size_t len) {
    uint64_t word;
    hash = hash_word(hash, len + 1);
    for (; len >= sizeof word; data += sizeof word, len -= sizeof word) {
        memcpy(&word, data, sizeof word);
        hash = hash_word(hash, word);
    }
    word = 0;
    for (size_t i = 0; i < len; i++) word = word << 8 | (unsigned char)data[i];
    return hash_word(hash, word);
}

#endif
