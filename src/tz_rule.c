// Reads and applies POSIX time zone rules, with the hours beyond a day that zone files use (-167 to 167).
#include "tz_rule.h"

#include <string.h>

#include "civil.h"

// Each take_* moves *at past what it read; -1 when that is not there.

static int take_number(const char **at, int highest, int *value) {
    if (**at < '0' || **at > '9') return -1;
    *value = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        *value = *value * 10 + (**at - '0');
        if (*value > highest) return -1;
    }
    return 0;
}

// [+-]hh[:mm[:ss]] in seconds.
static int take_time(const char **at, int32_t *seconds) {
    int sign = 1, hours, minutes = 0, rest = 0;
    if (**at == '+' || **at == '-') sign = *(*at)++ == '-' ? -1 : 1;
    if (take_number(at, 167, &hours)) return -1;
    if (**at == ':') {
        ++*at;
        if (take_number(at, 59, &minutes)) return -1;
    }
    if (**at == ':') {
        ++*at;
        if (take_number(at, 59, &rest)) return -1;
    }
    *seconds = sign * (hours * 3600 + minutes * 60 + rest);
    return 0;
}

static bool is_letter(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// "CET", or "<+03>".
static int take_name(const char **at, char *name, size_t size) {
    const char *from = *at;
    size_t len;
    if (*from == '<') {
        const char *end = strchr(++from, '>');
        if (!end) return -1;
        len = (size_t)(end - from);
        *at = end + 1;
    } else {
        for (len = 0; is_letter(from[len]);) len++;
        *at = from + len;
    }
    if (len < 3 || len >= size) return -1;
    memcpy(name, from, len);
    name[len] = '\0';
    return 0;
}

static int take_change(const char **at, struct tz_change *change) {
    if (**at != ',') return -1;
    ++*at;
    *change = (struct tz_change){.kind = '0', .second = 7200};
    if (**at == 'M') {
        change->kind = *(*at)++;
        if (take_number(at, 12, &change->month) || change->month < 1 || *(*at)++ != '.') return -1;
        if (take_number(at, 5, &change->week) || change->week < 1 || *(*at)++ != '.') return -1;
        if (take_number(at, 6, &change->day)) return -1;
    } else {
        if (**at == 'J') change->kind = *(*at)++;
        if (take_number(at, 365, &change->day)) return -1;
    }
    if (**at != '/') return 0;
    ++*at;
    return take_time(at, &change->second);
}

int tz_rule_parse(struct tz_rule *rule, const char *text) {
    *rule = (struct tz_rule){0};
    int32_t west;
    if (take_name(&text, rule->standard.abbreviation, sizeof rule->standard.abbreviation)) return -1;
    if (take_time(&text, &west)) return -1;
    rule->standard.offset = -west;
    if (!*text) return 0;
    if (take_name(&text, rule->daylight.abbreviation, sizeof rule->daylight.abbreviation)) return -1;
    rule->daylight.offset = rule->standard.offset + 3600;
    if (*text && *text != ',') {
        if (take_time(&text, &west)) return -1;
        rule->daylight.offset = -west;
    }
    rule->has_daylight = true;
    // A rule without dates means those of the United States.
    const char *rest = *text ? text : ",M3.2.0,M11.1.0";
    if (take_change(&rest, &rule->begin) || take_change(&rest, &rule->end)) return -1;
    return *rest ? -1 : 0;
}

// The local second, since 1970, at which the change comes in the year.
static int64_t change_second(const struct tz_change *change, int year) {
    int64_t days;
    if (change->kind == 'M') {
        days = civil_days(year, change->month, 1);
        int weekday = (int)(((days + 4) % 7 + 7) % 7);  // 1970-01-01 was a Thursday
        days += (change->day - weekday + 7) % 7 + 7 * (change->week - 1);
        int64_t next_month = change->month == 12 ? civil_days(year + 1, 1, 1) : civil_days(year, change->month + 1, 1);
        while (days >= next_month) days -= 7;
    } else {
        days = civil_days(year, 1, 1) + change->day;
        bool leap = civil_days(year, 3, 1) - civil_days(year, 2, 1) == 29;
        // J counts from 1 and never counts February 29.
        if (change->kind == 'J') days -= !(leap && change->day >= 60);
    }
    return days * 86400 + change->second;
}

const struct tz_type *tz_rule_at(const struct tz_rule *rule, int64_t seconds) {
    if (!rule->has_daylight) return &rule->standard;
    struct civil civil;
    civil_from_us((seconds + rule->standard.offset) * 1000000, &civil);
    int64_t begin = change_second(&rule->begin, civil.year) - rule->standard.offset;
    int64_t end = change_second(&rule->end, civil.year) - rule->daylight.offset;
    bool daylight = begin < end ? seconds >= begin && seconds < end : seconds < end || seconds >= begin;
    return daylight ? &rule->daylight : &rule->standard;
}
