// Cuts and reads stderr logs. The server writes a report in one piece: the line with the severity, then DETAIL, HINT,
// CONTEXT, STATEMENT and so on with a prefix of their own, each text's further lines behind a tab. A line that fits
// neither was written by somebody else (a library, an archive_command) and is a record by itself.
#include "pglog_stderr.h"

#include <stdlib.h>
#include <string.h>

#include "pglog_runtime.h"
#include "pglog_words.h"

#define HUGE_LINE (64 * 1024)  // its prefix and severity are within

struct pglog_stderr {
    struct pglog_prefix *prefix;
    struct buf scratch;  // a line without what its runtime put around it
    struct buf record;   // all lines of a record so
};

enum line_kind {
    LINE_REPORT,     // begins a report
    LINE_KEYWORD,    // DETAIL and its like: belongs to the report before
    LINE_CONTINUED,  // behind a tab: belongs to the line before
    LINE_FOREIGN
};

struct line {
    enum line_kind kind;
    const struct pglog_word *word;
    struct pglog_text text;  // behind prefix and word
};

struct pglog_stderr *pglog_stderr_new(const char *log_line_prefix) {
    struct pglog_stderr *log = xcalloc(1, sizeof *log);
    log->prefix = pglog_prefix_new(log_line_prefix);
    return log;
}

void pglog_stderr_free(struct pglog_stderr *log) {
    if (!log) return;
    pglog_prefix_free(log->prefix);
    buf_free(&log->scratch);
    buf_free(&log->record);
    free(log);
}

static bool is_word(void *argument, const char *rest, size_t len) {
    struct line *line = argument;
    size_t taken;
    line->word = pglog_word_at(rest, len, &taken);
    if (line->word) line->text = (struct pglog_text){rest + taken, len - taken};
    return line->word != NULL;
}

static struct line classify(const struct pglog_stderr *log, const char *text, size_t len, struct pglog_fields *fields) {
    struct line line = {.kind = LINE_FOREIGN, .text = {text, len}};
    if (len && *text == '\t') {
        line.kind = LINE_CONTINUED;
        line.text = (struct pglog_text){text + 1, len - 1};
    } else if (pglog_prefix_match(log->prefix, text, len, fields, is_word, &line) >= 0) {
        line.kind = line.word->kind < PGLOG_WORD_DETAIL ? LINE_REPORT : LINE_KEYWORD;
    }
    return line;
}

// Takes the line at text, with the lines that continue it where its runtime split it, out of what the runtime put
// around it, into *line. Returns what is behind it; NULL when its end has not been written yet.
static const char *take_whole(struct pglog_stderr *log, const char *text, const char *end, struct pglog_text *line) {
    buf_clear(&log->record);
    for (const char *newline; (newline = memchr(text, '\n', (size_t)(end - text))); text = newline + 1) {
        struct pglog_runtime_line part;
        pglog_runtime_unwrap(text, (size_t)(newline - text), &log->scratch, &part);
        *line = (struct pglog_text){part.text, part.len};
        if (!part.partial && !log->record.len) return newline + 1;
        buf_put(&log->record, part.text, part.len);
        *line = (struct pglog_text){log->record.data, log->record.len};
        if (!part.partial) return newline + 1;
    }
    return NULL;
}

static bool begins_record(const struct pglog_stderr *log, struct pglog_text line) {
    if (line.len && *line.text == '\t') return false;
    struct pglog_fields fields = {0};
    enum line_kind kind = classify(log, line.text, line.len, &fields).kind;
    return kind != LINE_CONTINUED && kind != LINE_KEYWORD;
}

// Whether a report begins in a line whose end has not been written yet.
static bool begins_report(struct pglog_stderr *log, const char *text, const char *end) {
    struct pglog_runtime_line line;
    struct pglog_fields fields = {0};
    if (memchr(text, '\n', (size_t)(end - text))) return false;
    pglog_runtime_unwrap(text, (size_t)(end - text), &log->scratch, &line);
    return classify(log, line.text, line.len, &fields).kind == LINE_REPORT;
}

size_t pglog_stderr_cut(struct pglog_stderr *log, const char *text, size_t len, size_t *scanned, bool is_all) {
    const char *end = text + len, *at = text + *scanned;
    struct pglog_text line;
    for (const char *behind; (behind = take_whole(log, at, end, &line)); at = behind) {
        if (at > text && begins_record(log, line)) return (size_t)(at - text);
        *scanned = (size_t)(behind - text);
    }
    if (is_all && at > text && at < end && begins_report(log, at, end)) return (size_t)(at - text);
    // A huge line need not end to be known as the next record's.
    bool is_huge = at > text && end - at >= HUGE_LINE && !memchr(at, '\n', (size_t)(end - at));
    if (is_huge && begins_record(log, (struct pglog_text){at, HUGE_LINE})) return (size_t)(at - text);
    return is_all && *scanned == len ? len : 0;
}

// Whether each line ends in CR LF, as a server on Windows ends it; the last newline is not part of the text.
static bool is_crlf(const char *text, size_t len) {
    const char *end = text + len;
    for (const char *at = text, *newline; at < end; at = newline + 1) {
        newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline) return end[-1] == '\r';
        if (newline == at || newline[-1] != '\r') return false;
    }
    return false;
}

// Joins the record's lines without what their runtime put around them. Returns whether the runtime dated it.
static bool assemble(struct pglog_stderr *log, const char *text, size_t len, int64_t *time_us) {
    bool dated = false;
    const bool crlf = is_crlf(text, len);
    buf_clear(&log->record);
    buf_reserve(&log->record, 1);  // it has an address, also when it is empty
    for (const char *at = text, *end = text + len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline ? newline : end;
        struct pglog_runtime_line line;
        pglog_runtime_unwrap(at, (size_t)(line_end - at) - crlf, &log->scratch, &line);
        buf_put(&log->record, line.text, line.len);
        if (line.dated && !dated) *time_us = line.time_us;
        dated |= line.dated;
        at = line_end + 1;
        if (!line.partial && at < end) buf_putc(&log->record, '\n');
    }
    return dated;
}

// Where each keyword's text goes.
static const unsigned char field_of_word[] = {
    [PGLOG_WORD_DETAIL] = PGLOG_DETAIL,        [PGLOG_WORD_HINT] = PGLOG_HINT,
    [PGLOG_WORD_QUERY] = PGLOG_INTERNAL_QUERY, [PGLOG_WORD_CONTEXT] = PGLOG_CONTEXT,
    [PGLOG_WORD_STATEMENT] = PGLOG_STATEMENT,
};

// log_error_verbosity = verbose writes "42601: " before the message, and always a location behind.
static void take_state_code(struct pglog_fields *fields) {
    struct pglog_text *message = &fields->at[PGLOG_MESSAGE];
    if (message->len < 7 || memcmp(message->text + 5, ": ", 2) != 0) return;
    if (strspn(message->text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5) return;
    if (!fields->at[PGLOG_STATE_CODE].text) fields->at[PGLOG_STATE_CODE] = (struct pglog_text){message->text, 5};
    *message = (struct pglog_text){message->text + 7, message->len - 7};
}

// " at character 15", in English
static void take_cursor(struct pglog_fields *fields) {
    static const char words[] = " at character ";
    struct pglog_text *message = &fields->at[PGLOG_MESSAGE];
    size_t digits = 0;
    while (digits < message->len && message->text[message->len - 1 - digits] >= '0' &&
           message->text[message->len - 1 - digits] <= '9')
        digits++;
    size_t size = sizeof words - 1 + digits;
    if (!digits || message->len < size) return;
    const char *at = message->text + message->len - size;
    if (memcmp(at, words, sizeof words - 1) != 0) return;
    fields->at[PGLOG_CURSOR_POSITION] = (struct pglog_text){at + sizeof words - 1, digits};
    message->len -= size;
}

static void take_line(const struct line *line, struct pglog_fields *fields, struct pglog_text **open) {
    *open = NULL;
    if (line->kind == LINE_REPORT) *open = &fields->at[PGLOG_MESSAGE];
    else if (line->word->kind == PGLOG_WORD_LOCATION) pglog_take_location(fields, line->text);
    else if (line->word->kind != PGLOG_WORD_BACKTRACE) *open = &fields->at[field_of_word[line->word->kind]];
    if (*open) **open = line->text;
}

// Reads the lines of log->record. A text of several lines becomes one by moving the further lines up over their tabs.
static bool read_lines(struct pglog_stderr *log, struct pglog_fields *fields) {
    char *end = log->record.data + log->record.len;
    struct pglog_text *open = NULL;
    bool first = true;
    for (char *at = log->record.data; at < end;) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((newline ? newline : end) - at);
        struct pglog_fields own = {0};
        struct line line = classify(log, at, len, first ? fields : &own);
        if (first != (line.kind == LINE_REPORT)) return false;
        if (line.kind == LINE_FOREIGN) line.kind = LINE_CONTINUED;
        if (first) {
            const char *name = pglog_severity_name(line.word->kind);
            fields->at[PGLOG_ERROR_SEVERITY] = (struct pglog_text){name, strlen(name)};
        }
        if (line.kind == LINE_CONTINUED && open) {
            char *to = (char *)log->record.data + (open->text - log->record.data) + open->len;
            *to = '\n';
            memmove(to + 1, line.text.text, line.text.len);
            open->len += 1 + line.text.len;
        } else if (line.kind != LINE_CONTINUED) {
            take_line(&line, fields, &open);
        }
        first = false;
        at += len + 1;
    }
    return !first;
}

bool pglog_stderr_read(struct pglog_stderr *log, const char *text, size_t len, struct pglog_fields *fields,
                       int64_t *time_us, struct pglog_text *plain) {
    assemble(log, text, len, time_us);
    while (log->record.len && log->record.data[log->record.len - 1] == '\n') log->record.len--;
    *plain = (struct pglog_text){log->record.data, log->record.len};
    if (!log->record.len || !read_lines(log, fields)) return false;
    if (fields->at[PGLOG_FUNC_NAME].text || fields->at[PGLOG_FILE_NAME].text) take_state_code(fields);
    take_cursor(fields);
    return true;
}
