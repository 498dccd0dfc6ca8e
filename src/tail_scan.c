// Which files there are: new ones, renamed ones, copies, truncated ones, and at the start those of the checkpoint. A
// file is let go only at its end, acknowledged, with its successor there.
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "tail_search.h"
#include "tail_state.h"

void tail_append(struct tail *tail, struct tail_file *file) {
    struct tail_file **end = tail->last ? &tail->last->next : &tail->files;
    while (*end) end = &(*end)->next;
    *end = tail->last = file;
    tail_index_add(tail, file);
}

static int older_first(const void *a, const void *b) {
    const struct tail_found *first = a, *second = b;
    int64_t x = tail_file_mtime_ns(&first->status), y = tail_file_mtime_ns(&second->status);
    return x != y ? (x > y) - (x < y) : strcmp(first->path, second->path);
}

struct written {
    struct tail_file *file;
    int64_t mtime_ns;
    size_t place;
};

static int written_first(const void *a, const void *b) {
    const struct written *first = a, *second = b;
    if (first->mtime_ns != second->mtime_ns) return first->mtime_ns > second->mtime_ns ? 1 : -1;
    return (first->place > second->place) - (first->place < second->place);
}

void tail_order(struct tail *tail, struct tail_file *known) {
    struct tail_file **at = known ? &known->next : &tail->files;
    struct written *list = NULL;
    size_t count = 0, cap = 0;
    for (struct tail_file *file = *at; file; file = file->next) {
        struct stat status = {0};
        if (file->fd < 0 ? stat(file->path, &status) : fstat(file->fd, &status)) status.st_mtime = 0;
        if (count == cap) list = xrealloc(list, (cap = cap ? cap * 2 : 64) * sizeof *list);
        list[count] = (struct written){file, tail_file_mtime_ns(&status), count};
        count++;
    }
    if (count) qsort(list, count, sizeof *list, written_first);
    for (size_t i = 0; i < count; i++, at = &(*at)->next) *at = list[i].file;
    *at = NULL;
    free(list);
    tail->last = NULL;
}

// Behind the last newline of the file: where reading from the end begins.
static int64_t last_line_end(int fd, int64_t size) {
    char block[65536];
    for (int64_t until = size; until > 0;) {
        size_t len = until < (int64_t)sizeof block ? (size_t)until : sizeof block;
        ssize_t got = pread(fd, block, len, until - (int64_t)len);
        if (got != (ssize_t)len) break;
        const char *newline = memrchr(block, '\n', len);
        if (newline) return until - (int64_t)len + (newline - block) + 1;
        until -= (int64_t)len;
    }
    return 0;
}

// copytruncate first copies: a file that holds the same as one that is followed, and not more, is not read.
static bool is_copy(const struct tail *tail, int fd, const struct stat *status) {
    char first_line[CHECKPOINT_HASH];
    if (tail_file_hash(fd, first_line) <= 0) return false;
    for (const struct tail_file *file = tail->files; file; file = file->next) {
        struct stat original;
        if (file->fd < 0 || file->read == 0 || strcmp(file->first_line, first_line) != 0) continue;
        if (file->archive || fstat(file->fd, &original)) continue;
        if (status->st_size <= original.st_size && tail_file_is_same_content(file, fd, status->st_size)) return true;
    }
    return false;
}

// Whether a file that is there at the start, and that no position is known of, is of no interest up to now.
static bool is_read_from_end(const struct tail *tail, const struct stat *status) {
    return tail->from_end || tail_file_mtime_ns(status) / 1000 < tail->since_us;
}

static void follow(struct tail *tail, struct tail_found *found, bool first, bool copies) {
    struct tail_file *file = tail_file_new(found->path, found->fd, &found->status);
    file->listed = true;
    if (found->path[tail_archive_stem(found->path)]) tail_file_unpack(file);
    if (copies && is_copy(tail, found->fd, &found->status)) {
        file->copy = true;
        file->seen_size = found->status.st_size;
        close(file->fd);
        file->fd = -1;
    } else if (first && is_read_from_end(tail, &found->status) && tail_file_identify(file) > 0) {
        file->read = file->acked = last_line_end(file->fd, found->status.st_size);
    }
    tail_append(tail, file);
    tail->unsaved = true;
    wakeup_signal(&tail->news);
}

void tail_add_find(struct tail_finds *finds, const char *path, int fd, const struct stat *status) {
    finds->list = xrealloc(finds->list, (finds->count + 1) * sizeof *finds->list);
    finds->list[finds->count++] = (struct tail_found){xstrdup(path), fd, *status};
}

// Follows what was found, the oldest first.
void tail_follow_all(struct tail *tail, struct tail_finds *finds, bool first) {
    bool copies = false;  // nothing was read of what there could be copies of
    for (const struct tail_file *file = tail->files; file && !copies; file = file->next) copies = file->read > 0;
    if (finds->count) qsort(finds->list, finds->count, sizeof *finds->list, older_first);
    for (size_t i = 0; i < finds->count; i++) {
        struct tail_found *found = &finds->list[i];
        if (tail_known(tail, &found->status)) close(found->fd);
        else follow(tail, found, first, copies);
        free(found->path);
    }
    free(finds->list);
}

// What was taken for a copy has grown: it may have become a file of its own, which only began like the other.
static void look_at_copy(const struct tail *tail, struct tail_file *file, const struct stat *status) {
    struct stat opened;
    char error[512];
    if (file->seen_size == status->st_size) return;
    int fd = tail_file_open(file->path, &opened, error, sizeof error);
    if (fd < 0) return;
    file->seen_size = opened.st_size;
    if (is_copy(tail, fd, &opened)) {
        close(fd);
        return;
    }
    file->fd = fd;
    file->copy = false;
}

// Looks at one path: a file that is followed already, or one to follow. The first problem is written to `problem`.
// A directory among the files of a pattern is none of them.
static bool look_at(struct tail *tail, const char *path, struct tail_finds *finds, char *problem, size_t size) {
    char error[512] = "";
    struct stat status;
    int failed = lstat(path, &status);
    bool is_link = !failed && S_ISLNK(status.st_mode);
    if (is_link) failed = stat(path, &status);
    if (failed) {
        if (errno == ENOENT) snprintf(error, sizeof error, "there is no file %s yet: waiting for it", path);
        else snprintf(error, sizeof error, "cannot read %s: %s", path, strerror(errno));
    } else if (tail->is_pattern && S_ISDIR(status.st_mode)) {
        return false;
    } else {
        struct tail_file *file = tail_known(tail, &status);
        if (file) {
            file->listed = true;
            if (strcmp(file->path, path) != 0) {
                free(file->path);
                file->path = xstrdup(path);
                tail_index_forget(&tail->index);
            }
            file->told = tail_is_told(tail, &status, is_link);
            if (file->copy) look_at_copy(tail, file, &status);
            return true;
        }
        int fd = tail_file_open(path, &status, error, sizeof error);
        if (fd >= 0) tail_add_find(finds, path, fd, &status);
    }
    if (!*problem) snprintf(problem, size, "%s", error);
    return true;
}

void tail_look_for_directory(struct tail *tail) {
    struct stat status;
    struct buf pattern = {0};
    if (tail->is_pattern || stat(tail->pattern, &status) || !S_ISDIR(status.st_mode)) return;
    size_t len = strlen(tail->pattern);
    while (len > 1 && tail->pattern[len - 1] == '/') len--;
    buf_put(&pattern, tail->pattern, len);
    buf_put(&pattern, "/*", sizeof "/*");
    free(tail->pattern);
    tail->pattern = pattern.data;
    tail->is_pattern = tail->is_directory = true;
    // Up to now the directory was watched in which it is.
    if (tail->watching) uv_fs_event_stop(&tail->watch);
    tail->watching = false;
}

static bool ends_in(const char *name, const char *suffix) {
    size_t len = strlen(name), rest = strlen(suffix);
    return len > rest && strcmp(name + len - rest, suffix) == 0;
}

bool tail_is_log(const struct tail *tail, const char *name) {
    const char *pattern = tail_base_name(tail->pattern);
    if (!tail->is_pattern) return strcmp(pattern, name) == 0;
    // The log that it was compressed from was read before, or is found by its position.
    if (fnmatch(pattern, name, FNM_PERIOD) != 0 || name[tail_archive_stem(name)]) return false;
    if (!tail->is_directory || !tail->suffix) return true;
    // A server with several formats writes them side by side.
    if (!*tail->suffix) return !ends_in(name, ".json") && !ends_in(name, ".csv");
    return ends_in(name, tail->suffix);
}

// Our own checkpoint may be kept beside the logs.
static bool is_checkpoint(const struct tail *tail, const char *path) {
    const char *own = tail->checkpoint.path;
    return own && strncmp(path, own, strlen(own)) == 0;
}

static void look_at_pattern(struct tail *tail, struct tail_finds *finds, char *problem, size_t size) {
    glob_t matches = {0};
    int result = glob(tail->pattern, GLOB_NOSORT, NULL, &matches);
    size_t logs = 0;
    for (size_t i = 0; result == 0 && i < matches.gl_pathc; i++) {
        const char *path = matches.gl_pathv[i];
        if (!tail_is_log(tail, tail_base_name(path)) || is_checkpoint(tail, path)) continue;
        logs += look_at(tail, path, finds, problem, size);
    }
    if (result == 0 && !logs && tail->is_directory)
        snprintf(problem, size, "no log is in %.*s yet: waiting for one", (int)strlen(tail->pattern) - 2,
                 tail->pattern);
    else if (result == GLOB_NOMATCH || (result == 0 && !logs))
        snprintf(problem, size, "no file matches %s yet: waiting for one", tail->pattern);
    else if (result) snprintf(problem, size, "cannot look for files like %s: %s", tail->pattern, strerror(errno));
    globfree(&matches);
}

// Takes over the open file of another one, which is freed.
static void adopt(struct tail_file *file, struct tail_file *other) {
    free(file->path);
    file->path = xstrdup(other->path);
    file->fd = other->fd;
    tail_archive_free(file->archive);
    file->archive = other->archive;
    other->archive = NULL;
    file->device = other->device;
    file->inode = other->inode;
    other->fd = -1;
    tail_file_free(other);
}

// Frees a file that was taken out of the list.
static void forget(struct tail *tail, struct tail_file *file) {
    tail_index_forget(&tail->index);
    tail->last = NULL;
    tail_file_free(file);
}

static void forget_copy(struct tail *tail, uint64_t device, uint64_t inode) {
    for (struct tail_file **at = &tail->files; *at; at = &(*at)->next) {
        struct tail_file *file = *at;
        if (!file->copy || file->device != device || file->inode != inode) continue;
        *at = file->next;
        forget(tail, file);
        return;
    }
}

static void begin_anew(struct tail *tail, struct tail_file *file, struct tail_listing *listing) {
    struct stat status = {.st_dev = file->device, .st_ino = file->inode};
    struct tail_file *anew = tail_file_new(file->path, file->fd, &status);
    anew->truncations = file->truncations + 1;
    anew->listed = file->listed;
    anew->gone = file->gone;
    anew->next = file->next;
    file->next = anew;
    tail_index_add(tail, anew);
    file->fd = -1;
    file->gone = true;
    file->eof_ns = 0;
    const struct tail_wanted wanted = {
        .path = file->path, .first_line = file->first_line, .size = file->read, .before = ""};
    struct tail_file *copy = *file->first_line ? tail_search(listing, &wanted) : NULL;
    if (copy) {
        forget_copy(tail, copy->device, copy->inode);
        tail_note(tail, "%s was truncated and begun anew: what was not read of it is read from %s", file->path,
                  copy->path);
        adopt(file, copy);
        tail_index_forget(&tail->index);
    } else if (file->read > 0) {
        tail_note(tail,
                  "%s was truncated and begun anew when %lld bytes of it were read: what it held behind them, if "
                  "anything, is lost",
                  file->path, (long long)file->read);
    }
    tail->unsaved = true;
}

void tail_begin_anew(struct tail *tail, struct tail_file *file) {
    struct tail_listing listing = {0};
    begin_anew(tail, file, &listing);
    tail_listing_clear(&listing);
}

// Before a new file is looked at: it may be the copy of one that was truncated right now.
static void notice_truncations(struct tail *tail) {
    struct tail_listing listing = {0};
    for (struct tail_file *file = tail->files; file; file = file->next)
        if (file->fd >= 0 && *file->first_line && tail_file_unchanged(file) == 0) begin_anew(tail, file, &listing);
    tail_listing_clear(&listing);
}

void tail_scan(struct tail *tail, bool first) {
    struct tail_finds finds = {0};
    char problem[512] = "";
    tail->look = false;
    tail_look_for_directory(tail);
    for (struct tail_file *file = tail->files; file; file = file->next) file->listed = false;
    if (tail->is_pattern) look_at_pattern(tail, &finds, problem, sizeof problem);
    else (void)look_at(tail, tail->pattern, &finds, problem, sizeof problem);
    for (struct tail_file *file = tail->files; file; file = file->next) {
        // From now on somebody may still write to it for a while.
        if (!file->gone && !file->listed && file->eof_ns) file->eof_ns = file->rested_ns = clock_monotonic_ns();
        file->gone = !file->listed;
    }
    if (finds.count) notice_truncations(tail);
    tail_follow_all(tail, &finds, first);
    tail_set_condition(tail, tail->path_condition, sizeof tail->path_condition, *problem ? problem : NULL);
}

// Whether the writer went on to another file: an empty one may have been made before the writer knows of it.
static bool has_successor(const struct tail_file *file) {
    for (const struct tail_file *later = file->next; later; later = later->next)
        if (!later->copy && *later->first_line) return true;
    return false;
}

// Lines of a truncated file can still wait in the buffer.
static bool is_buffered(const struct tail *tail, const struct tail_file *file) {
    const struct buf *buffer = &tail->buffer;
    return tail->current == file && buffer->len > tail->taken &&
           memchr(buffer->data + tail->taken, '\n', buffer->len - tail->taken);
}

static bool is_finished(const struct tail *tail, const struct tail_file *file) {
    if (file->segments || file == tail->open_file || file->acked != file->read) return false;
    if (file->copy) return !file->listed;
    if (file->remote) return tail_remote_is_finished(file);
    if (file->fd < 0) return !is_buffered(tail, file);
    if (!file->gone || !file->eof_ns) return false;
    bool waited = clock_monotonic_ns() - file->eof_ns >= (int64_t)tail->grace_ms * 1000000;
    if (!waited || file->seen_size > file->read) return false;
    struct stat status;
    bool removed = tail->is_pattern && fstat(file->fd, &status) == 0 && status.st_nlink == 0;
    return removed || has_successor(file);
}

// What is found later and was not modified since is known to be read.
static void note_let_go(struct tail *tail, const struct tail_file *file) {
    struct stat status;
    if (file->copy || file->fd < 0 || fstat(file->fd, &status)) return;
    int64_t mtime_ns = tail_file_mtime_ns(&status);
    if (mtime_ns > tail->checkpoint.let_go_ns) tail->checkpoint.let_go_ns = mtime_ns;
}

void tail_drop_finished(struct tail *tail) {
    for (struct tail_file **at = &tail->files; *at;) {
        struct tail_file *file = *at;
        if (!is_finished(tail, file)) {
            at = &file->next;
            continue;
        }
        if (tail->current == file) tail->current = NULL;
        *at = file->next;
        note_let_go(tail, file);
        forget(tail, file);
        tail->unsaved = true;
    }
}
