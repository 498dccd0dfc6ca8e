// Each line tells its format by itself: nobody needs to say which runtime wrote the file.
#include "pglog_runtime.h"

#include <string.h>
#include <yyjson.h>

#include "civil.h"

// Reads "2026-11-22T21:00:00.123456789Z" or with "+01:00". Returns what it took; 0 when that is no time.
static size_t read_time(const char *text, size_t len, int64_t *time_us) {
    struct civil civil;
    if (len < 20 || text[10] != 'T') return 0;
    size_t at = civil_parse(text, len, &civil);
    if (!at) return 0;
    while (at < len && text[at] >= '0' && text[at] <= '9') at++;  // finer than microseconds
    *time_us = civil_to_us(&civil);
    if (at < len && text[at] == 'Z') return at + 1;
    if (len - at < 6 || (text[at] != '+' && text[at] != '-') || text[at + 3] != ':') return 0;
    int minutes =
        ((text[at + 1] - '0') * 10 + text[at + 2] - '0') * 60 + (text[at + 4] - '0') * 10 + text[at + 5] - '0';
    *time_us += (text[at] == '+' ? -1 : 1) * (int64_t)minutes * 60000000;
    return at + 6;
}

static bool unwrap_docker(const char *line, size_t len, struct buf *scratch, struct pglog_runtime_line *out) {
    static const char begin[] = "{\"log\":\"";
    if (len < sizeof begin || memcmp(line, begin, sizeof begin - 1) != 0) return false;
    yyjson_doc *doc = yyjson_read(line, len, YYJSON_READ_NOFLAG);
    yyjson_val *log = yyjson_obj_get(yyjson_doc_get_root(doc), "log");
    yyjson_val *time = yyjson_obj_get(yyjson_doc_get_root(doc), "time");
    size_t size = yyjson_get_len(log);
    bool found = size > 0;
    if (found) {
        const char *text = yyjson_get_str(log);
        out->partial = text[size - 1] != '\n';
        buf_clear(scratch);
        buf_put(scratch, text, size - !out->partial);
        out->text = scratch->data;
        out->len = scratch->len;
        out->dated = time && read_time(yyjson_get_str(time), yyjson_get_len(time), &out->time_us);
    }
    yyjson_doc_free(doc);
    return found;
}

// Behind the time: " stderr F " and the text; or a blank and the text.
static void unwrap_stamp(const char *line, size_t len, size_t stamp, struct pglog_runtime_line *out) {
    const char *at = line + stamp;
    size_t rest = len - stamp;
    bool cri = rest >= 10 && (memcmp(at, " stderr ", 8) == 0 || memcmp(at, " stdout ", 8) == 0) &&
               (at[8] == 'F' || at[8] == 'P') && at[9] == ' ';
    size_t skip = cri ? 10 : 1;
    out->partial = cri && at[8] == 'P';
    out->text = at + skip;
    out->len = rest - skip;
}

void pglog_runtime_unwrap(const char *line, size_t len, struct buf *scratch, struct pglog_runtime_line *out) {
    *out = (struct pglog_runtime_line){.text = line, .len = len};
    if (unwrap_docker(line, len, scratch, out)) return;
    size_t stamp = read_time(line, len, &out->time_us);
    out->dated = stamp && stamp < len && line[stamp] == ' ';
    if (out->dated) unwrap_stamp(line, len, stamp, out);
}
