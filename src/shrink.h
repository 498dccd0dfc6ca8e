// Cuts the middle out of the long strings of a huge log record while it is being read, so that what is small in it is
// still found and its memory stays bounded. Where something was cut stands a mark with the number of bytes; when the
// record is written, marks become what record_cut leaves: an ellipsis, and a note in payload.truncated. No state.
#ifndef DBOBS_SHRINK_H
#define DBOBS_SHRINK_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

enum shrink_syntax {
    SHRINK_JSON,   // strings between quotes, with escapes
    SHRINK_CSV,    // columns between quotes, a quote in them doubled
    SHRINK_PLAIN,  // lines, with those behind them that begin with a tab
};

// "<ellipsis>dbobs:<16 hexadecimal digits>:<20 digits>:<ellipsis>": stands nowhere by chance.
#define SHRINK_MARK_HEAD 26
#define SHRINK_MARK_LEN (SHRINK_MARK_HEAD + 20 + 4)

struct shrink_mark {
    char head[SHRINK_MARK_HEAD];
};

// A mark of its own for each reader; `secret` is random.
struct shrink_mark shrink_mark_new(uint64_t secret);

// Shortens text, the beginning of a record, in place until it has at most `most` bytes or nothing long is left in it.
// A string that was cut before can be cut again: the bytes are then those of both cuts.
void shrink(enum shrink_syntax syntax, const struct shrink_mark *mark, char *text, size_t *len, size_t most);
// What is behind the last mark in text; 0 when there is none.
size_t shrink_last(const struct shrink_mark *mark, const char *text, size_t len);

// Replaces the marks in the strings of a record (JSON), and notes each string's own length in payload.truncated.
void shrink_note(struct buf *record, const struct shrink_mark *mark);

#endif
