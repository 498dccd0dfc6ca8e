// Fuzz target: any bytes as a TZif file, and as a POSIX rule. A zone that is taken answers every local time, and an
// instant it gives is no more than a week from the local time.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct tz *tz) {
    static const char *const abbreviations[] = {"UTC", "CET", "CEST", "LMT", "EST", "EDT", "-00", "+1030"};
    for (int year = 1880; year < 2200; year += 13) {
        for (size_t i = 0; i < sizeof abbreviations / sizeof *abbreviations; i++) {
            const struct civil local = {year, 1 + year % 12, 1 + year % 28, year % 24, 30, 0, 1};
            int64_t time_us;
            if (tz_instant(tz, &local, abbreviations[i], strlen(abbreviations[i]), &time_us)) continue;
            if (llabs(time_us - civil_to_us(&local)) > INT64_C(168) * 3600000000) abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[200], error[256];
    struct tz *tz = tz_parse(data, size);
    if (tz) check(tz);
    tz_free(tz);
    if (size >= sizeof text) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (strchr(text, '/') && !strchr(text, ',')) return 0;  // a name would be looked up on disk
    tz = tz_load(text, error, sizeof error);
    if (tz) check(tz);
    tz_free(tz);
    return 0;
}
