// Time zones: local time with its abbreviation to an instant, from TZif files or POSIX rules. A zone is owned by
// whoever loaded it; nothing is shared or static, the environment variable TZ plays no part.
#ifndef DBOBS_TZ_H
#define DBOBS_TZ_H

#include <stddef.h>
#include <stdint.h>

#include "civil.h"

struct tz;

// The zone by name ("Europe/Berlin") or by POSIX rule ("CET-1CEST,M3.5.0,M10.5.0/3"): from the host's zone files, else
// from those in the binary. NULL with the cause in `error` when there is none or it is damaged.
struct tz *tz_load(const char *name, char *error, size_t size);
// The same from the content of a TZif file. NULL when it is damaged.
struct tz *tz_parse(const unsigned char *data, size_t len);
void tz_free(struct tz *tz);

// The instant, in microseconds since 1970, at which clocks in the zone showed `local` under the abbreviation; that
// decides when an hour comes twice. "UTC", "GMT" and numbers ("+03", "-0330") are understood without a zone (tz NULL).
// Returns -1 when the zone never shows this.
int tz_instant(const struct tz *tz, const struct civil *local, const char *abbreviation, size_t len, int64_t *time_us);

#endif
