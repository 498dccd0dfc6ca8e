// Fuzz target: a word is found where memmem() finds it. The first byte tells the length of the word before the text.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "find.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size || data[0] > size - 1) return 0;
    const char *word = (const char *)data + 1;
    size_t word_len = data[0], len = size - 1 - word_len;
    // In memory of its own size, so that a read past its end is seen.
    char *text = malloc(len ? len : 1);
    if (len) memcpy(text, word + word_len, len);
    const char *found = find_word(text, len, word, word_len);
    if (found != (word_len ? memmem(text, len, word, word_len) : text)) abort();
    free(text);
    return 0;
}
