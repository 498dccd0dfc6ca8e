// Finds words of the table. English logs hit its first entries; the others cost a comparison of first bytes each.
#include <stdbool.h>
#include <string.h>

#include "pglog_words.h"

static bool starts(const char *text, size_t len, const struct pglog_word *word) {
    return len >= word->len && *text == *word->text && memcmp(text, word->text, word->len) == 0;
}

const struct pglog_word *pglog_word_at(const char *text, size_t len, size_t *taken) {
    static const char behind[] = ":  ";
    for (const struct pglog_word *word = pglog_words; len && word->text; word++) {
        if (!starts(text, len, word)) continue;
        bool severity = word->kind < PGLOG_WORD_DETAIL;
        *taken = word->len + (severity ? sizeof behind - 1 : 0);
        if (!severity) return word;
        if (len >= *taken && memcmp(text + word->len, behind, sizeof behind - 1) == 0) return word;
    }
    return NULL;
}

const struct pglog_word *pglog_severity(const char *text, size_t len) {
    // jsonlog and csvlog number the debug levels.
    if (len == 6 && memcmp(text, "DEBUG", 5) == 0) len = 5;
    for (const struct pglog_word *word = pglog_words; word->text; word++)
        if (word->kind < PGLOG_WORD_DETAIL && word->len == len && memcmp(word->text, text, len) == 0) return word;
    return NULL;
}

const char *pglog_severity_name(enum pglog_word_kind kind) {
    static const char *const names[] = {"DEBUG", "LOG", "INFO", "NOTICE", "WARNING", "ERROR", "FATAL", "PANIC"};
    return names[kind];
}
