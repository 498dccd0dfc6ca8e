/*
 * memcpy and memmove with SSE2, linked in with musl only: musl's own cost librdkafka a third more CPU. Both stand in
 * this one object, so that the linker takes neither from the C library. Every byte of a short copy is loaded before
 * the first is stored, so overlap needs care only in the loops.
 */
#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Loads and stores that may stand at any address and alias anything. */
typedef uint64_t __attribute__((aligned(1), may_alias)) word64;
typedef uint32_t __attribute__((aligned(1), may_alias)) word32;
typedef uint16_t __attribute__((aligned(1), may_alias)) word16;

static inline __m128i load(const unsigned char *from) {
    return _mm_loadu_si128((const __m128i *)from);
}

static inline void store(unsigned char *to, __m128i value) {
    _mm_storeu_si128((__m128i *)to, value);
}

/* Two loads that meet or overlap in the middle cover every size between one word and two. */
static inline void copy_to_16(unsigned char *to, const unsigned char *from, size_t size) {
    if (size >= 8) {
        uint64_t head = *(const word64 *)from, tail = *(const word64 *)(from + size - 8);
        *(word64 *)to = head;
        *(word64 *)(to + size - 8) = tail;
    } else if (size >= 4) {
        uint32_t head = *(const word32 *)from, tail = *(const word32 *)(from + size - 4);
        *(word32 *)to = head;
        *(word32 *)(to + size - 4) = tail;
    } else if (size >= 2) {
        uint16_t head = *(const word16 *)from, tail = *(const word16 *)(from + size - 2);
        *(word16 *)to = head;
        *(word16 *)(to + size - 2) = tail;
    } else if (size == 1) {
        *to = *from;
    }
}

static inline void copy_to_128(unsigned char *to, const unsigned char *from, size_t size) {
    const unsigned char *from_end = from + size;
    unsigned char *to_end = to + size;
    __m128i a = load(from), z = load(from_end - 16);

    if (size > 32) {
        __m128i b = load(from + 16), y = load(from_end - 32);
        if (size > 64) {
            __m128i c = load(from + 32), d = load(from + 48), w = load(from_end - 64), x = load(from_end - 48);
            store(to + 32, c);
            store(to + 48, d);
            store(to_end - 64, w);
            store(to_end - 48, x);
        }
        store(to + 16, b);
        store(to_end - 32, y);
    }
    store(to, a);
    store(to_end - 16, z);
}

/* The last 64 bytes are loaded first: the loop may overwrite them when the regions overlap. */
static void copy_forward(unsigned char *to, const unsigned char *from, size_t size) {
    const unsigned char *from_end = from + size;
    unsigned char *to_end = to + size;
    __m128i w = load(from_end - 64), x = load(from_end - 48), y = load(from_end - 32), z = load(from_end - 16);

    for (; to_end - to > 64; to += 64, from += 64) {
        __m128i a = load(from), b = load(from + 16), c = load(from + 32), d = load(from + 48);
        store(to, a);
        store(to + 16, b);
        store(to + 32, c);
        store(to + 48, d);
    }
    store(to_end - 64, w);
    store(to_end - 48, x);
    store(to_end - 32, y);
    store(to_end - 16, z);
}

/*
 * From here on the processor's own string copy wins; it is slow to start, and very slow between regions that overlap
 * by a few bytes. The first and last words are loaded before it starts, and it gets an aligned target.
 */
enum { LONG_COPY = 512, NEAR = 64 };

static void copy_long(unsigned char *to, const unsigned char *from, size_t size) {
    __m128i head = load(from), tail = load(from + size - 16);
    size_t skip = 16 - ((uintptr_t)to & 15), words = (size - skip) / 8;
    unsigned char *to_word = to + skip;
    const unsigned char *from_word = from + skip;

    __asm__ volatile("rep movsq" : "+D"(to_word), "+S"(from_word), "+c"(words) : : "memory");
    store(to, head);
    store(to + size - 16, tail);
}

static void copy_backward(unsigned char *to, const unsigned char *from, size_t size) {
    unsigned char *to_end = to + size;
    const unsigned char *from_end = from + size;
    __m128i w = load(from), x = load(from + 16), y = load(from + 32), z = load(from + 48);

    for (; to_end - to > 64; to_end -= 64, from_end -= 64) {
        __m128i a = load(from_end - 16), b = load(from_end - 32), c = load(from_end - 48), d = load(from_end - 64);
        store(to_end - 16, a);
        store(to_end - 32, b);
        store(to_end - 48, c);
        store(to_end - 64, d);
    }
    store(to, w);
    store(to + 16, x);
    store(to + 32, y);
    store(to + 48, z);
}

void *memmove(void *to, const void *from, size_t size) {
    if (size <= 16) copy_to_16(to, from, size);
    else if (size <= 128) copy_to_128(to, from, size);
    else if (size >= LONG_COPY && (uintptr_t)to - (uintptr_t)from >= size && (uintptr_t)from - (uintptr_t)to >= NEAR)
        copy_long(to, from, size);
    else if ((uintptr_t)to - (uintptr_t)from >= size) /* also true when to is below from */
        copy_forward(to, from, size);
    else copy_backward(to, from, size);
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    if (size <= 16) copy_to_16(to, from, size);
    else if (size <= 128) copy_to_128(to, from, size);
    else if (size >= LONG_COPY) copy_long(to, from, size);
    else copy_forward(to, from, size);
    return to;
}
