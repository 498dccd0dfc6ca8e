// Random numbers of a load test, see random.h. The generator is xoshiro256** (Blackman and Vigna, public domain);
// zipfian numbers come by Hoermann and Derflinger's rejection-inversion, in constant time for any range.
#include "random.h"

#include <math.h>
#include <stdbool.h>

static uint64_t splitmix(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void random_seed(struct random *random, uint64_t seed, uint64_t stream) {
    uint64_t state = stream;
    state = seed ^ splitmix(&state);
    for (int i = 0; i < 4; i++) random->state[i] = splitmix(&state);
}

static uint64_t rotate(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

static uint64_t next(struct random *random) {
    uint64_t *s = random->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double random_real(struct random *random) {
    return (double)(next(random) >> 11) * 0x1p-53;
}

// (0, 1]: may be given to log.
static double positive(struct random *random) {
    return 1 - random_real(random);
}

int64_t random_uniform(struct random *random, int64_t low, int64_t high) {
    uint64_t range = (uint64_t)high - (uint64_t)low + 1;
    if (range == 0) return (int64_t)next(random);
    uint64_t unfair = -range % range, value;
    do value = next(random);
    while (value < unfair);
    return (int64_t)((uint64_t)low + value % range);
}

static int64_t at_share(int64_t low, int64_t high, double share) {
    double offset = ((double)high - (double)low + 1) * share;
    return offset >= (double)high - (double)low ? high : low + (int64_t)offset;
}

int64_t random_gaussian(struct random *random, int64_t low, int64_t high, double parameter) {
    double deviation;
    do deviation = sqrt(-2 * log(positive(random))) * sin(2 * M_PI * random_real(random));
    while (deviation < -parameter || deviation >= parameter);
    return at_share(low, high, (deviation + parameter) / (parameter * 2));
}

int64_t random_exponential(struct random *random, int64_t low, int64_t high, double parameter) {
    double cut = exp(-parameter);
    return at_share(low, high, -log(cut + (1 - cut) * positive(random)) / parameter);
}

// The integral of x^-s, and its inverse.
static double integral(double x, double s) {
    return (pow(x, 1 - s) - 1) / (1 - s);
}

static double inverse(double y, double s) {
    return pow(1 + y * (1 - s), 1 / (1 - s));
}

int64_t random_zipfian(struct random *random, int64_t low, int64_t high, double parameter) {
    double n = (double)high - (double)low + 1, s = parameter;
    double first = integral(1.5, s) - 1, last = integral(n + 0.5, s);
    while (true) {
        double y = last + random_real(random) * (first - last);
        double x = inverse(y, s), k = floor(x + 0.5);
        if (k < 1) k = 1;
        if (k > n) k = n;
        if (y >= integral(k + 0.5, s) - pow(k, -s)) return low + (int64_t)(k - 1);
    }
}

int64_t random_special(struct random *random, int64_t low, int64_t high) {
    int64_t span = high - low;
    if (span < 1) return low;
    if (random_real(random) < 0.25) {
        double sum = 0;
        for (int i = 0; i < 12; i++) sum += random_real(random);
        return at_share(low, high, sum / 12);
    }
    int64_t width = span / 100 > 1 ? span / 100 : 1;
    return low + span / 2 - width / 2 + random_uniform(random, 0, width - 1);
}

double random_interval(struct random *random, double mean) {
    return -log(positive(random)) * mean;
}

void random_pattern(struct random *random, char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '#') text[i] = (char)('0' + random_uniform(random, 0, 9));
        else if (text[i] == '@') text[i] = (char)('a' + random_uniform(random, 0, 25));
    }
}
