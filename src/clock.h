// The one place that time comes from, so that tests can move it.
#ifndef DBOBS_CLOCK_H
#define DBOBS_CLOCK_H

#include <stdint.h>

// Zeroed memory is a clock that tells the true time.
struct clock {
    int64_t wall_shift_us;  // added to the wall clock by tests
};

// Microseconds since 1970-01-01T00:00:00Z.
int64_t clock_wall_us(const struct clock *clock);
// Nanoseconds of a clock that never goes back; its zero means nothing.
int64_t clock_monotonic_ns(void);

#endif
