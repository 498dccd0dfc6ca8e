// The calendar, by whole days and 400-year cycles. Nothing can fail but reading a text.
#include "civil.h"

#include <stdbool.h>

#define DAY_US INT64_C(86400000000)

int64_t civil_days(int year, int month, int day) {
    // The year begins in March, so that the leap day is its last.
    int64_t y = (int64_t)year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

int64_t civil_to_us(const struct civil *civil) {
    int64_t seconds = civil_days(civil->year, civil->month, civil->day) * 86400;
    seconds += civil->hour * 3600 + civil->minute * 60 + civil->second;
    return seconds * 1000000 + civil->microsecond;
}

void civil_from_us(int64_t time_us, struct civil *civil) {
    int64_t days = time_us / DAY_US - (time_us % DAY_US < 0);
    int64_t rest = time_us - days * DAY_US;
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    civil->day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    civil->month = (int)(month < 10 ? month + 3 : month - 9);
    civil->year = (int)(year_of_era + era * 400 + (civil->month <= 2));
    civil->hour = (int)(rest / 3600000000);
    civil->minute = (int)(rest / 60000000 % 60);
    civil->second = (int)(rest / 1000000 % 60);
    civil->microsecond = (int)(rest % 1000000);
}

// Reads exactly `digits` digits; false when there are fewer.
static bool take_digits(const char *text, int digits, int *value) {
    *value = 0;
    for (int i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *value = *value * 10 + (text[i] - '0');
    }
    return true;
}

size_t civil_parse(const char *text, size_t len, struct civil *civil) {
    if (len < 19 || text[4] != '-' || text[7] != '-' || (text[10] != ' ' && text[10] != 'T')) return 0;
    if (text[13] != ':' || text[16] != ':') return 0;
    if (!take_digits(text, 4, &civil->year) || !take_digits(text + 5, 2, &civil->month)) return 0;
    if (!take_digits(text + 8, 2, &civil->day) || !take_digits(text + 11, 2, &civil->hour)) return 0;
    if (!take_digits(text + 14, 2, &civil->minute) || !take_digits(text + 17, 2, &civil->second)) return 0;
    if (civil->month < 1 || civil->month > 12 || civil->day < 1 || civil->day > 31) return 0;
    if (civil->hour > 24 || civil->minute > 59 || civil->second > 60) return 0;
    size_t at = 19;
    civil->microsecond = 0;
    if (at + 1 < len && text[at] == '.' && text[at + 1] >= '0' && text[at + 1] <= '9') {
        int scale = 100000;
        for (at++; at < len && text[at] >= '0' && text[at] <= '9' && scale; at++, scale /= 10)
            civil->microsecond += (text[at] - '0') * scale;
    }
    return at;
}
