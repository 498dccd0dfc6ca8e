// The registry of counters, one for each (collector, target, name). Read by the final summary, health and traces.
// Owned by main; safe to use from any thread.
#ifndef DBOBS_COUNTERS_H
#define DBOBS_COUNTERS_H

#include <stdint.h>

struct counters;

struct counters *counters_new(void);
void counters_free(struct counters *counters);
// Adds `more` to the counter, which begins at 0.
void counters_add(struct counters *counters, const char *collector, const char *target, const char *name, int64_t more);
// Sets a figure that rises and falls.
void counters_set(struct counters *counters, const char *collector, const char *target, const char *name,
                  int64_t value);
// Removes every counter of a target.
void counters_forget(struct counters *counters, const char *target);
// Calls `each` for every counter in the order of collector, target and name; the registry is locked meanwhile.
void counters_each(struct counters *counters,
                   void (*each)(void *context, const char *collector, const char *target, const char *name,
                                int64_t value),
                   void *context);

#endif
