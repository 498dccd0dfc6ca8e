// The follower's buffer: what was read of the current file, cut into pieces (lines, or records of several). Its first
// byte is that of a piece which was not handed out yet; a huge one is shortened in it.
#include <string.h>

#include "clock.h"
#include "tail_state.h"

#define HUGE_PIECE (4 * 1024 * 1024)  // from then on it is shortened while it is read
#define KEPT_BUFFER (1024 * 1024)     // a larger one is given back when it is empty

size_t tail_cut_line(void *argument, const char *text, size_t len, size_t *scanned, bool is_all) {
    (void)argument, (void)is_all;
    const char *newline = memchr(text + *scanned, '\n', len - *scanned);
    *scanned = len;
    return newline ? (size_t)(newline - text) + 1 : 0;
}

void tail_set_cut(struct tail *tail, tail_cut *cut, tail_shrink *shrink, void *argument) {
    tail->cut = cut;
    tail->shrink = shrink;
    tail->cut_argument = argument;
}

void tail_take_up(struct tail *tail, struct tail_file *file) {
    if (tail->current == file && tail->buffer_offset + (int64_t)tail->taken == file->read) return;
    tail->current = file;
    tail->buffer_offset = file->read;
    tail->taken = tail->scanned = tail->tried = tail->dropped = tail->shrunk = tail->shrunk_end = tail->shrunk_to = 0;
    buf_clear(&tail->buffer);
}

void tail_shift_buffer(struct tail *tail) {
    if (!tail->taken) return;
    size_t rest = tail->buffer.len - tail->taken;
    tail->buffer_offset += (int64_t)tail->taken;
    if (!rest && tail->buffer.cap > KEPT_BUFFER) buf_free(&tail->buffer);
    else memmove(tail->buffer.data, tail->buffer.data + tail->taken, rest);
    tail->buffer.len = rest;
    tail->scanned = tail->scanned > tail->taken ? tail->scanned - tail->taken : 0;
    tail->tried = tail->tried > tail->taken ? tail->tried - tail->taken : 0;
    tail->taken = 0;
}

bool tail_hand_out(struct tail *tail, struct tail_line *line, size_t len, size_t more) {
    struct tail_file *file = tail->current;
    *line = (struct tail_line){.text = tail->buffer.data + tail->taken,
                               .len = len,
                               .dropped = tail->dropped,
                               .shrunk = tail->shrunk,
                               .path = file->path,
                               .first_line = file->first_line,
                               .truncations = file->truncations,
                               .offset = file->read};
    if (tail->cut == tail_cut_line && len && line->text[len - 1] == '\r') line->len--;
    tail->taken += len + more;
    file->read += (int64_t)(len + tail->dropped + tail->shrunk + more);
    tail->buffer_offset += (int64_t)tail->shrunk;
    tail->open_file = file;
    tail->open_end = file->read;
    tail->open_bytes += len + more;
    tail->dropped = tail->shrunk = tail->shrunk_end = tail->shrunk_to = 0;
    return true;
}

bool tail_hand_out_half(struct tail *tail, struct tail_line *line) {
    struct tail_file *file = tail->current;
    bool rests = clock_monotonic_ns() - file->rested_ns >= (int64_t)tail->grace_ms * 1000000;
    if (!rests || !*file->first_line || !tail_waits_for_rest(tail, file)) return false;
    int64_t offset = file->read, buffer_offset = tail->buffer_offset;
    size_t taken = tail->taken, dropped = tail->dropped, shrunk = tail->shrunk, shrunk_end = tail->shrunk_end;
    tail_hand_out(tail, line, tail->buffer.len - taken, 0);
    tail->taken = taken;
    tail->dropped = dropped;
    tail->shrunk = shrunk;
    tail->shrunk_end = shrunk_end;
    tail->buffer_offset = buffer_offset;
    file->read = file->half = tail->open_end = offset;
    file->half_end = file->seen_size;
    return true;
}

// The end of a piece that is `end` bytes long. One from which something was cut out reaches behind that; 0: not yet.
static size_t piece_end(const struct tail *tail, size_t end) {
    if (!end || end >= tail->shrunk_end) return end;
    const char *from = tail->buffer.data + tail->shrunk_end;
    const char *newline = memchr(from, '\n', tail->buffer.len - tail->shrunk_end);
    return newline ? (size_t)(newline - tail->buffer.data) + 1 : 0;
}

bool tail_next_in_buffer(struct tail *tail, struct tail_line *line, bool is_all) {
    if (!tail->current || tail->dropped || (tail->buffer.len <= tail->tried && !is_all)) return false;
    size_t len = tail->buffer.len - tail->taken;
    size_t scanned = tail->scanned > tail->taken ? tail->scanned - tail->taken : 0;
    size_t end = tail->cut(tail->cut_argument, tail->buffer.data + tail->taken, len, &scanned, is_all);
    end = piece_end(tail, end);
    tail->scanned = tail->taken + (end ? end : scanned);
    tail->tried = end ? tail->scanned : tail->buffer.len;
    return end > 0 && tail_hand_out(tail, line, end - 1, 1);
}

bool tail_next_left_over(struct tail *tail, struct tail_line *line) {
    if (!tail->current || tail->current->fd >= 0 || tail->dropped) return false;
    if (tail_next_in_buffer(tail, line, true)) return true;
    size_t rest = tail->buffer.len - tail->taken;
    const char *from = tail->buffer.data + tail->taken, *newline = rest ? memchr(from, '\n', rest) : NULL;
    size_t end = newline ? piece_end(tail, (size_t)(newline - from) + 1) : 0;
    return end > 0 && tail_hand_out(tail, line, end - 1, 1);
}

void tail_shrink_piece(struct tail *tail) {
    if (!tail->shrink || tail->buffer.len < HUGE_PIECE || tail->buffer.len < tail->shrunk_to + HUGE_PIECE / 4) return;
    size_t len = tail->buffer.len;
    tail->shrunk_end = tail->shrink(tail->cut_argument, tail->buffer.data, &tail->buffer.len);
    tail->shrunk += len - tail->buffer.len;
    tail->shrunk_to = tail->buffer.len;
    tail->scanned = tail->tried = 0;
}

bool tail_skip_rest(struct tail *tail, struct tail_line *line, size_t got) {
    const char *from = tail->buffer.data + tail->buffer.len;
    const char *newline = memchr(from, '\n', got);
    tail->dropped += newline ? (size_t)(newline - from) : got;
    if (!newline) return false;
    tail_hand_out(tail, line, tail->buffer.len, 1);
    tail->taken = 0;  // the buffer's bytes do not follow the file any more: it is read anew behind the line
    tail->buffer_offset = -1;
    return true;
}

bool tail_may_be_complete(const struct tail *tail) {
    const struct buf *buffer = &tail->buffer;
    return tail->cut != tail_cut_line && buffer->len > 0 && buffer->data[buffer->len - 1] == '\n';
}
