// Records of raw-logs and raw-queries: the JSON envelope of the topic contract around a payload that the caller writes.
// The caller owns the envelope and the record; both are reused from record to record.
#ifndef DBOBS_RECORD_H
#define DBOBS_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "sink.h"

// What all records of one target and stream have in common.
struct record_envelope {
    char *host;
    char *database;     // of records that name none: the target's maintenance database
    struct buf before;  // the fields between timestamp and database, as JSON
    struct buf after;   // the fields between database and payload, tags still open
};

struct record_source {
    const char *data_type;  // "log" or "query"
    const char *host;
    int port;
    const char *database;
    const char *environment;
};

struct record {
    struct buf key;
    struct buf value;

    // What is mostly the same as in the record before.
    const struct record_envelope *envelope;
    struct buf database;  // of the key
    struct buf middle;    // the fields between timestamp and tags
    int64_t minute_us;    // of the text in `minute`
    char minute[24];      // "\"2026-03-29T00:30:"; empty at first
};

void record_envelope_init(struct record_envelope *envelope, const struct record_source *source);
// Adds a tag. "log_level" belongs to the contract and is not taken.
void record_envelope_tag(struct record_envelope *envelope, const char *name, const char *value);
void record_envelope_free(struct record_envelope *envelope);

// Begins a record; the caller then writes the payload's fields with json_put_*_field(&record->value, ...). One struct
// record is always used with one envelope, which does not change any more. database: NULL for the envelope's.
// log_level: NULL for a record without this tag. time_us: since 1970.
void record_begin(struct record *record, const struct record_envelope *envelope, int64_t time_us, const char *database,
                  size_t database_len, const char *log_level);
void record_end(struct record *record);
void record_free(struct record *record);

// Puts the ended record. One that exceeds the sink's limit is cut first.
enum sink_result record_put(struct record *record, struct sink *sink, struct batch *batch, char *error, size_t size);

// Cuts the longest strings of the record in value (in the middle, between characters) until it has at most `limit`
// bytes, and notes each in payload.truncated as {"<path>": original bytes}. Objects and lists in the payload become
// text first when cutting strings cannot be enough. Returns -1, value unchanged, when nothing helps.
int record_cut(struct buf *value, size_t limit);

#endif
