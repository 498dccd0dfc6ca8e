// The tracker of one server's pg_stat_statements: takes the rows of a read, tells which statements are new or changed
// since they were last sent, and puts a record of each. Texts come from a store that many trackers share.
//
// A collection is begin, one or more reads (rows with or without the column "query"), end. A statement whose text is
// not known is withheld until a read brings it; its counters are cumulative, so nothing is lost meanwhile.
#ifndef DBOBS_STATEMENTS_H
#define DBOBS_STATEMENTS_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"
#include "record_plan.h"
#include "statement_table.h"
#include "statement_text.h"
#include "texts.h"

struct statements {
    // Set by the owner, freed with statements_free.
    const struct record_envelope *envelope;  // must outlive it
    struct texts *texts;
    struct statement_text_rules rules;
    size_t texts_limit;  // bytes of the store past which this tracker keeps no texts
    size_t top;          // rows come in order, and records are sent of so many; 0: of all

    // Of the collection, see statements_begin.
    int64_t time_us;
    bool full, bare, again;

    bool over;          // its texts did not fit: it keeps none
    uint64_t reset_at;  // hash of the constants' stats_reset; 0: none was seen
    size_t ranked;      // rows so far that records are sent of, now or when they change
    size_t missing;     // statements withheld, or sent bare, in this collection
    struct buf missing_ids, constants, scratch;
    struct statement_table table;
    struct record_plan plan;
    struct record record;
};

// Begins a collection. full: every statement is sent, changed or not. bare: those whose text is not known are sent
// without one instead of being withheld. again: texts in the rows take the place of those that are known, and the store
// is tried again. time_us: since 1970.
void statements_begin(struct statements *statements, int64_t time_us, bool full, bool bare, bool again);

// The first row's columns become fields of every record. Returns true when its stats_reset differs from the last one
// seen: then all that was known is forgotten.
bool statements_set_constants(struct statements *statements, const PGresult *result);

// Takes the rows from *row on and moves *row behind the last one taken. Columns with a meaning: userid, dbid, queryid,
// toplevel, calls, total_time_ms, stats_since; "database" gives the record its database; "query" is the text. Returns
// as record_rows_put does.
enum sink_result statements_put(struct statements *statements, const PGresult *result, int *row, struct sink *sink,
                                struct batch *batch, char *error, size_t size);

// Ends a collection. complete: a read brought all statements, so that the others can be forgotten.
void statements_end(struct statements *statements, bool complete);

void statements_free(struct statements *statements);

#endif
