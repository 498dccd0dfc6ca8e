// What a follower tells and keeps: notes, conditions, and its checkpoint, which a worker thread writes because fsync
// can take long. A failed write is tried again at the next poll; reading goes on meanwhile, once a checkpoint is there.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "tail_state.h"

struct tail_save {
    uv_work_t work;
    struct tail *tail;
    char *path;
    struct buf text;
    bool records;  // a file with its identity
    int result;
    char error[512];
};

void tail_note(struct tail *tail, const char *format, ...) {
    struct tail_note *note = xcalloc(1, sizeof *note);
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    note->text = xstrdup(text);
    *tail->notes_end = note;
    tail->notes_end = &note->next;
    wakeup_signal(&tail->news);
}

char *tail_take_note(struct tail *tail) {
    struct tail_note *note = tail->notes;
    if (!note) return NULL;
    char *text = note->text;
    tail->notes = note->next;
    if (!tail->notes) tail->notes_end = &tail->notes;
    free(note);
    return text;
}

void tail_set_condition(struct tail *tail, char *condition, size_t size, const char *text) {
    if (strcmp(condition, text ? text : "") == 0) return;
    snprintf(condition, size, "%s", text ? text : "");
    wakeup_signal(&tail->news);
}

const char *tail_path_condition(const struct tail *tail) {
    return *tail->path_condition ? tail->path_condition : NULL;
}

const char *tail_read_condition(const struct tail *tail) {
    return *tail->read_condition ? tail->read_condition : NULL;
}

const char *tail_checkpoint_condition(const struct tail *tail) {
    return *tail->checkpoint_condition ? tail->checkpoint_condition : NULL;
}

bool tail_is_unsaved(const struct tail *tail) {
    return (tail->checkpoint.path || tail->elsewhere) && (tail->unsaved || tail->saving);
}

struct tail_progress tail_progress(const struct tail *tail) {
    struct tail_progress progress = {.delivered = tail->delivered};
    int64_t newest = 0;  // bytes left of the last file that has begun: the writer is still at it
    for (struct tail_file *file = tail->files; file; file = file->next) {
        struct stat status;
        progress.files += !file->copy;
        if (!file->remote && (file->fd < 0 || tail_file_status(file, &status))) continue;
        if (file->remote) status.st_size = tail_remote_size(file);
        progress.size += status.st_size;
        progress.acked += file->acked;
        int64_t left = status.st_size > file->acked ? status.st_size - file->acked : 0;
        if (status.st_size > 0) {
            progress.at_risk += newest;
            newest = file->gone ? 0 : left;
        }
        if (file->gone) progress.at_risk += left;
    }
    return progress;
}

// all: as if all lines that were handed out were acknowledged.
static void format_positions(struct tail *tail, bool all, struct buf *out) {
    // Positions of other sources stay as they were read.
    struct checkpoint positions = {.lock = -1, .let_go_ns = tail->checkpoint.let_go_ns};
    for (size_t i = 0; i < tail->checkpoint.count; i++)
        if (strcmp(tail->checkpoint.positions[i].source, tail->remote ? "sql" : "file") != 0)
            checkpoint_add(&positions, &tail->checkpoint.positions[i]);
    for (struct tail_file *file = tail->files; file; file = file->next) {
        if (file->copy) continue;
        struct checkpoint_position position = tail_file_position(file, all ? file->read : file->acked);
        checkpoint_add(&positions, &position);
    }
    checkpoint_format(&positions, out);
    checkpoint_clear(&positions);
}

void tail_positions(struct tail *tail, struct buf *out) {
    format_positions(tail, true, out);
    for (const struct tail_file *file = tail->files; file; file = file->next)
        tail->recording |= *file->first_line != '\0';
    tail->unsaved = false;
}

void tail_kept(struct tail *tail) {
    tail->recorded |= tail->recording;
    wakeup_signal(&tail->news);
}

static void write_on_worker(uv_work_t *work) {
    struct tail_save *save = work->data;
    save->result = checkpoint_write(save->path, save->text.data, save->text.len, save->error, sizeof save->error);
}

static void free_save(struct tail_save *save) {
    buf_free(&save->text);
    free(save->path);
    free(save);
}

static void after_write(uv_work_t *work, int status) {
    (void)status;
    struct tail_save *save = work->data;
    struct tail *tail = save->tail;
    tail->saving = NULL;
    bool written = save->result == 0;
    if (!written) tail->unsaved = true;
    if (written && save->records) tail->recorded = true;
    tail_set_condition(tail, tail->checkpoint_condition, sizeof tail->checkpoint_condition,
                       written ? NULL : save->error);
    free_save(save);
    if (tail->closed) tail_save_now(tail);
    else if (written) wakeup_signal(&tail->news);
    tail_unref(tail);
}

void tail_save(struct tail *tail) {
    if (!tail->checkpoint.path || !tail->unsaved || tail->saving) return;
    struct tail_save *save = xcalloc(1, sizeof *save);
    save->work.data = save;
    save->tail = tail;
    save->path = xstrdup(tail->checkpoint.path);
    for (const struct tail_file *file = tail->files; file; file = file->next)
        save->records |= *file->first_line != '\0';
    format_positions(tail, false, &save->text);
    tail->unsaved = false;
    tail->saving = save;
    tail->saved_ns = clock_monotonic_ns();
    tail->handles++;
    uv_queue_work(tail->timer.loop, &save->work, write_on_worker, after_write);
}

void tail_save_now(struct tail *tail) {
    if (!tail->checkpoint.path || !tail->unsaved || tail->saving) return;
    struct buf text = {0};
    char error[512];
    format_positions(tail, false, &text);
    if (checkpoint_write(tail->checkpoint.path, text.data, text.len, error, sizeof error))
        fprintf(stderr, "dbobs: %s: what was sent since the last one will be sent again\n", error);
    tail->unsaved = false;
    buf_free(&text);
}
