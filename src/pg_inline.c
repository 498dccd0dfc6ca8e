// A statement's text with its arguments in their places, see pg_inline.h. Quotes and comments are copied as they stand.
#include "pg_inline.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

static bool in_word(unsigned char c) {
    return isalnum(c) || c == '_' || c == '$' || c >= 0x80;
}

static const char *skip_quoted(const char *at, bool backslashes) {
    char quote = *at++;
    for (; *at; at++) {
        if (backslashes && *at == '\\' && at[1]) at++;
        else if (*at == quote) return at + 1;
    }
    return at;
}

// Comments nest.
static const char *skip_comment(const char *at) {
    int depth = 0;
    for (; *at; at++) {
        if (at[0] == '/' && at[1] == '*') depth++, at++;
        else if (at[0] == '*' && at[1] == '/' && (at++, --depth == 0)) return at + 1;
    }
    return at;
}

// $tag$ ... $tag$
static const char *skip_dollars(const char *at) {
    const char *end = at + 1;
    while (*end != '$' && in_word((unsigned char)*end)) end++;
    if (*end != '$') return at;
    size_t len = (size_t)(end - at) + 1;
    for (end++; (end = strchr(end, '$')); end++)
        if (strncmp(end, at, len) == 0) return end + len;
    return at + strlen(at);
}

// The end of what begins at `at` and is no place for arguments; `at` itself when nothing does. `sql` is the beginning.
static const char *skip(const char *sql, const char *at) {
    bool after_word = at > sql && in_word((unsigned char)at[-1]);
    if (*at == '\'') {
        bool escapes =
            after_word && (at[-1] == 'E' || at[-1] == 'e') && !(at - 1 > sql && in_word((unsigned char)at[-2]));
        return skip_quoted(at, escapes);
    }
    if (*at == '"') return skip_quoted(at, false);
    if (strncmp(at, "--", 2) == 0) return at + strcspn(at, "\n");
    if (strncmp(at, "/*", 2) == 0) return skip_comment(at);
    if (*at != '$') return at;
    // Inside of a name a dollar is a letter.
    if (after_word) return at + 1;
    return isdigit((unsigned char)at[1]) ? at : skip_dollars(at);
}

static void put_quoted(struct buf *out, const char *text) {
    buf_puts(out, strchr(text, '\\') ? " E'" : "'");
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') buf_putc(out, *text);
        buf_putc(out, *text);
    }
    buf_putc(out, '\'');
}

static void put_argument(struct buf *out, const struct pg_argument *argument) {
    if (!argument->text) {
        buf_puts(out, "NULL");
    } else if (argument->quoted) {
        put_quoted(out, argument->text);
    } else if (argument->text[0] == '-') {
        // Behind another minus it would begin a comment.
        buf_putc(out, '(');
        buf_puts(out, argument->text);
        buf_putc(out, ')');
    } else {
        buf_puts(out, argument->text);
    }
}

int pg_inline(struct buf *out, const char *sql, int count, const struct pg_argument *arguments) {
    const char *at = sql;
    while (*at) {
        const char *end = skip(sql, at);
        if (end > at) {
            buf_put(out, at, (size_t)(end - at));
            at = end;
        } else if (at[0] == '$' && isdigit((unsigned char)at[1])) {
            char *rest;
            long number = strtol(at + 1, &rest, 10);
            if (number < 1 || number > count) return -1;
            put_argument(out, &arguments[number - 1]);
            at = rest;
        } else {
            buf_putc(out, *at++);
        }
    }
    buf_putc(out, '\0');
    return 0;
}
