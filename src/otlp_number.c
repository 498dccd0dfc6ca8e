// Integers by hand, since each value of each row passes here; doubles by the C library.
#include "otlp_number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAFE_DIGITS = 18 };  // any so many digits fit into 64 bits

static unsigned digit_at(const char *text) {
    return (unsigned)(unsigned char)*text - '0';
}

static int parse_integer(const char *text, int64_t *value) {
    bool negative = *text == '-';
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t sum = 0;
    unsigned digit;
    text += negative;
    if (digit_at(text) > 9) return -1;
    for (const char *safe = text + SAFE_DIGITS; text < safe && (digit = digit_at(text)) <= 9; text++)
        sum = sum * 10 + digit;
    for (; (digit = digit_at(text)) <= 9; text++) {
        if (sum > (limit - digit) / 10) return -1;
        sum = sum * 10 + digit;
    }
    if (*text == '.') text += 1 + strspn(text + 1, "0123456789");
    if (*text) return -1;
    *value = negative ? (int64_t)-sum : (int64_t)sum;
    return 0;
}

int otlp_parse_number(const char *text, bool is_double, struct series_value *value) {
    value->is_double = is_double;
    if (!is_double) return parse_integer(text, &value->integer);
    char *end;
    value->real = strtod(text, &end);
    return *text && !*end && isfinite(value->real) ? 0 : -1;
}
