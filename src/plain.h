// Foreign text for a terminal: one line, valid UTF-8, nothing that could steer the terminal. No state.
#ifndef DBOBS_PLAIN_H
#define DBOBS_PLAIN_H

#include <stddef.h>

#include "buf.h"

// Appends at most `most` characters of text, then "..." when there is more. Runs of blanks, line ends and control
// characters become one space; bytes that are no UTF-8 become U+FFFD.
void plain_put(struct buf *out, const char *text, size_t len, size_t most);

#endif
