// The follower: reads its files in turn, each up to its end. A line is handed out once its newline is there. At a
// file's end its head is compared before anything read is believed: a file that was truncated and written again looks
// like one that grew.
#include "tail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "tail_state.h"

#define READ_SIZE (128 * 1024)
#define LONGEST_LINE (6 * 1024 * 1024)  // when that does not help, the rest of the line is counted and left out
#define QUIET_MS 25                     // a writer that pauses for so long has written its record whole
#define TURN_BYTES (4 * 1024 * 1024)    // of a file that grows meanwhile, before the others of its pattern

static void on_timer(uv_timer_t *timer);
static void on_quiet(uv_timer_t *timer);
static void stat_files(struct tail *tail, bool all);

void tail_unref(struct tail *tail) {
    if (--tail->handles) return;
    while (tail->files) {
        struct tail_file *file = tail->files;
        tail->files = file->next;
        tail_file_free(file);
    }
    if (tail->remote) tail_remote_unref(tail->remote);
    for (char *note; (note = tail_take_note(tail));) free(note);
    checkpoint_close(&tail->checkpoint);
    buf_free(&tail->buffer);
    tail_index_free(&tail->index);
    free(tail->pattern);
    free(tail->suffix);
    free(tail);
}

static void on_closed(uv_handle_t *handle) {
    tail_unref(handle->data);
}

struct tail *tail_open(uv_loop_t *loop, const struct tail_options *options, bool *in_use, char *error, size_t size) {
    char note[512];
    struct tail *tail = xcalloc(1, sizeof *tail);
    int opened = checkpoint_open(&tail->checkpoint, options->checkpoint, note, error, size);
    *in_use = opened == -2;
    if (opened) {
        free(tail);
        return NULL;
    }
    if (options->positions && *options->positions) {
        char cause[160];
        if (checkpoint_parse(&tail->checkpoint, options->positions, strlen(options->positions), cause, sizeof cause)) {
            snprintf(error, size, "cannot use the position that was kept: %s", cause);
            checkpoint_close(&tail->checkpoint);
            free(tail);
            return NULL;
        }
    }
    tail->elsewhere = options->positions != NULL;
    tail->pattern = xstrdup(options->path);
    tail->suffix = options->suffix ? xstrdup(options->suffix) : NULL;
    tail->is_pattern = strpbrk(options->path, "*?[") != NULL;
    tail->from_end = options->from_end;
    tail->since_us = options->since_us;
    tail->poll_ms = options->poll_ms;
    tail->grace_ms = options->grace_ms;
    tail->half_lines = options->half_lines;
    tail->segments_end = &tail->segments;
    tail->notes_end = &tail->notes;
    tail->cut = tail_cut_line;
    tail->handles = 3;
    tail->timer.data = tail->quiet.data = tail->watch.data = tail;
    uv_timer_init(loop, &tail->timer);
    uv_timer_init(loop, &tail->quiet);
    uv_fs_event_init(loop, &tail->watch);
    if (*note) tail_note(tail, "%s", note);
    if (options->remote) {
        tail->remote = tail_remote_new(tail);
        tail_remote_restore(tail->remote);
    } else {
        tail_look_for_directory(tail);
        struct tail_file *known = tail_restore(tail);
        tail_watch(tail);
        tail_scan(tail, true);
        tail_order(tail, known);
    }
    uv_timer_start(&tail->timer, on_timer, tail->poll_ms, tail->poll_ms);
    return tail;
}

void tail_close(struct tail *tail) {
    char error[160];
    (void)tail_acknowledge(tail, error, sizeof error);
    while (tail->segments) tail_drop_segment(tail);
    tail->closed = true;
    if (tail->remote) tail_remote_close(tail->remote);
    // Who waits for news finds the follower closed; nobody may be parked in what is freed.
    wakeup_signal(&tail->news);
    tail_save_now(tail);
    if (!tail->saving) checkpoint_close(&tail->checkpoint);
    uv_close((uv_handle_t *)&tail->timer, on_closed);
    uv_close((uv_handle_t *)&tail->quiet, on_closed);
    uv_close((uv_handle_t *)&tail->watch, on_closed);
}

struct wakeup *tail_news(struct tail *tail) {
    return &tail->news;
}

// What lasts of failed reads: one file's, the others' follow when that is over.
static void tell_unreadable(struct tail *tail) {
    char text[512] = "";
    for (struct tail_file *file = tail->files; file && !*text; file = file->next)
        if (file->unreadable)
            snprintf(text, sizeof text, "cannot read %s: %s", file->path,
                     file->archive ? "it is damaged, or not complete yet" : strerror(file->unreadable));
    tail_set_condition(tail, tail->read_condition, sizeof tail->read_condition, text);
}

static void on_timer(uv_timer_t *timer) {
    struct tail *tail = timer->data;
    // Where the directory is watched, a pattern is looked for only now and then.
    bool now_and_then = ++tail->polls % 10 == 0;
    if (!tail->remote && (!tail->watching || now_and_then)) tail_watch(tail);
    bool look = tail->look || !tail->watching || !tail->is_pattern || now_and_then;
    if (!tail->remote && look) tail_scan(tail, false);
    stat_files(tail, now_and_then);
    tail_drop_finished(tail);
    tell_unreadable(tail);
    tail_save(tail);
}

static void on_quiet(uv_timer_t *timer) {
    struct tail *tail = timer->data;
    int64_t now = clock_monotonic_ns();
    // The loop's clock is a little behind, and the files came to rest one after the other.
    for (const struct tail_file *file = tail->files; file; file = file->next)
        if (file->may_be_complete && now - file->rested_ns < (int64_t)QUIET_MS * 1000000)
            uv_timer_start(&tail->quiet, on_quiet, QUIET_MS, 0);
    wakeup_signal(&tail->news);
}

bool tail_waits_for_rest(const struct tail *tail, const struct tail_file *file) {
    return file->seen_size > file->read && (file->gone || (tail->half_lines && file->half != file->read));
}

// Finds the files that changed since their end was reached or that could not be read, and the rotated ones whose last
// half line, or half a line, is due. all: also those whose changes the system tells.
static void stat_files(struct tail *tail, bool all) {
    int64_t now = clock_monotonic_ns();
    for (struct tail_file *file = tail->files; file; file = file->next) {
        struct stat status;
        // While the topic is full nobody reads: a file can come, be copied and truncated, and that twice.
        if (file->fd >= 0 && !file->eof_ns && !*file->first_line && tail_file_identify(file) > 0) tail->unsaved = true;
        if (file->fd >= 0 && !file->eof_ns && *file->first_line && tail_file_unchanged(file) == 0)
            tail_begin_anew(tail, file);
        bool waits = tail_waits_for_rest(tail, file);
        if (file->fd < 0 || !file->eof_ns || (file->told && !all && !file->gone && !waits && !file->unreadable))
            continue;
        if (tail_file_status(file, &status)) {
            file->eof_ns = 0;  // reading tells why
            wakeup_signal(&tail->news);
            continue;
        }
        bool changed =
            file->unreadable || status.st_size != file->seen_size || tail_file_mtime_ns(&status) != file->seen_mtime_ns;
        bool due = waits && now - file->rested_ns >= (int64_t)tail->grace_ms * 1000000;
        if (changed) file->eof_ns = 0;
        if (changed || due) wakeup_signal(&tail->news);
    }
}

// Later: an archive is being decompressed up to where reading goes on, others have their turn.
enum outcome { OUTCOME_LINE, OUTCOME_MORE, OUTCOME_NOTHING, OUTCOME_LATER };

// At the end of the file. What is left of a rotated file becomes its last line when nobody completes it.
static enum outcome at_end(struct tail *tail, const struct stat *status, struct tail_line *line) {
    struct tail_file *file = tail->current;
    int64_t now = clock_monotonic_ns();
    if (!file->rested_ns || file->seen_size != status->st_size) file->rested_ns = now;
    file->seen_size = status->st_size;
    file->seen_mtime_ns = tail_file_mtime_ns(status);
    file->eof_ns = now;
    file->turn_bytes = 0;
    file->may_be_complete = false;
    if (!tail->buffer.len) return OUTCOME_NOTHING;
    bool due = file->gone && now - file->rested_ns >= (int64_t)tail->grace_ms * 1000000;
    bool settled = tail_remote_is_settled(file);
    bool quiet = due || (settled && now - file->rested_ns >= (int64_t)QUIET_MS * 1000000);
    if (quiet && tail_next_in_buffer(tail, line, true)) return OUTCOME_LINE;
    file->may_be_complete = settled && !quiet && tail_may_be_complete(tail);
    if (file->may_be_complete) uv_timer_start(&tail->quiet, on_quiet, QUIET_MS, 0);
    if (!due) return tail_hand_out_half(tail, line) ? OUTCOME_LINE : OUTCOME_NOTHING;
    bool handed_out = file->half == file->read && file->half_end == file->seen_size;
    tail_hand_out(tail, line, tail->buffer.len, 0);
    return handed_out ? OUTCOME_NOTHING : OUTCOME_LINE;
}

// A file server can forget a file that is removed, or was moved by another client. One that is not there any more is
// let go, for nothing brings it back.
static bool is_forgotten(struct tail *tail, struct tail_file *file) {
    bool waited = file->unreadable && clock_monotonic_ns() - file->unreadable_ns >= (int64_t)tail->grace_ms * 1000000;
    if (tail_file_reopen(file)) return true;
    if (!file->gone || !waited) return false;
    tail_note(tail,
              "%s was removed on its file server when %lld bytes of it were read: what it held behind them, if "
              "anything, is lost",
              file->path, (long long)file->read);
    close(file->fd);
    file->fd = -1;
    tail->unsaved = true;
    return true;
}

// A read failed, which says nothing of what is in the file: it is tried again at the next poll.
static enum outcome cannot_read(struct tail *tail, struct tail_file *file) {
    int cause = errno ? errno : EIO;
    if (cause == ESTALE && !file->archive && is_forgotten(tail, file)) {
        file->unreadable = 0;
        return OUTCOME_MORE;
    }
    file->eof_ns = clock_monotonic_ns();
    if (!file->unreadable) file->unreadable_ns = file->eof_ns;
    file->unreadable = cause;
    return OUTCOME_NOTHING;
}

// Some of an archive cannot be read. It may still be being written; when it is not, what else it held is lost.
static enum outcome cannot_unpack(struct tail *tail, struct tail_file *file, int64_t at) {
    int64_t since_ns = file->unreadable_ns;
    if (errno == EAGAIN) {
        wakeup_signal(&tail->news);
        return OUTCOME_LATER;
    }
    bool over = file->unreadable == EBADMSG && clock_monotonic_ns() - since_ns >= (int64_t)tail->grace_ms * 1000000;
    file->unreadable_at = at;
    if (errno != EBADMSG || !over) return cannot_read(tail, file);
    tail_note(tail, "%s is damaged or ends too early: what the log held behind byte %lld is lost", file->path,
              (long long)at);
    close(file->fd);
    file->fd = -1;
    file->unreadable = 0;
    tail->unsaved = true;
    return OUTCOME_MORE;
}

// A file that grows as fast as it is read would keep the others of its pattern waiting for ever. One that does not grow
// is read to its end: it is the older log.
static void count_turn(const struct tail *tail, const struct stat *status, ssize_t got) {
    struct tail_file *file = tail->current;
    if (!file->turn_bytes) file->turn_size = status->st_size;
    file->turn_bytes += got;
    if (file->turn_bytes < TURN_BYTES || status->st_size == file->turn_size || file->archive) return;
    file->served = tail->is_pattern;
    file->turn_bytes = 0;
}

// Reads on in the current file.
static enum outcome read_more(struct tail *tail, struct tail_line *line) {
    struct tail_file *file = tail->current;
    struct stat status;
    tail_shift_buffer(tail);
    buf_reserve(&tail->buffer, READ_SIZE);
    int64_t at = tail->buffer_offset + (int64_t)(tail->buffer.len + tail->dropped + tail->shrunk);
    if (tail_file_status(file, &status)) return cannot_read(tail, file);
    ssize_t got = tail_file_read(file, tail->buffer.data + tail->buffer.len, READ_SIZE, at);
    if (got < 0 && file->archive) return cannot_unpack(tail, file, at);
    // Only now: a truncation between this and the read would make new bytes look like the old file's.
    int unchanged = got < 0 ? -1 : tail_file_unchanged(file);
    if (unchanged < 0) return cannot_read(tail, file);
    // The part of an archive before the damage can be read again and again.
    if (!file->archive || at + got > file->unreadable_at) file->unreadable = 0;
    if (!unchanged || (got == 0 && status.st_size < at && !file->archive)) {
        if (tail_next_in_buffer(tail, line, true)) return OUTCOME_LINE;
        tail_begin_anew(tail, file);
        tail->current = NULL;  // in the buffer is at most half a piece
        return OUTCOME_MORE;
    }
    if (got == 0) return at_end(tail, &status, line);
    file->eof_ns = 0;
    if (tail->buffer.len >= LONGEST_LINE) return tail_skip_rest(tail, line, (size_t)got) ? OUTCOME_LINE : OUTCOME_MORE;
    tail->buffer.len += (size_t)got;
    if (!tail_next_in_buffer(tail, line, false)) {
        tail_shrink_piece(tail);
        return OUTCOME_MORE;
    }
    count_turn(tail, &status, got);
    return OUTCOME_LINE;
}

// Whether reading the file may give something: it changed since its end was reached, or its last half line is due.
static bool is_promising(const struct tail *tail, const struct tail_file *file) {
    if (file->fd < 0) return false;
    if (!file->eof_ns) return true;
    bool waits = tail_waits_for_rest(tail, file);
    if (!file->may_be_complete && !waits) return false;
    int64_t rested = clock_monotonic_ns() - file->rested_ns;
    if (file->may_be_complete && rested >= (int64_t)QUIET_MS * 1000000) return true;
    return waits && rested >= (int64_t)tail->grace_ms * 1000000;
}

// A file without a complete first line: waits for it, unless the file is a rotated one's rest.
static bool is_readable(struct tail *tail, struct tail_file *file) {
    if (*file->first_line) return true;
    int identified = tail_file_identify(file);
    if (identified < 0) {
        cannot_read(tail, file);
        return false;
    }
    file->unreadable = 0;
    if (identified) {
        tail->unsaved = true;
        return true;
    }
    struct stat status;
    if (tail_file_status(file, &status)) return false;
    if (!file->eof_ns || status.st_size != file->seen_size) {
        file->seen_size = status.st_size;
        file->seen_mtime_ns = tail_file_mtime_ns(&status);
        file->eof_ns = clock_monotonic_ns();
    }
    return status.st_size > 0 && file->gone && clock_monotonic_ns() - file->eof_ns >= (int64_t)tail->grace_ms * 1000000;
}

// Before the first line ever is handed out, the checkpoint must know its file: were we killed and the file rotated
// meanwhile, nothing would tell what is missing.
static bool must_record(struct tail *tail) {
    if (tail->recorded || (!tail->checkpoint.path && !tail->elsewhere)) return false;
    tail->unsaved = true;
    if (tail->elsewhere) wakeup_signal(&tail->news);
    // One that could not be written is tried again at the next poll.
    if (!*tail->checkpoint_condition) tail_save(tail);
    return true;
}

// The next line of the files that have not had their turn of this round. Sets `round_over` when others have something.
static bool next_of_round(struct tail *tail, struct tail_line *line, bool *round_over) {
    *round_over = false;
    for (struct tail_file *file = tail->files; file;) {
        if (!is_promising(tail, file) || !is_readable(tail, file)) {
            file = file->next;
            continue;
        }
        if (file->served) {
            *round_over = true;
            file = file->next;
            continue;
        }
        // Lines of one commit are of one file.
        bool others = tail->open_file && tail->open_file != file;
        if (others || (*file->first_line && must_record(tail))) {
            *round_over = false;
            return false;
        }
        tail_take_up(tail, file);
        enum outcome outcome = read_more(tail, line);
        if (outcome == OUTCOME_LINE) return true;
        if (outcome == OUTCOME_LATER) {
            *round_over = false;
            return false;
        }
        if (outcome == OUTCOME_NOTHING) file = file->next;
    }
    return false;
}

bool tail_next(struct tail *tail, struct tail_line *line) {
    if (tail_next_in_buffer(tail, line, false) || tail_next_left_over(tail, line)) return true;
    if (tail->look) tail_scan(tail, false);
    bool round_over;
    while (!next_of_round(tail, line, &round_over)) {
        if (!round_over) {
            if (tail->remote) tail_remote_ate(tail->remote);
            return false;
        }
        for (struct tail_file *file = tail->files; file; file = file->next) file->served = false;
    }
    return true;
}
