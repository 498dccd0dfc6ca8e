// Start times of cumulative series. An open-addressing table, keyed by a 64-bit hash of the resource and a row's own
// attributes, leads to entries; an entry holds the last values of all series of the row, and one start and one last
// observation for all of them as long as they agree. Two entries that share a hash would share start times; among a
// million that happens once in forty million collectors. The table belongs to its owner; nothing here fails.
#include "series.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "series_shape.h"

enum { FIRST_SIZE = 64, MAX_SUBSET = 6 };

#define NEVER INT64_MIN

struct times {
    int64_t start_us, last_us;  // last_us NEVER: the slot is empty
};

union number {
    int64_t integer;
    double real;
};

struct entry {
    struct series_shape *shape;
    struct times common;  // of all slots, unless
    struct times *each;   // this is there: of each slot
    union number values[];
};

struct place {
    uint64_t identity;
    struct entry *entry;  // NULL: the place is empty
};

struct series {
    struct place *places;
    size_t size;  // a power of two
    size_t entries;
    size_t count;       // of series
    int64_t oldest_us;  // no observation is older
    struct series_shapes shapes;
};

struct series *series_new(void) {
    struct series *series = xcalloc(1, sizeof *series);
    series->size = FIRST_SIZE;
    series->places = xcalloc(series->size, sizeof *series->places);
    series->oldest_us = INT64_MAX;
    return series;
}

static void entry_free(struct entry *entry) {
    if (entry->shape) entry->shape->entries--;
    free(entry->each);
    free(entry);
}

void series_free(struct series *series) {
    if (!series) return;
    for (size_t i = 0; i < series->size; i++)
        if (series->places[i].entry) entry_free(series->places[i].entry);
    series_shapes_free(&series->shapes);
    free(series->places);
    free(series);
}

// The identity's place, or the empty one where it belongs.
static struct place *find(struct place *places, size_t size, uint64_t identity) {
    size_t at = identity & (size - 1);
    while (places[at].entry && places[at].identity != identity) at = (at + 1) & (size - 1);
    return &places[at];
}

// Makes the table anew with room for `count` entries at three quarters full.
static void rebuild(struct series *series, size_t count) {
    size_t size = FIRST_SIZE;
    while (size / 4 * 3 < count) size *= 2;
    struct place *places = xcalloc(size, sizeof *places);
    for (size_t i = 0; i < series->size; i++)
        if (series->places[i].entry) *find(places, size, series->places[i].identity) = series->places[i];
    free(series->places);
    series->places = places;
    series->size = size;
}

// The identity's place, with an entry.
static struct place *place_of(struct series *series, uint64_t identity) {
    struct place *place = find(series->places, series->size, identity);
    if (place->entry) return place;
    if (series->entries + 1 > series->size / 4 * 3) {
        rebuild(series, series->entries + 1);
        place = find(series->places, series->size, identity);
    }
    place->identity = identity;
    place->entry = xcalloc(1, sizeof *place->entry);
    place->entry->common.last_us = NEVER;
    series->entries++;
    return place;
}

// Gives each slot times of its own.
static void widen(struct entry *entry) {
    if (entry->each) return;
    size_t count = entry->shape ? entry->shape->count : 0;
    entry->each = xmalloc(count * sizeof *entry->each);
    for (size_t i = 0; i < count; i++) entry->each[i] = entry->common;
}

// The opposite, when all agree.
static void narrow(struct entry *entry) {
    for (size_t i = 0; i < entry->shape->count; i++)
        if (entry->each[i].start_us != entry->each[0].start_us || entry->each[i].last_us != entry->each[0].last_us)
            return;
    entry->common = entry->each[0];
    free(entry->each);
    entry->each = NULL;
}

// Appends empty slots to the place's entry. Returns -1 when it would be too large.
static int extend(struct series *series, struct place *place, const struct series_addition *more, size_t count) {
    struct entry *entry = place->entry;
    struct series_shape *had = entry->shape;
    struct series_shape *shape = series_shape_get(&series->shapes, had, more, count);
    if (!shape) return -1;
    widen(entry);
    entry->each = xrealloc(entry->each, shape->count * sizeof *entry->each);
    for (size_t i = had ? had->count : 0; i < shape->count; i++) entry->each[i] = (struct times){0, NEVER};
    entry = xrealloc(entry, sizeof *entry + shape->values * sizeof *entry->values);
    if (had) had->entries--;
    shape->entries++;
    entry->shape = shape;
    place->entry = entry;
    return 0;
}

static uint64_t sum_of(const uint64_t *hashes, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += hashes[i];
    return sum;
}

static uint64_t member_identity(const struct series_member *member) {
    return member->metric + sum_of(member->attributes, member->attribute_count);
}

static bool is_present(const struct series_member *member, uint64_t present) {
    return present >> member->point & 1;
}

// Finds the slots of the members that are present, and makes those that the entry does not have.
static int match(struct series *series, struct series_set *set, const struct series_row *row, struct place *place) {
    struct series_addition missing[SERIES_MAX_POINTS];
    size_t missing_count = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct series_member *member = &set->members[i];
        uint64_t identity = member_identity(member);
        if (!is_present(member, row->present)) continue;
        if (place->entry->shape && series_shape_find(place->entry->shape, identity, i) >= 0) continue;
        size_t twice = 0;
        while (twice < missing_count && missing[twice].identity != identity) twice++;
        if (twice == missing_count) missing[missing_count++] = (struct series_addition){identity, member->monotonic};
    }
    set->shape = 0;
    if (missing_count && extend(series, place, missing, missing_count) < 0) return -1;
    const struct series_shape *shape = place->entry->shape;
    int next = 0;
    set->whole = true;
    for (size_t i = 0; i < set->count; i++) {
        const struct series_member *member = &set->members[i];
        if (!is_present(member, row->present)) continue;
        int slot = series_shape_find(shape, member_identity(member), (size_t)next);
        if (slot != next++) set->whole = false;
        set->places[i].slot = (uint16_t)slot;
        set->places[i].value = shape->slots[slot].value;
    }
    if (next != shape->count) set->whole = false;
    set->shape = shape->hash;
    set->present = row->present;
    return 0;
}

static bool fell(struct series_value value, union number last) {
    return value.is_double ? value.real < last.real : value.integer < last.integer;
}

static union number number_of(struct series_value value) {
    union number number;
    if (value.is_double) number.real = value.real;
    else number.integer = value.integer;
    return number;
}

// ------------------------------------------------------------------------------------- a series that was elsewhere

// Takes the times and the value of the series `identity` out of the entry at `place`, when it is there.
static bool take_from(struct place *place, uint64_t identity, struct times *times, union number *value) {
    struct entry *entry = place->entry;
    int slot = entry && entry->shape ? series_shape_find(entry->shape, identity, 0) : -1;
    if (slot < 0) return false;
    *times = entry->each ? entry->each[slot] : entry->common;
    if (times->last_us == NEVER) return false;
    uint16_t at = entry->shape->slots[slot].value;
    if (at != SERIES_NO_VALUE) *value = entry->values[at];
    widen(entry);
    entry->each[slot].last_us = NEVER;
    return true;
}

// The same series may have come with another share of its attributes in the row: looks at each share.
static bool take_over(struct series *series, const struct series_member *member, const struct series_row *row,
                      struct times *times, union number *value) {
    uint64_t hashes[MAX_SUBSET];
    size_t own = row->attribute_count, count = own + member->attribute_count;
    if (count == 0 || count > MAX_SUBSET) return false;
    memcpy(hashes, row->attributes, own * sizeof *hashes);
    if (member->attribute_count) memcpy(hashes + own, member->attributes, member->attribute_count * sizeof *hashes);
    uint64_t all = sum_of(hashes, count);
    for (size_t share = 0; share < (size_t)1 << count; share++) {
        if (share == ((size_t)1 << own) - 1) continue;
        uint64_t in_row = 0;
        for (size_t i = 0; i < count; i++) in_row += share >> i & 1 ? hashes[i] : 0;
        struct place *place = find(series->places, series->size, row->resource + in_row);
        if (take_from(place, member->metric + all - in_row, times, value)) return true;
    }
    return false;
}

// ------------------------------------------------------------------------------------------------ observing

static int64_t clamp(int64_t value, int64_t least, int64_t most) {
    return value < least ? least : value > most ? most : value;
}

// One series whose slot has times of its own. Returns its start.
static int64_t observe_one(struct series *series, const struct series_member *member, const struct series_row *row,
                           struct times *times, union number *last) {
    struct series_value value = row->values[member->point];
    if (times->last_us == NEVER && !take_over(series, member, row, times, last)) {
        times->start_us = row->time_us;
        series->count++;
    } else if (member->monotonic && row->reset_us > times->last_us) {
        times->start_us = clamp(row->reset_us, times->last_us, row->time_us);
    } else if (member->monotonic && fell(value, *last)) {
        times->start_us = times->last_us;
    }
    if (times->start_us > row->time_us) times->start_us = row->time_us;
    times->last_us = row->time_us;
    if (member->monotonic) *last = number_of(value);
    return times->start_us;
}

static void observe_each(struct series *series, const struct series_set *set, const struct series_row *row,
                         struct entry *entry, int64_t *starts) {
    union number none;
    widen(entry);
    for (size_t i = 0; i < set->count; i++) {
        const struct series_member *member = &set->members[i];
        if (!is_present(member, row->present)) continue;
        union number *last = member->monotonic ? &entry->values[set->places[i].value] : &none;
        starts[member->point] = observe_one(series, member, row, &entry->each[set->places[i].slot], last);
    }
    narrow(entry);
}

// All slots of the entry at once, when they have common times and nothing moves a start. Returns false when not.
static bool observe_all(const struct series_set *set, const struct series_row *row, struct entry *entry,
                        int64_t *starts) {
    if (entry->each || !set->whole || row->reset_us > entry->common.last_us) return false;
    for (size_t i = 0; i < set->count; i++) {
        const struct series_member *member = &set->members[i];
        if (member->monotonic && is_present(member, row->present) &&
            fell(row->values[member->point], entry->values[set->places[i].value]))
            return false;
    }
    if (entry->common.start_us > row->time_us) entry->common.start_us = row->time_us;
    entry->common.last_us = row->time_us;
    for (size_t i = 0; i < set->count; i++) {
        const struct series_member *member = &set->members[i];
        if (!is_present(member, row->present)) continue;
        if (member->monotonic) entry->values[set->places[i].value] = number_of(row->values[member->point]);
        starts[member->point] = entry->common.start_us;
    }
    return true;
}

void series_observe(struct series *series, struct series_set *set, const struct series_row *row, int64_t *starts) {
    if (!(row->present & set->points)) return;
    struct place *place = place_of(series, row->resource + sum_of(row->attributes, row->attribute_count));
    const struct series_shape *shape = place->entry->shape;
    bool found = shape && shape->hash == set->shape && row->present == set->present;
    if (!found && match(series, set, row, place) < 0) {
        for (size_t i = 0; i < set->count; i++) starts[set->members[i].point] = row->time_us;
        return;
    }
    if (row->time_us < series->oldest_us) series->oldest_us = row->time_us;
    if (!observe_all(set, row, place->entry, starts)) observe_each(series, set, row, place->entry, starts);
}

// ------------------------------------------------------------------------------------------------ forgetting

// Empties the entry's slots that were last observed before; returns how many are left, and lowers *oldest_us to the
// oldest of them.
static size_t forget_slots(struct series *series, struct entry *entry, int64_t time_us, int64_t *oldest_us) {
    size_t left = 0, count = entry->shape ? entry->shape->count : 0;
    for (size_t i = 0; i < count; i++) {
        struct times *times = entry->each ? &entry->each[i] : &entry->common;
        if (times->last_us >= time_us) {
            left++;
            if (times->last_us < *oldest_us) *oldest_us = times->last_us;
        } else if (times->last_us != NEVER) {
            series->count--;
            if (entry->each) times->last_us = NEVER;
        }
    }
    return left;
}

void series_forget(struct series *series, int64_t time_us) {
    if (time_us <= series->oldest_us) return;
    int64_t oldest_us = INT64_MAX;
    for (size_t i = 0; i < series->size; i++) {
        struct entry *entry = series->places[i].entry;
        if (!entry || forget_slots(series, entry, time_us, &oldest_us)) continue;
        entry_free(entry);
        series->places[i].entry = NULL;
        series->entries--;
    }
    series->oldest_us = oldest_us;
    rebuild(series, series->entries);
    series_shapes_sweep(&series->shapes);
}

size_t series_count(const struct series *series) {
    return series->count;
}

size_t series_memory(const struct series *series) {
    size_t bytes = sizeof *series + series->size * sizeof *series->places + series_shapes_memory(&series->shapes);
    for (size_t i = 0; i < series->size; i++) {
        const struct entry *entry = series->places[i].entry;
        if (!entry) continue;
        bytes += sizeof *entry;
        if (!entry->shape) continue;
        bytes += entry->shape->values * sizeof *entry->values;
        if (entry->each) bytes += entry->shape->count * sizeof *entry->each;
    }
    return bytes;
}
