// A statement's text with its arguments put in their places, for the simple protocol.
#ifndef DBOBS_PG_INLINE_H
#define DBOBS_PG_INLINE_H

#include <stdbool.h>

struct buf;

struct pg_argument {
    const char *text;  // NULL for NULL
    bool quoted;       // else a number or a word, put in as it is
};

// Appends sql, with literals for $1, $2, ... outside of quotes and comments, and a zero byte. -1 when an argument is
// missing.
int pg_inline(struct buf *out, const char *sql, int count, const struct pg_argument *arguments);

#endif
