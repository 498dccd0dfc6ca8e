// Sixteen places at once are asked whether the word's first and last byte stand there; only those that say yes are
// compared. memmem() prepares tables first, which costs more than most of our texts are long. No state.
#include "find.h"

#include <emmintrin.h>
#include <string.h>

const char *find_word(const char *text, size_t len, const char *word, size_t word_len) {
    if (!word_len) return text;
    if (len < word_len) return NULL;
    const __m128i first = _mm_set1_epi8(*word), last = _mm_set1_epi8(word[word_len - 1]);
    size_t at = 0, places = len - word_len + 1;
    for (; places - at >= 16; at += 16) {
        __m128i begin = _mm_loadu_si128((const __m128i *)(text + at));
        __m128i end = _mm_loadu_si128((const __m128i *)(text + at + word_len - 1));
        __m128i both = _mm_and_si128(_mm_cmpeq_epi8(begin, first), _mm_cmpeq_epi8(end, last));
        for (unsigned found = (unsigned)_mm_movemask_epi8(both); found; found &= found - 1) {
            const char *place = text + at + __builtin_ctz(found);
            if (memcmp(place, word, word_len) == 0) return place;
        }
    }
    for (; at < places; at++)
        if (text[at] == *word && memcmp(text + at, word, word_len) == 0) return text + at;
    return NULL;
}
