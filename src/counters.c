// The counter registry: a sorted tree under one lock. It is touched a few times for each collection, never per row.
#include "counters.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

struct counter {
    char *collector, *target, *name;
    int64_t value;
};

struct counters {
    pthread_mutex_t lock;
    void *tree;
    struct counter **sorted;
    size_t count, cap;
};

static int compare(const void *left, const void *right) {
    const struct counter *a = left, *b = right;
    int order = strcmp(a->collector, b->collector);
    if (!order) order = strcmp(a->target, b->target);
    return order ? order : strcmp(a->name, b->name);
}

static int compare_slots(const void *left, const void *right) {
    return compare(*(struct counter *const *)left, *(struct counter *const *)right);
}

struct counters *counters_new(void) {
    struct counters *counters = xcalloc(1, sizeof *counters);
    pthread_mutex_init(&counters->lock, NULL);
    return counters;
}

// Takes a counter out of the tree and frees it; its slot is the caller's.
static void drop(struct counters *counters, struct counter *counter) {
    tdelete(counter, &counters->tree, compare);
    free(counter->collector);
    free(counter->target);
    free(counter->name);
    free(counter);
}

void counters_free(struct counters *counters) {
    for (size_t i = 0; i < counters->count; i++) drop(counters, counters->sorted[i]);
    free(counters->sorted);
    pthread_mutex_destroy(&counters->lock);
    free(counters);
}

static struct counter *insert(struct counters *counters, const struct counter *wanted) {
    struct counter *counter = xmalloc(sizeof *counter);
    *counter = (struct counter){xstrdup(wanted->collector), xstrdup(wanted->target), xstrdup(wanted->name), 0};
    if (counters->count == counters->cap) {
        counters->cap = counters->cap ? counters->cap * 2 : 64;
        counters->sorted = xrealloc(counters->sorted, counters->cap * sizeof(struct counter *));
    }
    counters->sorted[counters->count++] = counter;
    tsearch(counter, &counters->tree, compare);
    return counter;
}

// The counter, made when it is not there; the lock is held.
static struct counter *find(struct counters *counters, const char *collector, const char *target, const char *name) {
    const struct counter wanted = {(char *)collector, (char *)target, (char *)name, 0};
    struct counter **found = tfind(&wanted, &counters->tree, compare);
    return found ? *found : insert(counters, &wanted);
}

void counters_add(struct counters *counters, const char *collector, const char *target, const char *name,
                  int64_t more) {
    pthread_mutex_lock(&counters->lock);
    find(counters, collector, target, name)->value += more;
    pthread_mutex_unlock(&counters->lock);
}

void counters_set(struct counters *counters, const char *collector, const char *target, const char *name,
                  int64_t value) {
    pthread_mutex_lock(&counters->lock);
    find(counters, collector, target, name)->value = value;
    pthread_mutex_unlock(&counters->lock);
}

void counters_forget(struct counters *counters, const char *target) {
    pthread_mutex_lock(&counters->lock);
    size_t kept = 0;
    for (size_t i = 0; i < counters->count; i++) {
        struct counter *counter = counters->sorted[i];
        if (strcmp(counter->target, target) == 0) drop(counters, counter);
        else counters->sorted[kept++] = counter;
    }
    counters->count = kept;
    pthread_mutex_unlock(&counters->lock);
}

void counters_each(struct counters *counters,
                   void (*each)(void *context, const char *collector, const char *target, const char *name,
                                int64_t value),
                   void *context) {
    pthread_mutex_lock(&counters->lock);
    if (counters->count) qsort(counters->sorted, counters->count, sizeof(struct counter *), compare_slots);
    for (size_t i = 0; i < counters->count; i++) {
        struct counter *counter = counters->sorted[i];
        each(context, counter->collector, counter->target, counter->name, counter->value);
    }
    pthread_mutex_unlock(&counters->lock);
}
