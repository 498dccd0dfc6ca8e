// A prefix is a list of literals and escapes. Most escapes have a shape of their own (a time, a number, an SQLSTATE);
// the free ones (user, database, application, command tag) end where the rest of the prefix fits. That is a search,
// whose steps are counted: a line that needs more is not worth them.
#include "pglog_prefix.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = 64, MAX_STEPS = 4096 };

struct part {
    char escape;  // 0: a literal
    const char *literal;
    size_t len;
    bool padded_left, padded_right;
    bool before_literal;  // a literal follows: what this takes ends at the literal's first byte
};

struct pglog_prefix {
    char *setting;
    struct part parts[MAX_PARTS];
    int count;
    int background;  // parts that processes without a session write: those before %q
};

struct match {
    const struct pglog_prefix *prefix;
    const char *end;
    struct pglog_fields *fields;
    pglog_prefix_check *check;
    void *argument;
    int steps;
};

static void add_literal(struct pglog_prefix *prefix, const char *text, size_t len) {
    if (len && prefix->count < MAX_PARTS) prefix->parts[prefix->count++] = (struct part){.literal = text, .len = len};
}

// Reads the escape at `at`, behind its %; returns what is behind it.
static const char *add_escape(struct pglog_prefix *prefix, const char *at) {
    struct part part = {0};
    if (*at == '-' || (*at >= '1' && *at <= '9')) {
        part.padded_right = *at == '-';
        part.padded_left = *at != '-';
        at += strspn(at, "-0123456789");
    }
    if (!*at) return at;
    part.escape = *at;
    if (*at == 'q') prefix->background = prefix->count;
    else if (*at == '%') add_literal(prefix, at, 1);
    else if (strchr("abcdehilmnpPQrstuvxL", *at) && prefix->count < MAX_PARTS) prefix->parts[prefix->count++] = part;
    return at + 1;
}

struct pglog_prefix *pglog_prefix_new(const char *setting) {
    struct pglog_prefix *prefix = xcalloc(1, sizeof *prefix);
    prefix->setting = xstrdup(setting);
    prefix->background = -1;
    const char *at = prefix->setting;
    while (*at) {
        size_t len = strcspn(at, "%");
        add_literal(prefix, at, len);
        at += len;
        if (*at) at = add_escape(prefix, at + 1);
    }
    for (int i = 0; i + 1 < prefix->count; i++)
        prefix->parts[i].before_literal =
            !prefix->parts[i + 1].escape && !prefix->parts[i].padded_right && prefix->background != i + 1;
    return prefix;
}

void pglog_prefix_free(struct pglog_prefix *prefix) {
    if (!prefix) return;
    free(prefix->setting);
    free(prefix);
}

enum { DIGIT = 1, UPPER = 2, LOWER = 4, HEX = 8, POINT = 16, MINUS = 32, PLUS = 64, SLASH = 128 };

// The classes of a character, of those that shapes are made of.
static unsigned class_of(char c) {
    if (c >= '0' && c <= '9') return DIGIT | HEX;
    if (c >= 'A' && c <= 'Z') return UPPER;
    if (c >= 'a' && c <= 'z') return c <= 'f' ? LOWER | HEX : LOWER;
    return c == '.' ? POINT : c == '-' ? MINUS : c == '+' ? PLUS : c == '/' ? SLASH : 0;
}

// How many characters at `at` are of one of the classes.
static size_t span(const char *at, const char *end, unsigned classes) {
    size_t len = 0;
    while (at + len < end && class_of(at[len]) & classes) len++;
    return len;
}

static size_t blanks(const char *at, const char *end) {
    size_t len = 0;
    while (at + len < end && at[len] == ' ') len++;
    return len;
}

// The server makes a time in a buffer of so many bytes (FORMATTED_TS_LEN).
#define LONGEST_TIME 128

// The length of "2026-03-29 02:30:00.123 CEST"; 0 when there is no time.
static size_t time_len(const char *at, const char *end) {
    static const char shape[] = "0000-00-00 00:00:00";
    size_t len = 0;
    for (; shape[len]; len++) {
        if (at + len >= end) return 0;
        bool digit = at[len] >= '0' && at[len] <= '9';
        if (shape[len] == '0' ? !digit : at[len] != shape[len]) return 0;
    }
    if (at + len < end && at[len] == '.') len += 1 + span(at + len + 1, end, DIGIT);
    if (at + len >= end || at[len] != ' ') return 0;
    size_t zone = span(at + len + 1, end, UPPER | LOWER | PLUS | MINUS | DIGIT);
    return zone && len + 1 + zone < LONGEST_TIME ? len + 1 + zone : 0;
}

// The length of what an escape with a shape of its own takes. -1: it is a free one. -2: it is not there.
static ptrdiff_t fixed_len(char escape, const char *at, const char *end) {
    size_t len;
    switch (escape) {
    case 'm':
    case 't':
    case 's':
        len = time_len(at, end);
        return len ? (ptrdiff_t)len : -2;
    case 'n':
        len = span(at, end, DIGIT | POINT);
        return len ? (ptrdiff_t)len : -2;
    case 'p':
    case 'l':
    case 'x':
        len = span(at, end, DIGIT);
        return len ? (ptrdiff_t)len : -2;
    case 'P':  // empty when there is no leader
        return (ptrdiff_t)span(at, end, DIGIT);
    case 'Q':
        return (ptrdiff_t)span(at, end, MINUS | DIGIT);
    case 'c':
        len = span(at, end, HEX | POINT);
        return len ? (ptrdiff_t)len : -2;
    case 'v':  // empty without a transaction
        return (ptrdiff_t)span(at, end, DIGIT | SLASH | MINUS);
    case 'e':
        len = span(at, end, DIGIT | UPPER);
        return len == 5 ? 5 : -2;
    default:
        return -1;
    }
}

static const struct {
    char escape;
    unsigned char field;
} fields_of[] = {
    {'a', PGLOG_APPLICATION_NAME},
    {'u', PGLOG_USER},
    {'d', PGLOG_DBNAME},
    {'h', PGLOG_REMOTE_HOST},
    {'b', PGLOG_BACKEND_TYPE},
    {'p', PGLOG_PID},
    {'P', PGLOG_LEADER_PID},
    {'t', PGLOG_TIMESTAMP},
    {'m', PGLOG_TIMESTAMP},
    {'n', PGLOG_TIMESTAMP},
    {'i', PGLOG_PS},
    {'e', PGLOG_STATE_CODE},
    {'c', PGLOG_SESSION_ID},
    {'l', PGLOG_LINE_NUM},
    {'s', PGLOG_SESSION_START},
    {'v', PGLOG_VXID},
    {'x', PGLOG_TXID},
    {'Q', PGLOG_QUERY_ID},
};

// "10.0.0.1(5432)", "[local]"
static void take_remote(struct pglog_fields *fields, struct pglog_text text) {
    const char *open = text.len && text.text[text.len - 1] == ')' ? memrchr(text.text, '(', text.len) : NULL;
    fields->at[PGLOG_REMOTE_HOST] = text;
    if (!open) return;
    fields->at[PGLOG_REMOTE_HOST].len = (size_t)(open - text.text);
    fields->at[PGLOG_REMOTE_PORT] = (struct pglog_text){open + 1, text.len - (size_t)(open - text.text) - 2};
}

static void take(struct pglog_fields *fields, char escape, const char *at, size_t len) {
    struct pglog_text text = {at, len};
    // What the server writes when a session has no such thing.
    if (len == 0 || (len == 9 && memcmp(at, "[unknown]", 9) == 0)) return;
    if (escape == 'r') {
        take_remote(fields, text);
        return;
    }
    for (size_t i = 0; i < sizeof fields_of / sizeof *fields_of; i++)
        if (fields_of[i].escape == escape) fields->at[fields_of[i].field] = text;
}

static const char *match_from(struct match *match, int number, const char *at);

// The rest of the prefix behind an escape that ends at `to`.
static const char *match_behind(struct match *match, int number, const char *from, const char *to) {
    const struct part *part = &match->prefix->parts[number];
    const char *behind = to;
    if (part->padded_right) behind += blanks(behind, match->end);
    const char *found = match_from(match, number + 1, behind);
    if (found) take(match->fields, part->escape, from, (size_t)(to - from));
    return found;
}

static const char *match_escape(struct match *match, int number, const char *at) {
    const struct part *part = &match->prefix->parts[number];
    if (part->padded_left) at += blanks(at, match->end);
    ptrdiff_t len = fixed_len(part->escape, at, match->end);
    if (len == -2) return NULL;
    if (len >= 0) return match_behind(match, number, at, at + len);
    for (const char *to = at; to <= match->end; to++) {
        if (part->before_literal) to = memchr(to, *part[1].literal, (size_t)(match->end - to));
        if (!to) return NULL;
        const char *found = match_behind(match, number, at, to);
        if (found || match->steps > MAX_STEPS) return found;
    }
    return NULL;
}

// Matches the parts from `number` on at `at`; returns what is behind them, NULL when they do not fit.
static const char *match_from(struct match *match, int number, const char *at) {
    if (++match->steps > MAX_STEPS) return NULL;
    if (number == match->prefix->count) return match->check(match->argument, at, (size_t)(match->end - at)) ? at : NULL;
    // A process without a session ends here, one with a session goes on.
    const struct part *part = &match->prefix->parts[number];
    const char *found = NULL;
    if (part->escape) found = match_escape(match, number, at);
    else if ((size_t)(match->end - at) >= part->len && memcmp(at, part->literal, part->len) == 0)
        found = match_from(match, number + 1, at + part->len);
    if (!found && number == match->prefix->background && match->check(match->argument, at, (size_t)(match->end - at)))
        return at;
    return found;
}

ptrdiff_t pglog_prefix_match(const struct pglog_prefix *prefix, const char *line, size_t len,
                             struct pglog_fields *fields, pglog_prefix_check *check, void *argument) {
    struct match match = {.prefix = prefix, .end = line + len, .fields = fields, .check = check, .argument = argument};
    const char *rest = match_from(&match, 0, line);
    return rest ? rest - line : -1;
}
