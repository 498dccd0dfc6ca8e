// The words that PostgreSQL puts before the lines of a log, in all its languages.
#ifndef DBOBS_PGLOG_WORDS_H
#define DBOBS_PGLOG_WORDS_H

#include <stddef.h>

enum pglog_word_kind {
    PGLOG_WORD_DEBUG,
    PGLOG_WORD_LOG,
    PGLOG_WORD_INFO,
    PGLOG_WORD_NOTICE,
    PGLOG_WORD_WARNING,
    PGLOG_WORD_ERROR,
    PGLOG_WORD_FATAL,
    PGLOG_WORD_PANIC,
    PGLOG_WORD_DETAIL,  // from here on with their colon and blanks, which are translated too
    PGLOG_WORD_HINT,
    PGLOG_WORD_QUERY,
    PGLOG_WORD_CONTEXT,
    PGLOG_WORD_STATEMENT,
    PGLOG_WORD_LOCATION,
    PGLOG_WORD_BACKTRACE,
};

struct pglog_word {
    const char *text;
    size_t len;
    enum pglog_word_kind kind;
};

// English first; the last one's text is NULL.
extern const struct pglog_word pglog_words[];

// The word that a line's text begins with, a severity only with its ":  " behind it; *taken is the length of all that.
// NULL when it begins with none.
const struct pglog_word *pglog_word_at(const char *text, size_t len, size_t *taken);
// The severity that is exactly this text; NULL when it is none.
const struct pglog_word *pglog_severity(const char *text, size_t len);
// A severity in English, as jsonlog has it.
const char *pglog_severity_name(enum pglog_word_kind kind);

#endif
