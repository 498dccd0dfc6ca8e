// csvlog by its grammar: columns are empty, plain, or quoted with "" for a quote, and a record ends at the newline
// outside of quotes. A server that died leaves half a record, whose open quote would turn all that follows inside out:
// so at each newline within quotes it is looked whether a record of the right shape begins there. It can not be one
// that a message quotes, for then its own quotes are doubled and it is no record by the grammar.
#include "pglog_csv.h"

#include <string.h>

enum { MIN_COLUMNS = 23, MAX_COLUMNS = 35 };  // later versions append columns

struct column {
    const char *text;
    size_t len;
    bool quoted;
};

// Whether a quoted column may end before `at`.
static bool ends_column(const char *at, const char *end) {
    if (at < end && *at == '\r') at++;
    return at == end || *at == ',' || *at == '\n';
}

// Goes over the column at `at`. Returns what is behind it (a comma, a newline, or the end), NULL when it is no column.
// *open: the text ends within quotes.
static const char *skip_column(const char *at, const char *end, struct column *column, bool *open) {
    *open = false;
    *column = (struct column){at, 0, at < end && *at == '"'};
    if (!column->quoted) {
        const char *from = at;
        while (at < end && *at != ',' && *at != '\n') {
            if (*at == '"') return NULL;
            at++;
        }
        column->len = (size_t)(at - from);
        return at;
    }
    column->text = ++at;
    for (;;) {
        const char *quote = memchr(at, '"', (size_t)(end - at));
        if (!quote) {
            *open = true;
            return end;
        }
        at = quote + 1;
        if (at < end && *at == '"') {
            at++;
            continue;
        }
        column->len = (size_t)(quote - column->text);
        if (!ends_column(at, end)) return NULL;
        return at < end && *at == '\r' ? at + 1 : at;
    }
}

static bool is_number(const struct column *column) {
    for (size_t i = 0; i < column->len; i++)
        if (column->text[i] < '0' || column->text[i] > '9') return false;
    return column->len > 0 && !column->quoted;
}

// Whether the columns that always have a shape have it: half a record and the next one on its line may be as many, when
// less than 13 are of the half.
static bool has_shape(const struct column *columns) {
    enum { PID = 3, LINE_NUM = 6, TXID = 10, STATE_CODE = 12 };
    return is_number(&columns[PID]) && is_number(&columns[LINE_NUM]) && is_number(&columns[TXID]) &&
           columns[STATE_CODE].len == 5 && !columns[STATE_CODE].quoted;
}

// Reads the columns of a record up to its newline or the end of the text. Returns how many there are; 0 when it is no
// record; -1 when it is not complete. *after is behind the last column.
static int read_columns(const char *text, const char *end, struct column columns[MAX_COLUMNS], const char **after) {
    const char *at = text;
    for (int count = 0; count < MAX_COLUMNS; at++) {
        bool open;
        at = skip_column(at, end, &columns[count], &open);
        if (!at) return 0;
        if (open) return -1;
        count++;
        if (at < end && *at == ',') continue;
        *after = at;
        if (count >= MIN_COLUMNS) return has_shape(columns) ? count : 0;
        return at == end ? -1 : 0;
    }
    return 0;
}

// "2026-03-29 02:30:00.123 CEST,": what each record begins with.
static bool begins_record(const char *text, const char *end) {
    static const char shape[] = "0000-00-00 00:00:00.000 ";
    if (end - text <= (ptrdiff_t)sizeof shape) return false;
    for (size_t i = 0; i + 1 < sizeof shape; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (shape[i] == '0' ? !digit : text[i] != shape[i]) return false;
    }
    return true;
}

// Whether a whole record begins at text.
static bool is_record(const char *text, const char *end) {
    struct column columns[MAX_COLUMNS];
    const char *after;
    return begins_record(text, end) && read_columns(text, end, columns, &after) > 0 && after < end;
}

// The place of the next newline from `at` on behind which a record begins; NULL when there is none.
static const char *next_record(const char *at, const char *end, size_t *scanned, const char *text) {
    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        if (is_record(at + 1, end)) return at;
        at++;
        // What may still become the beginning of a record is looked at again.
        if (end - at > 64 && !begins_record(at, end)) *scanned = (size_t)(at - text);
    }
    return NULL;
}

enum pglog_csv_result pglog_csv_cut(const char *text, size_t len, size_t *scanned, size_t *end) {
    const char *limit = text + len, *after;
    struct column columns[MAX_COLUMNS];
    int count = begins_record(text, limit) ? read_columns(text, limit, columns, &after) : 0;
    if (count > 0 && after < limit) {
        *end = (size_t)(after - text) + 1;
        return PGLOG_CSV_RECORD;
    }
    if (count != 0) {
        // Not complete, or never to be: then the next record tells.
        const char *newline = next_record(text + *scanned, limit, scanned, text);
        if (!newline) return PGLOG_CSV_INCOMPLETE;
        *end = (size_t)(newline - text) + 1;
        return PGLOG_CSV_BROKEN;
    }
    const char *newline = memchr(text, '\n', len);
    if (!newline) return PGLOG_CSV_INCOMPLETE;
    *end = (size_t)(newline - text) + 1;
    return PGLOG_CSV_BROKEN;
}

// The text of a column; NULL when it is empty and not quoted, which is csvlog's NULL.
static struct pglog_text text_of(const struct column *column, bool crlf, struct buf *unquoted) {
    if (!column->quoted) return (struct pglog_text){column->len ? column->text : NULL, column->len};
    if (!memchr(column->text, '"', column->len) && !(crlf && memchr(column->text, '\r', column->len)))
        return (struct pglog_text){column->text, column->len};
    size_t from = unquoted->len;
    for (size_t i = 0; i < column->len; i++) {
        if (crlf && column->text[i] == '\r' && i + 1 < column->len && column->text[i + 1] == '\n') continue;
        buf_putc(unquoted, column->text[i]);
        if (column->text[i] == '"') i++;
    }
    return (struct pglog_text){unquoted->data + from, unquoted->len - from};
}

// "10.0.0.1:5432", "[local]"
static void split_address(struct pglog_fields *fields, struct pglog_text address) {
    const char *colon = address.len ? memrchr(address.text, ':', address.len) : NULL;
    fields->at[PGLOG_REMOTE_HOST] = address;
    if (!colon) return;
    fields->at[PGLOG_REMOTE_HOST].len = (size_t)(colon - address.text);
    fields->at[PGLOG_REMOTE_PORT] = (struct pglog_text){colon + 1, address.len - (size_t)(colon + 1 - address.text)};
}

bool pglog_csv_read(const char *text, size_t len, struct buf *unquoted, struct pglog_fields *fields) {
    // csvlog's columns in their order (PostgreSQL's csvlog.c); ADDRESS and LOCATION are two and three fields of
    // jsonlog.
    enum { ADDRESS = PGLOG_FIELD_COUNT, LOCATION };
    static const unsigned char order[] = {
        PGLOG_TIMESTAMP,
        PGLOG_USER,
        PGLOG_DBNAME,
        PGLOG_PID,
        ADDRESS,
        PGLOG_SESSION_ID,
        PGLOG_LINE_NUM,
        PGLOG_PS,
        PGLOG_SESSION_START,
        PGLOG_VXID,
        PGLOG_TXID,
        PGLOG_ERROR_SEVERITY,
        PGLOG_STATE_CODE,
        PGLOG_MESSAGE,
        PGLOG_DETAIL,
        PGLOG_HINT,
        PGLOG_INTERNAL_QUERY,
        PGLOG_INTERNAL_POSITION,
        PGLOG_CONTEXT,
        PGLOG_STATEMENT,
        PGLOG_CURSOR_POSITION,
        LOCATION,
        PGLOG_APPLICATION_NAME,
        PGLOG_BACKEND_TYPE,
        PGLOG_LEADER_PID,
        PGLOG_QUERY_ID,
    };
    struct column columns[MAX_COLUMNS];
    const char *after;
    bool crlf = len && text[len - 1] == '\r';
    len -= crlf;
    int count = begins_record(text, text + len) ? read_columns(text, text + len, columns, &after) : 0;
    if (count <= 0 || after != text + len) return false;
    // Room for all beforehand: the fields point into it.
    buf_clear(unquoted);
    buf_reserve(unquoted, len);
    for (int i = 0; i < count && i < (int)sizeof order; i++) {
        struct pglog_text value = text_of(&columns[i], crlf, unquoted);
        if (order[i] == ADDRESS) split_address(fields, value);
        else if (order[i] == LOCATION) pglog_take_location(fields, value);
        else fields->at[order[i]] = value;
    }
    // A session without a name has an empty one here, and none in jsonlog.
    if (!fields->at[PGLOG_APPLICATION_NAME].len) fields->at[PGLOG_APPLICATION_NAME] = (struct pglog_text){0};
    return true;
}
