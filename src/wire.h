// Writing protobuf by hand, for what is written often: varints, and fields that have a length. Tags are one byte here:
// field numbers up to 15. No state.
#ifndef DBOBS_WIRE_H
#define DBOBS_WIRE_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_MAX_VARINT = 10 };

#define WIRE_TAG(field, type) ((field) << 3 | (type))

static inline size_t wire_varint_size(uint64_t value) {
    size_t size = 1;
    while (value >>= 7) size++;
    return size;
}

// Bytes of a field whose content has `len` bytes.
static inline size_t wire_field_size(size_t len) {
    return 1 + wire_varint_size(len) + len;
}

// These write at `at` and return the place behind.
static inline char *wire_varint(char *at, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *at++ = (char)(value | 0x80);
    *at++ = (char)value;
    return at;
}

// The start of a field; its content of `len` bytes goes behind.
static inline char *wire_field(char *at, int tag, size_t len) {
    *at++ = (char)tag;
    return wire_varint(at, len);
}

static inline char *wire_fixed64(char *at, uint64_t value) {
    value = htole64(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static inline char *wire_copy(char *at, const void *data, size_t len) {
    if (len) memcpy(at, data, len);
    return at + len;
}

#endif
