// Wall clock and monotonic clock. No state but the caller's struct clock.
#include "clock.h"

#include <time.h>

int64_t clock_wall_us(const struct clock *clock) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + clock->wall_shift_us;
}

int64_t clock_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
