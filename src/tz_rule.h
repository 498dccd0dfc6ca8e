// POSIX time zone rules, "CET-1CEST,M3.5.0,M10.5.0/3": what holds after a zone file's last transition. No state.
#ifndef DBOBS_TZ_RULE_H
#define DBOBS_TZ_RULE_H

#include <stdbool.h>
#include <stdint.h>

// One abbreviation with its offset.
struct tz_type {
    int32_t offset;  // seconds to add to UTC
    char abbreviation[16];
};

// A day of the year and a second of that day at which daylight saving time begins or ends.
struct tz_change {
    char kind;  // 'M', 'J' or '0' (a day without letter)
    int month, week, day;
    int32_t second;
};

struct tz_rule {
    struct tz_type standard, daylight;
    bool has_daylight;
    struct tz_change begin, end;  // of daylight saving time
};

// 0, or -1 when the text is no rule.
int tz_rule_parse(struct tz_rule *rule, const char *text);
// What holds at an instant, in seconds since 1970.
const struct tz_type *tz_rule_at(const struct tz_rule *rule, int64_t seconds);

#endif
