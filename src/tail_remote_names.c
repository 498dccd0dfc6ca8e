// Which remote log is behind which name, after renames, copies and truncations.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tail_remote_state.h"
#include "tail_state.h"

static size_t slot_of(const struct tail_remote *remote, const char *text) {
    uint32_t value = 2166136261u;
    for (; *text; text++) value = (value ^ (unsigned char)*text) * 16777619u;
    return value & (remote->slots - 1);
}

struct tail_remote_name *tail_remote_find(const struct tail_remote *remote, const char *text) {
    if (!remote->slots) return NULL;
    size_t slot = slot_of(remote, text);
    while (remote->index[slot] && strcmp(remote->index[slot]->name, text) != 0) slot = (slot + 1) & (remote->slots - 1);
    return remote->index[slot];
}

static void build_index(struct tail_remote *remote) {
    size_t slots = 64;
    while (slots < remote->count * 2) slots *= 2;
    free(remote->index);
    remote->index = xcalloc(slots, sizeof *remote->index);
    remote->slots = slots;
    for (size_t i = 0; i < remote->count; i++) {
        size_t slot = slot_of(remote, remote->names[i]->name);
        while (remote->index[slot]) slot = (slot + 1) & (slots - 1);
        remote->index[slot] = remote->names[i];
    }
}

// Of two that were written to in the same second "log.1" is older than "log", and else names carry the time.
static int older_first(const void *a, const void *b) {
    const struct tail_remote_name *first = *(struct tail_remote_name *const *)a;
    const struct tail_remote_name *second = *(struct tail_remote_name *const *)b;
    if (first->modified != second->modified) return first->modified < second->modified ? -1 : 1;
    size_t len = strlen(first->name), other = strlen(second->name);
    if (len != other && memcmp(first->name, second->name, len < other ? len : other) == 0) return len > other ? -1 : 1;
    return strcmp(first->name, second->name);
}

void tail_remote_sort(struct tail_remote *remote) {
    if (remote->count) qsort(remote->names, remote->count, sizeof *remote->names, older_first);
    build_index(remote);
}

struct tail_file *tail_remote_follow(struct tail_remote *remote, const char *path, const char *first_line,
                                     int64_t offset) {
    const struct stat none = {0};
    struct tail_file *file = tail_file_new(path, -1, &none);
    file->remote = xcalloc(1, sizeof *file->remote);
    file->remote->missing = remote->looks;
    file->remote->end = file->remote->size = file->read = file->acked = offset;
    snprintf(file->first_line, sizeof file->first_line, "%s", first_line);
    tail_append(remote->tail, file);
    remote->tail->unsaved = true;
    return file;
}

void tail_remote_displace(const struct tail_remote *remote, struct tail_remote_name *name) {
    if (!name->file) return;
    name->file->remote->missing = remote->looks;
    name->file->remote->name = NULL;
    name->file = NULL;
}

void tail_remote_know(struct tail_remote *remote, struct tail_remote_name *name, const char *first_line,
                      const char *head, size_t head_len) {
    const struct tail_file *file = name->file;
    if (strcmp(name->first_line, first_line) != 0) name->copy = false;
    snprintf(name->first_line, sizeof name->first_line, "%s", first_line);
    if (head_len) memcpy(name->head, head, head_len);
    name->head_len = head_len;
    name->known = true;
    name->when = remote->looks;
    if (file && (strcmp(file->first_line, first_line) != 0 || name->size < file->remote->end))
        tail_remote_displace(remote, name);
}

static void place(const struct tail_remote *remote, struct tail_file *file, struct tail_remote_name *name) {
    free(file->path);
    file->path = xstrdup(name->name);
    file->remote->name = name;
    file->remote->size = name->size;
    memcpy(file->head, name->head, name->head_len);
    file->head_len = name->head_len;
    name->file = file;
    remote->tail->unsaved = true;
}

// A place for a file by its first line: the one where it was, else the one that was written to last.
static struct tail_remote_name *place_for(const struct tail_remote *remote, const struct tail_file *file) {
    struct tail_remote_name *found = NULL;
    for (size_t i = 0; i < remote->count; i++) {
        struct tail_remote_name *name = remote->names[i];
        if (name->file || name->size < file->remote->end || strcmp(name->first_line, file->first_line) != 0) continue;
        if (!found || strcmp(found->name, file->path) != 0) found = name;
    }
    return found;
}

// Whoever looked for it in vain twice has lost it. The rest of what was brought is still handed out.
static void lose(const struct tail_remote *remote, struct tail_file *file) {
    struct tail *tail = remote->tail;
    struct tail_remote_file *mirror = file->remote;
    const struct tail_remote_name *other = tail_remote_find(remote, file->path);
    long long end = mirror->end, more = mirror->size - mirror->end;
    if (other && *other->first_line)
        tail_note(tail,
                  "%s was truncated and begun anew%s when %lld bytes of it were read: what it held behind them, "
                  "if anything, is lost",
                  file->path, mirror->restored ? " while nobody read it," : "", end);
    else if (mirror->restored)
        tail_note(tail,
                  "%s is not there any more, under no name, while nobody read it: what it held behind byte %lld, "
                  "if anything, is lost",
                  file->path, end);
    else if (more > 0)
        tail_note(tail, "%s was removed before its last %lld bytes were read: they are lost", file->path, more);
    mirror->lost = mirror->settled = true;
    file->gone = true;
    file->eof_ns = 0;
    tail->unsaved = true;
    wakeup_signal(&tail->news);
}

// Files without a place get one, or are given up.
static enum tail_remote_settled settle_files(const struct tail_remote *remote) {
    enum tail_remote_settled settled = TAIL_REMOTE_SETTLED;
    for (struct tail_file *file = remote->tail->files; file; file = file->next) {
        if (file->remote->name || file->remote->lost) continue;
        struct tail_remote_name *name = place_for(remote, file);
        if (name) {
            place(remote, file, name);
            file->remote->restored = false;
        } else if (file->remote->missing < remote->looks) {
            lose(remote, file);
        } else {
            settled = TAIL_REMOTE_LOOK;
        }
    }
    return settled;
}

// The file in its place that begins as the name's, of which the name is a copy, or which is about to be displaced.
static struct tail_file *original_of(const struct tail_remote *remote, const struct tail_remote_name *name) {
    for (struct tail_file *file = remote->tail->files; file; file = file->next)
        if (file->remote->name && strcmp(file->first_line, name->first_line) == 0) return file;
    return NULL;
}

// How often a log was begun anew where the name is: once more than the one that was there before, unless that is there
// under another name. Whether it was renamed or copied to that cannot be told from elsewhere.
static uint32_t truncations_at(const struct tail_remote *remote, const struct tail_remote_name *name) {
    uint32_t most = 0;
    for (const struct tail_file *file = remote->tail->files; file; file = file->next)
        if (file->remote->lost && strcmp(file->path, name->name) == 0 && file->truncations >= most)
            most = file->truncations + 1;
    return most;
}

enum tail_remote_settled tail_remote_settle(struct tail_remote *remote) {
    enum tail_remote_settled settled = settle_files(remote);
    if (settled != TAIL_REMOTE_SETTLED) return settled;
    for (size_t i = 0; i < remote->count; i++) {
        struct tail_remote_name *name = remote->names[i];
        if (name->file || name->copy || !*name->first_line) continue;
        struct tail_file *original = original_of(remote, name);
        if (original && original->remote->name->when < remote->looks) {
            // It may have been renamed to this name, and another one be in its place.
            original->remote->name->known = false;
            return TAIL_REMOTE_UNKNOWN;
        }
        if (original) {
            name->copy = true;
            continue;
        }
        bool at_end = name->modified < remote->tail->since_us || (remote->tail->from_end && remote->looks == 1);
        struct tail_file *file = tail_remote_follow(remote, name->name, name->first_line, at_end ? name->size : 0);
        file->truncations = truncations_at(remote, name);
        place(remote, file, name);
    }
    return TAIL_REMOTE_SETTLED;
}

// A file that is read and acknowledged needs no mirror until it grows.
static void rest(struct tail *tail, struct tail_file *file) {
    const struct tail_remote_file *mirror = file->remote;
    if (file->fd < 0 || file->segments || file == tail->open_file) return;
    if (file->acked != mirror->end || file->read != mirror->end) return;
    if (tail->current == file) tail->current = NULL;
    close(file->fd);
    file->fd = -1;
}

void tail_remote_look_at_files(struct tail_remote *remote) {
    struct tail *tail = remote->tail;
    const struct tail_file *newest = NULL;
    for (size_t i = 0; i < remote->count; i++)
        if (remote->names[i]->file) newest = remote->names[i]->file;
    for (struct tail_file *file = tail->files; file; file = file->next) {
        struct tail_remote_file *mirror = file->remote;
        if (!mirror->name) continue;
        mirror->size = mirror->name->size;
        bool settled = mirror->name->known && mirror->size == mirror->end;
        if (settled && !mirror->settled && file->fd >= 0) {
            // Its last record may be complete now.
            file->eof_ns = 0;
            wakeup_signal(&tail->news);
        }
        mirror->settled = settled;
        file->gone = settled && file != newest;
        if (settled && file->gone) rest(tail, file);
    }
}
