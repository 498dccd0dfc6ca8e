// What becomes of a statement's text on its way into a record: left out, masked, cut, written as JSON. No state.
#ifndef DBOBS_STATEMENT_TEXT_H
#define DBOBS_STATEMENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

// Our own statements begin with it, or have it behind their first word.
#define STATEMENT_MARK "/* dbobs */"

struct statement_text_rules {
    bool mask;       // literals after PASSWORD read '***'
    size_t longest;  // characters; a longer text loses its middle; 0: whole
    char **exclude;  // patterns as of file names, of texts to leave out, in either case; NULL-terminated
    char **keep;     // texts that are not ours in spite of the mark; NULL-terminated
};

// Whether no record is sent of statements with this text, which ends in a zero byte.
bool statement_text_is_left_out(const struct statement_text_rules *rules, const char *text);

// Writes the text to out (cleared first) as fields of a payload, `"query":"..."`; behind it, when the text was cut,
// `,"truncated":{"payload.query":<bytes it had>}`.
void statement_text_write(const struct statement_text_rules *rules, const char *text, size_t len, struct buf *out);

#endif
