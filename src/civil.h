// Dates of the Gregorian calendar and instants, in both directions, without time zones (see tz.h). No state.
#ifndef DBOBS_CIVIL_H
#define DBOBS_CIVIL_H

#include <stddef.h>
#include <stdint.h>

struct civil {
    int year, month, day;  // as people count: month and day from 1
    int hour, minute, second, microsecond;
};

// Days since 1970-01-01.
int64_t civil_days(int year, int month, int day);
int64_t civil_to_us(const struct civil *civil);
void civil_from_us(int64_t time_us, struct civil *civil);
// Reads "2026-03-29 02:30:00.123456" (or with a T; the fraction has 0 to 6 digits). Returns how many characters it
// took, 0 when that is no time.
size_t civil_parse(const char *text, size_t len, struct civil *civil);

#endif
