// UTF-8 as RFC 3629 has it: no surrogates, nothing above U+10FFFF, no overlong forms. No state.
#ifndef DBOBS_UTF8_H
#define DBOBS_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

#define UTF8_REPLACEMENT "\xef\xbf\xbd"  // U+FFFD

// Bytes of the character that begins at text, 1 to 4; 0 when it is none, or is cut off by len. len must not be 0.
size_t utf8_char(const char *text, size_t len);
// How many bytes from the start on are valid: len when all are.
size_t utf8_valid_len(const char *text, size_t len);
bool utf8_valid(const char *text, size_t len);
// Appends text; each byte that is part of no character becomes U+FFFD.
void utf8_put(struct buf *out, const char *text, size_t len);
// The nearest place at or before `at` (below: at or after) that does not lie within a character of the valid text.
size_t utf8_cut_before(const char *text, size_t len, size_t at);
size_t utf8_cut_after(const char *text, size_t len, size_t at);

#endif
