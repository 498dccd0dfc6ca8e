// Takes passwords out of SQL texts. No state.
#ifndef DBOBS_MASK_H
#define DBOBS_MASK_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

// Writes text to out (cleared first) with each literal that follows the word PASSWORD read as '***', as in
// ALTER ROLE a PASSWORD 'x' or OPTIONS (password 'x'). Returns false, out unspecified, when there is none.
bool mask_passwords(struct buf *out, const char *text, size_t len);

#endif
