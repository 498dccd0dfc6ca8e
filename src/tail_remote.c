// A log's place is its name, until a look at the directory or its first bytes tell otherwise. It is looked for by its
// first line under all names then, and given up only when a second look does not show it either.
#include "tail_remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tail_remote_state.h"
#include "tail_state.h"

#define PIECE (1024 * 1024)
#define SHORT_START 4096  // asked for first to know a file by its first line
#define PAGE 4096

struct tail_remote *tail_remote_new(struct tail *tail) {
    struct tail_remote *remote = xcalloc(1, sizeof *remote);
    remote->tail = tail;
    remote->references = 1;
    return remote;
}

struct tail_remote *tail_remote_of(struct tail *tail) {
    if (tail->remote) tail->remote->references++;
    return tail->remote;
}

static void forget(struct tail_remote_name *name) {
    free(name->name);
    free(name);
}

void tail_remote_unref(struct tail_remote *remote) {
    if (--remote->references) return;
    for (size_t i = 0; i < remote->count; i++) forget(remote->names[i]);
    free(remote->names);
    free(remote->index);
    free(remote);
}

void tail_remote_close(struct tail_remote *remote) {
    remote->tail = NULL;
    wakeup_signal(&remote->hungry);
}

struct wakeup *tail_remote_hungry(struct tail_remote *remote) {
    return &remote->hungry;
}

void tail_remote_ate(struct tail_remote *remote) {
    wakeup_signal(&remote->hungry);
}

bool tail_remote_is_settled(const struct tail_file *file) {
    return !file->remote || file->remote->settled;
}

bool tail_remote_is_finished(const struct tail_file *file) {
    return file->remote->lost && file->read >= file->remote->end;
}

int64_t tail_remote_size(const struct tail_file *file) {
    return file->remote->size > file->remote->end ? file->remote->size : file->remote->end;
}

void tail_remote_restore(struct tail_remote *remote) {
    struct tail *tail = remote->tail;
    for (size_t i = 0; i < tail->checkpoint.count; i++) {
        const struct checkpoint_position *position = &tail->checkpoint.positions[i];
        if (strcmp(position->source, "sql") != 0 || !*position->first_line) continue;
        struct tail_file *file = tail_remote_follow(remote, position->path, position->first_line, position->offset);
        file->truncations = position->truncations;
        file->remote->restored = true;
        tail->recorded = true;
        tail->from_end = false;
    }
}

void tail_remote_list_begin(struct tail_remote *remote) {
    remote->looks++;
    for (size_t i = 0; i < remote->count; i++) remote->names[i]->listed = false;
}

// What a look showed of a name that was there before.
static void look_again(struct tail_remote_name *name, int64_t size, int64_t modified) {
    bool same_size = size == name->size, touched = modified != name->modified;
    int64_t read = name->file ? name->file->remote->end : 0;
    if (name->file ? size < read || size < name->size || (same_size && touched) : !same_size || touched)
        name->known = false;
    name->size = size;
    name->modified = modified;
}

void tail_remote_list_add(struct tail_remote *remote, const char *text, int64_t size, int64_t modified) {
    if (!remote->tail) return;  // the files that the names know are gone with it
    struct tail_remote_name *name = tail_remote_find(remote, text);
    if (name) {
        look_again(name, size, modified);
    } else {
        name = xcalloc(1, sizeof *name);
        name->name = xstrdup(text);
        name->size = size;
        name->modified = modified;
        remote->names = xrealloc(remote->names, (remote->count + 1) * sizeof *remote->names);
        remote->names[remote->count++] = name;
    }
    name->listed = true;
    if (!size && !name->known) tail_remote_know(remote, name, "", NULL, 0);
}

static void drop_unlisted(struct tail_remote *remote) {
    size_t kept = 0;
    for (size_t i = 0; i < remote->count; i++) {
        struct tail_remote_name *name = remote->names[i];
        if (name->listed) {
            remote->names[kept++] = name;
            continue;
        }
        tail_remote_displace(remote, name);
        forget(name);
    }
    remote->count = kept;
}

void tail_remote_list_end(struct tail_remote *remote) {
    if (!remote->tail) return;
    drop_unlisted(remote);
    tail_remote_sort(remote);
    tail_remote_look_at_files(remote);
}

// Whether the follower has still to go through some of what was brought.
static bool is_full(const struct tail_file *file) {
    return file->fd >= 0 && !file->eof_ns && file->remote->end > file->read;
}

static enum tail_remote_want want(struct tail_remote *remote, struct tail_remote_name *name, int64_t offset,
                                  int64_t len) {
    remote->wanted = name;
    remote->wanted_at = offset;
    remote->wanted_len = (size_t)len;
    return TAIL_REMOTE_WANT;
}

static enum tail_remote_want next_piece(struct tail_remote *remote) {
    for (size_t i = 0; i < remote->count; i++) {
        struct tail_remote_name *name = remote->names[i];
        int64_t len = name->longer ? TAIL_REMOTE_FIRST_LINE : SHORT_START;
        if (!name->known) return want(remote, name, 0, len);
    }
    switch (tail_remote_settle(remote)) {
    case TAIL_REMOTE_SETTLED:
        break;
    case TAIL_REMOTE_LOOK:
        return TAIL_REMOTE_LIST;
    case TAIL_REMOTE_UNKNOWN:
        return next_piece(remote);
    }
    // The older file is read to its end first.
    for (const struct tail_file *file = remote->tail->files; file; file = file->next) {
        struct tail_remote_name *name = file->remote->name;
        int64_t end = file->remote->end;
        if (is_full(file)) return TAIL_REMOTE_BUSY;
        if (name && name->size > end)
            return want(remote, name, end, name->size - end < PIECE ? name->size - end : PIECE);
    }
    return TAIL_REMOTE_NOTHING;
}

enum tail_remote_want tail_remote_want(struct tail_remote *remote, const char **name, int64_t *offset, size_t *len) {
    remote->wanted = NULL;
    if (!remote->tail) return TAIL_REMOTE_NOTHING;
    enum tail_remote_want answer = next_piece(remote);
    if (answer != TAIL_REMOTE_WANT) return answer;
    *name = remote->wanted->name;
    *offset = remote->wanted_at;
    *len = remote->wanted_len;
    return TAIL_REMOTE_WANT;
}

// The start of a file came, to know it by.
static void feed_start(struct tail_remote *remote, struct tail_remote_name *name, const char *bytes, size_t len) {
    char first_line[CHECKPOINT_HASH] = "";
    const char *end = len ? memchr(bytes, '\n', len) : NULL;
    if (!end && len == SHORT_START && !name->longer) {
        name->longer = true;
        return;
    }
    name->longer = false;
    if (end) tail_file_hash_of(bytes, (size_t)(end - bytes), first_line);
    else if (len == TAIL_REMOTE_FIRST_LINE) tail_file_hash_of(bytes, len, first_line);
    size_t head = end ? (size_t)(end - bytes) + 1 : len;
    tail_remote_know(remote, name, first_line, bytes, head < TAIL_HEAD ? head : TAIL_HEAD);
}

// Makes room: what is acknowledged is not needed any more.
static void punch(const struct tail_file *file) {
    struct tail_remote_file *mirror = file->remote;
    int64_t until = file->acked - file->acked % PAGE;
    if (until <= mirror->punched) return;
    if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, mirror->punched, until - mirror->punched) == 0)
        mirror->punched = until;
}

static int append(struct tail_file *file, const char *bytes, size_t len) {
    int64_t at = file->remote->end;
    for (size_t done = 0; done < len;) {
        ssize_t wrote = pwrite(file->fd, bytes + done, len - done, at + (int64_t)done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return -1;
        done += (size_t)wrote;
    }
    return 0;
}

static int open_mirror(struct tail_file *file) {
    if (file->fd >= 0) return 0;
    file->fd = memfd_create("dbobs log", MFD_CLOEXEC);
    if (file->fd < 0) return -1;
    file->remote->punched = file->remote->end - file->remote->end % PAGE;
    return ftruncate(file->fd, file->remote->end);
}

static void feed_piece(struct tail_remote *remote, struct tail_remote_name *name, const char *bytes, size_t len) {
    struct tail *tail = remote->tail;
    struct tail_file *file = name->file;
    char problem[512] = "";
    if (!len) {
        name->size = file->remote->end;  // as of the next look it may be another file's
        return;
    }
    if (open_mirror(file) || append(file, bytes, len)) {
        snprintf(problem, sizeof problem, "cannot keep a piece of %s in memory: %s", file->path, strerror(errno));
        name->size = file->remote->end;
    } else {
        file->remote->end += (int64_t)len;
        file->remote->settled = false;
        file->eof_ns = 0;
        punch(file);
        wakeup_signal(&tail->news);
    }
    tail_set_condition(tail, tail->read_condition, sizeof tail->read_condition, problem);
}

void tail_remote_feed(struct tail_remote *remote, const char *bytes, size_t len, const char *head, size_t head_len) {
    struct tail_remote_name *name = remote->wanted;
    remote->wanted = NULL;
    if (!remote->tail || !name) return;
    if (!name->known) {
        // One that is not there any more is seen so at the next look, or is looked at anew then.
        if (!head) name->modified = INT64_MIN;
        if (head) feed_start(remote, name, bytes, len < remote->wanted_len ? len : remote->wanted_len);
        else tail_remote_know(remote, name, "", NULL, 0);
        return;
    }
    const struct tail_file *file = name->file;
    bool same = file && head && head_len >= file->head_len && memcmp(head, file->head, file->head_len) == 0;
    if (same) feed_piece(remote, name, bytes, len < remote->wanted_len ? len : remote->wanted_len);
    else name->known = false;
}
