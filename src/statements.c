// Statements since the last collection. For each row: which entry it is, whether that is still the same incarnation,
// whether its text is known, whether a value changed; then the record.
#include "statements.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "json.h"

// The columns with a meaning; -1 where there is none.
struct roles {
    int database, query, userid, dbid, queryid, toplevel, calls, total, since;
};

// One row on its way.
struct row {
    const PGresult *result;
    int number;
    const struct roles *roles;
    uint64_t fingerprint;
    struct statement *entry;
};

static struct record_cell cell(const struct row *row, int column) {
    if (column < 0) return (struct record_cell){NULL, 0};
    return record_cell_at(row->result, row->number, column);
}

static int64_t integer(const struct row *row, int column) {
    const char *text = cell(row, column).text;
    return text ? strtoll(text, NULL, 10) : 0;
}

static void forget_text(struct statements *statements, struct statement *entry) {
    if (entry->text) texts_give_back(statements->texts, entry->text);
    entry->text = NULL;
}

static void drop(void *owner, struct statement *entry) {
    forget_text(owner, entry);
}

// Which entry it is.

static uint64_t fingerprint_of(const struct row *row) {
    uint64_t hash = 0;
    int columns = PQnfields(row->result);
    for (int column = 0; column < columns; column++) {
        if (column == row->roles->query) continue;
        struct record_cell value = cell(row, column);
        hash = value.text ? hash_bytes(hash, value.text, value.len) : hash_word(hash, 0);
    }
    return hash;
}

// Statements of others are shown without queryid to those who may not see them: each goes by its values. Of two with
// the same values the second goes by the next number.
static struct statement *find_anonymous(struct statements *statements, const struct row *row,
                                        struct statement_key *key) {
    key->flags |= STATEMENT_ANONYMOUS;
    key->queryid = (int64_t)row->fingerprint;
    struct statement *entry = statement_table_get(&statements->table, key);
    while (entry->flags & STATEMENT_SEEN) {
        key->queryid = (int64_t)((uint64_t)key->queryid + 1);
        entry = statement_table_get(&statements->table, key);
    }
    return entry;
}

static struct statement *find(struct statements *statements, const struct row *row) {
    struct statement_key key = {.userid = (uint32_t)integer(row, row->roles->userid),
                                .dbid = (uint32_t)integer(row, row->roles->dbid)};
    struct record_cell toplevel = cell(row, row->roles->toplevel);
    if (!toplevel.text || *toplevel.text == 't') key.flags = STATEMENT_TOPLEVEL;
    struct record_cell queryid = cell(row, row->roles->queryid);
    if (!queryid.text) return find_anonymous(statements, row, &key);
    key.queryid = strtoll(queryid.text, NULL, 10);
    return statement_table_get(&statements->table, &key);
}

// What tells whether the entry was evicted and came back. From version 17 on the server says since when it is there.
// Before, its total time fell then (or its calls): the bits of a positive float order as the float does.
static uint32_t incarnation_of(const struct row *row) {
    struct record_cell since = cell(row, row->roles->since);
    if (since.text) return (uint32_t)(hash_bytes(0, since.text, since.len) >> 32);
    struct record_cell total = cell(row, row->roles->total);
    float value = total.text ? fmaxf(strtof(total.text, NULL), 0) : 0;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Notes the row in its entry. Another incarnation begins anew.
static void observe(struct statements *statements, const struct row *row) {
    struct statement *entry = row->entry;
    int64_t calls = integer(row, row->roles->calls);
    uint32_t incarnation = incarnation_of(row);
    bool dated = row->roles->since >= 0;
    bool other = dated ? incarnation != entry->incarnation : incarnation < entry->incarnation;
    if (!entry->observed_us || other || calls < entry->calls) {
        forget_text(statements, entry);
        entry->flags &= STATEMENT_KEY | STATEMENT_WANTED;
        entry->observed_us = statements->time_us;
    }
    entry->calls = calls;
    entry->incarnation = incarnation;
    entry->flags |= STATEMENT_SEEN;
}

// Its text.

static void give_back_all(struct statements *statements) {
    for (uint32_t i = 0; i < statements->table.count; i++) forget_text(statements, &statements->table.entries[i]);
    statements->over = true;
}

// Takes the text over into the entry, and into scratch as it is sent.
static void learn(struct statements *statements, struct statement *entry, struct record_cell text) {
    forget_text(statements, entry);
    if (entry->flags & STATEMENT_SENT_BARE) entry->flags &= (uint16_t)~STATEMENT_SENT;
    const uint16_t of_the_text = STATEMENT_LEFT_OUT | STATEMENT_TEXTLESS | STATEMENT_SENT_BARE;
    entry->flags &= (uint16_t)~of_the_text;
    if (!text.text) {
        entry->flags |= STATEMENT_TEXTLESS;
        return;
    }
    if (statement_text_is_left_out(&statements->rules, text.text)) {
        entry->flags |= STATEMENT_LEFT_OUT;
        return;
    }
    struct buf *written = &statements->scratch;
    statement_text_write(&statements->rules, text.text, text.len, written);
    if (statements->over) return;
    entry->text = texts_take(statements->texts, written->data, written->len, statements->texts_limit);
    if (!entry->text) give_back_all(statements);
}

static void note_missing(struct statements *statements, int64_t queryid) {
    statements->missing++;
    buf_putc(&statements->missing_ids, statements->missing_ids.len ? ',' : '{');
    buf_put_int(&statements->missing_ids, queryid);
}

// The text as it is sent, a field of the payload.
static struct record_cell text_field(const struct statements *statements, const struct statement *entry) {
    static const char none[] = "\"query\":\"\"", hidden[] = "\"query\":\"<insufficient privilege>\"";
    if (entry->flags & STATEMENT_ANONYMOUS) return (struct record_cell){hidden, sizeof hidden - 1};
    if (entry->flags & (STATEMENT_TEXTLESS | STATEMENT_SENT_BARE)) return (struct record_cell){none, sizeof none - 1};
    if (entry->text) return (struct record_cell){entry->text->data, entry->text->len};
    return (struct record_cell){statements->scratch.data, statements->scratch.len};
}

// Its record.

static void write_record(struct statements *statements, const struct row *row) {
    struct record *record = &statements->record;
    struct record_cell database = cell(row, row->roles->database);
    struct record_cell text = text_field(statements, row->entry);
    record_begin(record, statements->envelope, statements->time_us, database.text, database.len, NULL);
    buf_put(&record->value, text.text, text.len);
    for (int column = 0; column < statements->plan.count; column++) {
        struct record_cell value = cell(row, column);
        if (value.text) record_plan_put(&statements->plan, column, value, &record->value);
    }
    if (!(row->entry->flags & STATEMENT_ANONYMOUS)) {
        buf_puts(&record->value, ",\"observed_since\":");
        json_put_time(&record->value, row->entry->observed_us);
    }
    buf_put(&record->value, statements->constants.data, statements->constants.len);
    record_end(record);
}

static bool is_changed(const struct statements *statements, const struct row *row) {
    const struct statement *entry = row->entry;
    if (entry->flags & STATEMENT_DONE) return false;
    return statements->full || !(entry->flags & STATEMENT_SENT) || entry->fingerprint != row->fingerprint;
}

// Brings the entry's text to where text_field finds it. False when that is not known, and must be.
static bool has_text(struct statements *statements, const struct row *row) {
    struct statement *entry = row->entry;
    if (entry->flags & STATEMENT_ANONYMOUS) return true;
    bool known = entry->text || entry->flags & (STATEMENT_LEFT_OUT | STATEMENT_TEXTLESS);
    if (row->roles->query >= 0) {
        // A text that is not kept is of use for a record only.
        if (statements->again || (!known && (!statements->over || is_changed(statements, row))))
            learn(statements, entry, cell(row, row->roles->query));
    } else if (!known) {
        note_missing(statements, entry->queryid);
        if (!statements->bare) return false;
        entry->flags |= STATEMENT_SENT_BARE;
    }
    return true;
}

static enum sink_result put_row(struct statements *statements, struct row *row, struct sink *sink, struct batch *batch,
                                char *error, size_t size) {
    row->fingerprint = fingerprint_of(row);
    struct statement *entry = row->entry = find(statements, row);
    bool first = !(entry->flags & STATEMENT_SEEN);
    observe(statements, row);
    if (first && (!statements->top || statements->ranked < statements->top)) entry->flags |= STATEMENT_WANTED;
    if (!(entry->flags & STATEMENT_WANTED)) return SINK_OK;
    bool ready = has_text(statements, row);
    bool left_out = entry->flags & STATEMENT_LEFT_OUT;
    if (first && !left_out) statements->ranked++;
    if (!ready || left_out || !is_changed(statements, row)) return SINK_OK;
    write_record(statements, row);
    enum sink_result put = record_put(&statements->record, sink, batch, error, size);
    if (put == SINK_OK) {
        entry->fingerprint = row->fingerprint;
        entry->flags |= STATEMENT_SENT | STATEMENT_DONE;
    } else if (entry->flags & STATEMENT_ANONYMOUS) {
        entry->flags &= (uint16_t)~STATEMENT_SEEN;  // it comes again, and is no second one
    }
    return put;
}

static struct roles roles_of(const PGresult *result) {
    return (struct roles){.database = record_column_of(result, "database"),
                          .query = record_column_of(result, "query"),
                          .userid = record_column_of(result, "userid"),
                          .dbid = record_column_of(result, "dbid"),
                          .queryid = record_column_of(result, "queryid"),
                          .toplevel = record_column_of(result, "toplevel"),
                          .calls = record_column_of(result, "calls"),
                          .total = record_column_of(result, "total_time_ms"),
                          .since = record_column_of(result, "stats_since")};
}

enum sink_result statements_put(struct statements *statements, const PGresult *result, int *row, struct sink *sink,
                                struct batch *batch, char *error, size_t size) {
    const struct roles roles = roles_of(result);
    record_plan_make(&statements->plan, result);
    if (roles.database >= 0) statements->plan.columns[roles.database].kind = RECORD_HIDDEN;
    if (roles.query >= 0) statements->plan.columns[roles.query].kind = RECORD_HIDDEN;
    for (; *row < PQntuples(result); ++*row) {
        struct row one = {.result = result, .number = *row, .roles = &roles};
        enum sink_result put = put_row(statements, &one, sink, batch, error, size);
        if (put != SINK_OK) return put;
    }
    return SINK_OK;
}

// Collections.

void statements_begin(struct statements *statements, int64_t time_us, bool full, bool bare, bool again) {
    statements->time_us = time_us;
    statements->full = full;
    statements->bare = bare;
    statements->again = again;
    if (again) statements->over = false;
    statements->ranked = statements->missing = 0;
    buf_clear(&statements->missing_ids);
    const uint16_t of_one_collection = STATEMENT_SEEN | STATEMENT_DONE | STATEMENT_WANTED;
    for (uint32_t i = 0; i < statements->table.count; i++)
        statements->table.entries[i].flags &= (uint16_t)~of_one_collection;
}

bool statements_set_constants(struct statements *statements, const PGresult *result) {
    buf_clear(&statements->constants);
    if (PQntuples(result) == 0) return false;
    record_plan_make(&statements->plan, result);
    for (int column = 0; column < statements->plan.count; column++) {
        struct record_cell value = record_cell_at(result, 0, column);
        if (value.text) record_plan_put(&statements->plan, column, value, &statements->constants);
    }
    int reset = record_column_of(result, "stats_reset");
    if (reset < 0 || PQgetisnull(result, 0, reset)) return false;
    struct record_cell value = record_cell_at(result, 0, reset);
    uint64_t before = statements->reset_at;
    statements->reset_at = hash_bytes(0, value.text, value.len);
    if (!before || before == statements->reset_at) return false;
    statement_table_sweep(&statements->table, 0, drop, statements);
    return true;
}

void statements_end(struct statements *statements, bool complete) {
    if (complete) statement_table_sweep(&statements->table, STATEMENT_SEEN, drop, statements);
}

static void free_list(char **list) {
    for (char **text = list; text && *text; text++) free(*text);
    free(list);
}

void statements_free(struct statements *statements) {
    statement_table_sweep(&statements->table, 0, drop, statements);
    statement_table_free(&statements->table);
    if (statements->texts) texts_unref(statements->texts);
    free_list(statements->rules.exclude);
    free_list(statements->rules.keep);
    record_plan_free(&statements->plan);
    record_free(&statements->record);
    buf_free(&statements->missing_ids);
    buf_free(&statements->constants);
    buf_free(&statements->scratch);
    *statements = (struct statements){0};
}
