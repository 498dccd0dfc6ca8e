// Random numbers of a load test: one generator for each connection, seeded, so that a run can be repeated. The
// distributions are those of pgbench's and sysbench's functions of the same names.
#ifndef DBOBS_RANDOM_H
#define DBOBS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state[4];
};

// `stream` numbers generators that share a seed; each has its own sequence.
void random_seed(struct random *random, uint64_t seed, uint64_t stream);
// [0, 1)
double random_real(struct random *random);
// Each of low..high (inclusive, low <= high) is as likely as any other.
int64_t random_uniform(struct random *random, int64_t low, int64_t high);
// pgbench's: a bell around the middle, cut off at `parameter` standard deviations (at least 2).
int64_t random_gaussian(struct random *random, int64_t low, int64_t high, double parameter);
// pgbench's: low is the most likely; the larger `parameter` (> 0), the more so.
int64_t random_exponential(struct random *random, int64_t low, int64_t high, double parameter);
// low is the most likely; value n is n^parameter times less so. parameter: 0.001 to 1000, not 1.
int64_t random_zipfian(struct random *random, int64_t low, int64_t high, double parameter);
// sysbench's default: three quarters of all go to the one percent around the middle, the rest is a bell.
int64_t random_special(struct random *random, int64_t low, int64_t high);
// Time to the next of events that come at random, `mean` apart in the mean.
double random_interval(struct random *random, double mean);
// Replaces in text: # by a digit, @ by a letter a-z.
void random_pattern(struct random *random, char *text, size_t len);

#endif
