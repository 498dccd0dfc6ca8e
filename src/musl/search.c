/*
 * memchr, memcmp and strlen with SSE2, linked in with musl only, whose own go by words or by bytes: a log is mostly
 * searched and compared. A load that stays in its page may read beyond the end: what lies there does not count.
 */
#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { VECTOR = 16, PAGE = 4096 };

static inline __m128i load(const unsigned char *from) {
    return _mm_loadu_si128((const __m128i *)from);
}

/* Whether 16 bytes from here on lie in one page. */
static inline int in_page(const unsigned char *from) {
    return ((uintptr_t)from & (PAGE - 1)) <= PAGE - VECTOR;
}

static inline unsigned equal(__m128i a, __m128i b) {
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b));
}

/* The size may be anything when the byte is known to be there: strnlen() asks so. Aligned loads stay in their page. */
void *memchr(const void *memory, int byte, size_t size) {
    const __m128i wanted = _mm_set1_epi8((char)byte);
    const unsigned char *from = memory;
    size_t skip = (uintptr_t)from & (VECTOR - 1), done = VECTOR - skip;
    const unsigned char *at = from - skip;

    if (!size) return NULL;
    unsigned found = equal(_mm_load_si128((const __m128i *)at), wanted) >> skip;
    if (found) {
        size_t place = (size_t)__builtin_ctz(found);
        return place < size ? (void *)(from + place) : NULL;
    }
    for (; done < size; done += VECTOR) {
        found = equal(_mm_load_si128((const __m128i *)(from + done)), wanted);
        if (!found) continue;
        size_t place = done + (size_t)__builtin_ctz(found);
        return place < size ? (void *)(from + place) : NULL;
    }
    return NULL;
}

static inline int difference(const unsigned char *a, const unsigned char *b, unsigned same) {
    size_t at = (size_t)__builtin_ctz(~same);
    return a[at] - b[at];
}

int memcmp(const void *left, const void *right, size_t size) {
    const unsigned char *a = left, *b = right;

    if (size < VECTOR) {
        if (size && in_page(a) && in_page(b)) {
            unsigned same = equal(load(a), load(b)) | ~((1U << size) - 1);
            return ~same ? difference(a, b, same) : 0;
        }
        for (; size; size--, a++, b++)
            if (*a != *b) return *a - *b;
        return 0;
    }
    for (; size >= VECTOR; size -= VECTOR, a += VECTOR, b += VECTOR) {
        unsigned same = equal(load(a), load(b)) | 0xFFFF0000U;
        if (~same) return difference(a, b, same);
    }
    if (size) {
        a -= VECTOR - size;
        b -= VECTOR - size;
        unsigned same = equal(load(a), load(b)) | 0xFFFF0000U;
        if (~same) return difference(a, b, same);
    }
    return 0;
}

size_t strlen(const char *text) {
    const unsigned char *at = (const unsigned char *)((uintptr_t)text & ~(uintptr_t)(VECTOR - 1));
    unsigned before = (unsigned)((uintptr_t)text & (VECTOR - 1));
    unsigned found = equal(load(at), _mm_setzero_si128()) >> before;

    if (found) return (size_t)__builtin_ctz(found);
    do {
        at += VECTOR;
        found = equal(load(at), _mm_setzero_si128());
    } while (!found);
    return (size_t)(at - (const unsigned char *)text) + (size_t)__builtin_ctz(found);
}
