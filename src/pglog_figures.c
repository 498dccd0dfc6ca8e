// The figures of each text, by the words around them, as PostgreSQL 13 to 18 print them. They are read as thousandths,
// the finest that the server prints, so that no figure goes through a double.
#include "pglog_figures.h"

#include <stdbool.h>
#include <string.h>

#include "find.h"
#include "json.h"

const struct pglog_figure pglog_checkpoint_figures[] = {
    {"wrote ", " buffers", "buffers_written", 1},
    {"wrote ", " SLRU buffers", "slru_buffers_written", 1},
    {"; ", " WAL file(s) added", "wal_files_added", 1},
    {"added, ", " removed", "wal_files_removed", 1},
    {"removed, ", " recycled", "wal_files_recycled", 1},
    {"write=", " s", "write_ms", 1000},
    {"sync=", " s", "sync_ms", 1000},
    {"total=", " s", "total_ms", 1000},
    {"sync files=", ",", "sync_files", 1},
    {"longest=", " s", "longest_sync_ms", 1000},
    {"average=", " s", "average_sync_ms", 1000},
    {"distance=", " kB", "distance_bytes", 1024},
    {"estimate=", " kB", "estimate_bytes", 1024},
    {0},
};

const struct pglog_figure pglog_vacuum_figures[] = {
    {"index scans: ", "\n", "index_scans", 1},
    {"pages: ", " removed", "pages_removed", 1},
    {"removed, ", " remain, ", "pages_remain", 1},
    {"tuples: ", " removed", "tuples_removed", 1},
    {"removed, ", " remain, ", "tuples_remain", 1},
    {"remain, ", " are dead but not yet removable", "tuples_dead", 1},
    {"I/O timings: read: ", " ms", "read_ms", 1},
    {" ms, write: ", " ms", "write_ms", 1},
    {"buffer usage: ", " hits", "buffers_hit", 1},
    {"hits, ", " misses", "buffers_read", 1},
    {"hits, ", " reads", "buffers_read", 1},
    {"misses, ", " dirtied", "buffers_dirtied", 1},
    {"reads, ", " dirtied", "buffers_dirtied", 1},
    {"WAL usage: ", " records", "wal_records", 1},
    {"records, ", " full page images", "wal_full_page_images", 1},
    {"images, ", " bytes", "wal_bytes", 1},
    {"CPU: user: ", " s", "cpu_user_ms", 1000},
    {"system: ", " s", "cpu_system_ms", 1000},
    {"elapsed: ", " s", "elapsed_ms", 1000},
    {0},
};

const struct pglog_figure pglog_lock_wait_figures[] = {
    {"process ", " ", "pid", 1},
    {" after ", " ms", "duration_ms", 1},
    {0},
};

const struct pglog_figure pglog_temp_file_figures[] = {
    {"size ", "", "size_bytes", 1},
    {0},
};

const struct pglog_figure pglog_duration_figures[] = {
    {"duration: ", " ms", "duration_ms", 1},
    {0},
};

// Reads a number at *at, at most to end, in thousandths. Returns what it took; 0 when there is none or it is too large.
static size_t read_thousandths(const char *at, const char *end, int64_t *value) {
    const char *from = at;
    int fraction = -1;  // digits read behind the point; -1 before it
    *value = 0;
    for (; at < end && fraction < 3; at++) {
        if (*at == '.' && fraction < 0 && at > from) {
            fraction = 0;
            continue;
        }
        if (*at < '0' || *at > '9') break;
        if (*value > INT64_MAX / 20000000) return 0;
        *value = *value * 10 + (*at - '0');
        if (fraction >= 0) fraction++;
    }
    if (at == from || fraction == 0) return 0;
    for (int i = fraction < 0 ? 0 : fraction; i < 3; i++) *value *= 10;
    return (size_t)(at - from);
}

// Finds the number between the figure's words from `at` on; returns the place behind it, NULL when there is none.
static const char *find_figure(const char *at, const char *end, const struct pglog_figure *figure, int64_t *value) {
    size_t before = strlen(figure->before), after = strlen(figure->after);
    while ((at = find_word(at, (size_t)(end - at), figure->before, before))) {
        at += before;
        size_t digits = read_thousandths(at, end, value);
        if (digits && (size_t)(end - at) >= digits + after && memcmp(at + digits, figure->after, after) == 0)
            return at + digits;
    }
    return NULL;
}

static void put_scaled(struct buf *out, const char *name, int64_t thousandths, int scale) {
    int64_t value = thousandths * scale;
    json_put_int_field(out, name, value / 1000);
    int rest = (int)(value % 1000);
    if (!rest) return;
    char digits[4] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10), (char)('0' + rest % 10)};
    size_t len = sizeof digits;
    while (digits[len - 1] == '0') len--;
    buf_put(out, digits, len);
}

void pglog_put_figures(struct buf *out, struct pglog_text text, const struct pglog_figure *figures) {
    const char *end = text.text + text.len;
    const char *at = text.text;  // mostly the figures stand in the order of the list, and words come twice
    const char *last = NULL;
    for (const struct pglog_figure *figure = figures; figure->name; figure++) {
        if (last && strcmp(last, figure->name) == 0) continue;
        int64_t value;
        const char *behind = find_figure(at, end, figure, &value);
        if (!behind) behind = find_figure(text.text, end, figure, &value);
        if (!behind) continue;
        put_scaled(out, figure->name, value, figure->scale);
        at = behind;
        last = figure->name;
    }
}
