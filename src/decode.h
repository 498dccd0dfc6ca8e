// One record of any topic for people and tools: as a JSON object on one line, or as readable text. What `consume` and
// the stdout sink print. Any bytes are taken; the result is always valid UTF-8 and never fails.
#ifndef DBOBS_DECODE_H
#define DBOBS_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct decode_record {
    const char *topic;
    const char *key;  // NULL: none
    size_t key_len;
    const char *value;  // NULL: none (a tombstone)
    size_t value_len;
    bool otlp;      // the value is known to be OTLP; else it is found out
    bool consumed;  // the three below are known
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;  // since 1970; below 0: unknown
};

// Appends {"topic":..,"key":..,"value":..[,"partition":..,"offset":..,"timestamp":..]} and a newline. The value stands
// there as JSON when it is JSON, as OTLP/JSON when it is OTLP, else as a string; null when there is none.
void decode_json_line(const struct decode_record *record, struct buf *out);

// Appends one line, "<time> <topic> <key> <what it says>", and a newline. The time is the record's own, else now_us
// (microseconds since 1970). details: an OTLP value's points follow, one line each.
void decode_text_line(const struct decode_record *record, int64_t now_us, bool details, struct buf *out);

// What a value is. Text that is no UTF-8, or has control characters in it, is binary.
enum decode_kind { DECODE_NOTHING, DECODE_JSON, DECODE_OTLP, DECODE_TEXT, DECODE_BINARY };

// Appends what the value says, as decode_text_line has it, and tells what it is. Only topic, value and otlp of the
// record count.
enum decode_kind decode_saying(const struct decode_record *record, struct buf *out);

#endif
