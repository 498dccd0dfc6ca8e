// Finding a word in a text.
#ifndef DBOBS_FIND_H
#define DBOBS_FIND_H

#include <stddef.h>

// The first place of the word in the text; NULL when it is not there. For short words: a long one that nearly fits
// everywhere costs the product of both lengths.
const char *find_word(const char *text, size_t len, const char *word, size_t word_len);

#endif
