// Classifies records in the contract's order: state codes first, then what only the (English) text tells.
#include "pglog_event.h"

#include <stdbool.h>
#include <string.h>

#include "find.h"
#include "json.h"
#include "pglog_figures.h"

// Inlined, for the length of a literal is then known and its comparison is one of words.
#define INLINED static inline __attribute__((always_inline))

INLINED bool starts(struct pglog_text text, const char *prefix) {
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.text, prefix, len) == 0;
}

INLINED bool equals(struct pglog_text text, const char *other) {
    return text.len == strlen(other) && starts(text, other);
}

// The place of `word` in the text; NULL when it is not there.
static const char *find(struct pglog_text text, const char *word) {
    return text.len ? find_word(text.text, text.len, word, strlen(word)) : NULL;
}

// What lies behind a place of the text.
static struct pglog_text rest_from(struct pglog_text text, const char *at) {
    return (struct pglog_text){at, (size_t)(text.text + text.len - at)};
}

// The word behind `before`, up to the next blank; without text when there is none.
static struct pglog_text word_after(struct pglog_text text, const char *before) {
    const char *at = find(text, before);
    if (!at) return (struct pglog_text){0};
    struct pglog_text word = rest_from(text, at + strlen(before));
    const char *blank = memchr(word.text, ' ', word.len);
    if (blank) word.len = (size_t)(blank - word.text);
    return word;
}

static void put_text(struct buf *out, const char *name, struct pglog_text text) {
    if (text.text) json_put_string_field(out, name, text.text, text.len);
}

static void put_word(struct buf *out, const char *name, const char *word) {
    json_put_string_field(out, name, word, strlen(word));
}

// A connection through a Unix socket has no address.
static void put_client(struct buf *out, struct pglog_text client) {
    if (client.len && !equals(client, "[local]")) put_text(out, "client_addr", client);
}

enum pglog_level pglog_level(struct pglog_text severity) {
    if (starts(severity, "DEBUG")) return PGLOG_LEVEL_DEBUG;
    if (equals(severity, "WARNING")) return PGLOG_LEVEL_WARNING;
    if (equals(severity, "ERROR")) return PGLOG_LEVEL_ERROR;
    if (equals(severity, "FATAL") || equals(severity, "PANIC")) return PGLOG_LEVEL_CRITICAL;
    return PGLOG_LEVEL_INFO;
}

const char *pglog_level_name(enum pglog_level level) {
    static const char *const names[] = {"debug", "info", "warning", "error", "critical", NULL};
    return names[level];
}

const char *pglog_event_name(enum pglog_event event) {
    static const char *const names[] = {"authentication_failure",
                                        "deadlock",
                                        "plan",
                                        "slow_query",
                                        "query_error",
                                        "connection",
                                        "checkpoint",
                                        "vacuum",
                                        "lock_wait",
                                        "temp_file",
                                        "log",
                                        NULL};
    return names[event];
}

static bool is_failure(struct pglog_text severity) {
    return equals(severity, "ERROR") || equals(severity, "FATAL") || equals(severity, "PANIC");
}

static void put_authentication_failure(struct buf *out, const struct pglog_fields *fields) {
    put_text(out, "error_code", fields->at[PGLOG_STATE_CODE]);
    put_text(out, "error_message", fields->at[PGLOG_MESSAGE]);
    put_text(out, "user", fields->at[PGLOG_USER]);
    put_client(out, fields->at[PGLOG_REMOTE_HOST]);
}

// Without a state code (a stderr log whose prefix has no %e) the text tells.
static bool is_authentication_failure(const struct pglog_fields *fields) {
    struct pglog_text code = fields->at[PGLOG_STATE_CODE], message = fields->at[PGLOG_MESSAGE];
    if (code.text) return code.len == 5 && starts(code, "28");
    return equals(fields->at[PGLOG_ERROR_SEVERITY], "FATAL") &&
           (find(message, " authentication failed for user \"") || starts(message, "no pg_hba.conf entry for ") ||
            starts(message, "pg_hba.conf rejects "));
}

static bool is_deadlock(const struct pglog_fields *fields) {
    struct pglog_text code = fields->at[PGLOG_STATE_CODE];
    return code.text ? equals(code, "40P01") : equals(fields->at[PGLOG_MESSAGE], "deadlock detected");
}

static void put_deadlock(struct buf *out, const struct pglog_fields *fields) {
    put_text(out, "error_message", fields->at[PGLOG_MESSAGE]);
    put_text(out, "detail", fields->at[PGLOG_DETAIL]);
    put_text(out, "query", fields->at[PGLOG_STATEMENT]);
}

static void put_query_error(struct buf *out, const struct pglog_fields *fields) {
    put_text(out, "error_code", fields->at[PGLOG_STATE_CODE]);
    put_text(out, "error_message", fields->at[PGLOG_MESSAGE]);
    put_text(out, "query", fields->at[PGLOG_STATEMENT]);
}

// The plan behind "duration: 1.234 ms  plan:\n"; without text when the message is no auto_explain's.
static struct pglog_text plan_of(struct pglog_text message) {
    static const char mark[] = " ms  plan:\n";
    const char *at = starts(message, "duration: ") ? find(message, mark) : NULL;
    if (!at || memchr(message.text, '\n', (size_t)(at - message.text))) return (struct pglog_text){0};
    return rest_from(message, at + strlen(mark));
}

static void put_plan(struct buf *out, const struct pglog_fields *fields, struct pglog_text plan) {
    const char *format = "text";
    if (starts(plan, "{")) format = "json";
    else if (starts(plan, "<explain")) format = "xml";
    else if (starts(plan, "Query Text: \"") && find(plan, "\nPlan:")) format = "yaml";
    pglog_put_figures(out, fields->at[PGLOG_MESSAGE], pglog_duration_figures);
    put_word(out, "format", format);
    if (strcmp(format, "json") == 0 && json_valid(plan.text, plan.len)) {
        json_put_name(out, "plan");
        json_put_compact(out, plan.text, plan.len);
    } else {
        put_text(out, "plan", plan);
    }
}

// The contract's action of a connection message; NULL for other messages.
static const char *connection_action(struct pglog_text message) {
    if (starts(message, "connection received: ")) return "received";
    if (starts(message, "connection authenticated: ")) return "authenticated";
    if (starts(message, "connection authorized: ") || starts(message, "replication connection authorized: "))
        return "authorized";
    return starts(message, "disconnection: session time: ") ? "closed" : NULL;
}

// Milliseconds of "session time: 0:01:02.345"; -1 when that does not stand there.
static int64_t session_ms(struct pglog_text message) {
    struct pglog_text time = word_after(message, "session time: ");
    int64_t parts[4] = {0};  // hours, minutes, seconds, thousandths
    size_t part = 0;
    for (size_t i = 0; i < time.len; i++) {
        if (time.text[i] >= '0' && time.text[i] <= '9' && parts[part] < 100000000)
            parts[part] = parts[part] * 10 + (time.text[i] - '0');
        else if (part < 3 && time.text[i] == "::."[part]) part++;
        else return -1;
    }
    return part == 3 ? ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1000 + parts[3] : -1;
}

static void put_connection(struct buf *out, const struct pglog_fields *fields, const char *action) {
    struct pglog_text user = fields->at[PGLOG_USER];
    struct pglog_text client = fields->at[PGLOG_REMOTE_HOST];
    if (!user.text) user = word_after(fields->at[PGLOG_MESSAGE], " user=");
    if (!client.text) client = word_after(fields->at[PGLOG_MESSAGE], "host=");
    put_word(out, "action", action);
    put_text(out, "user", user);
    put_client(out, client);
    int64_t duration = strcmp(action, "closed") == 0 ? session_ms(fields->at[PGLOG_MESSAGE]) : -1;
    if (duration >= 0) json_put_int_field(out, "duration_ms", duration);
}

static void put_figures_of(struct buf *out, struct pglog_text message, const struct pglog_figure *figures) {
    put_text(out, "error_message", message);
    pglog_put_figures(out, message, figures);
}

static bool is_checkpoint(struct pglog_text message) {
    return starts(message, "checkpoint starting: ") || starts(message, "checkpoint complete: ") ||
           starts(message, "restartpoint starting: ") || starts(message, "restartpoint complete: ") ||
           starts(message, "checkpoints are occurring too frequently ");
}

static bool is_vacuum(struct pglog_text message) {
    return starts(message, "automatic ") && find(message, " of table \"");
}

static void put_vacuum(struct buf *out, struct pglog_text message) {
    put_figures_of(out, message, pglog_vacuum_figures);
    put_word(out, "action", starts(message, "automatic analyze ") ? "analyze" : "vacuum");
    struct pglog_text table = rest_from(message, find(message, " of table \"") + strlen(" of table \""));
    const char *end = memchr(table.text, '"', table.len);
    if (end) table.len = (size_t)(end - table.text);
    put_text(out, "table", table);
}

static bool is_lock_wait(struct pglog_text message) {
    if (!starts(message, "process ") || !find(message, " after ")) return false;
    return find(message, " still waiting for ") || find(message, " acquired ") || find(message, " deadlock ") ||
           find(message, " failed to acquire ");
}

static void put_temp_file(struct buf *out, struct pglog_text message) {
    put_figures_of(out, message, pglog_temp_file_figures);
    struct pglog_text path = word_after(message, "temporary file: path \"");
    const char *end = path.len ? memchr(path.text, '"', path.len) : NULL;
    if (!end) return;
    path.len = (size_t)(end - path.text);
    put_text(out, "path", path);
}

enum pglog_event pglog_event_of(const struct pglog_fields *fields) {
    struct pglog_text message = fields->at[PGLOG_MESSAGE];
    if (is_authentication_failure(fields)) return PGLOG_EVENT_AUTHENTICATION_FAILURE;
    if (is_deadlock(fields)) return PGLOG_EVENT_DEADLOCK;
    if (plan_of(message).text) return PGLOG_EVENT_PLAN;
    if (starts(message, "duration: ")) return PGLOG_EVENT_SLOW_QUERY;
    if (is_failure(fields->at[PGLOG_ERROR_SEVERITY]) && fields->at[PGLOG_STATEMENT].text)
        return PGLOG_EVENT_QUERY_ERROR;
    if (connection_action(message)) return PGLOG_EVENT_CONNECTION;
    if (is_checkpoint(message)) return PGLOG_EVENT_CHECKPOINT;
    if (is_vacuum(message)) return PGLOG_EVENT_VACUUM;
    if (is_lock_wait(message)) return PGLOG_EVENT_LOCK_WAIT;
    if (starts(message, "temporary file: path ")) return PGLOG_EVENT_TEMP_FILE;
    return PGLOG_EVENT_LOG;
}

void pglog_put_event(struct buf *out, const struct pglog_fields *fields, enum pglog_event event) {
    struct pglog_text message = fields->at[PGLOG_MESSAGE];
    put_word(out, "event_type", pglog_event_name(event));
    switch (event) {
    case PGLOG_EVENT_AUTHENTICATION_FAILURE:
        put_authentication_failure(out, fields);
        break;
    case PGLOG_EVENT_DEADLOCK:
        put_deadlock(out, fields);
        break;
    case PGLOG_EVENT_PLAN:
        put_plan(out, fields, plan_of(message));
        break;
    case PGLOG_EVENT_SLOW_QUERY:
        put_figures_of(out, message, pglog_duration_figures);
        break;
    case PGLOG_EVENT_QUERY_ERROR:
        put_query_error(out, fields);
        break;
    case PGLOG_EVENT_CONNECTION:
        put_connection(out, fields, connection_action(message));
        break;
    case PGLOG_EVENT_CHECKPOINT:
        put_figures_of(out, message, pglog_checkpoint_figures);
        break;
    case PGLOG_EVENT_VACUUM:
        put_vacuum(out, message);
        break;
    case PGLOG_EVENT_LOCK_WAIT:
        put_figures_of(out, message, pglog_lock_wait_figures);
        break;
    case PGLOG_EVENT_TEMP_FILE:
        put_temp_file(out, message);
        break;
    case PGLOG_EVENT_LOG:
    case PGLOG_EVENT_COUNT:
        break;
    }
}
