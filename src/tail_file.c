// Identity of log files. A rename keeps device and inode, copytruncate keeps the first line in the copy, a truncation
// changes the first line: so each kind of rotation is told from the others.
#include "tail_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"

#define LONGEST_FIRST_LINE (64 * 1024)
#define WINDOW 4096  // bytes before the position that a copy must share

int tail_file_open(const char *path, struct stat *status, char *error, size_t size) {
    // Without O_NONBLOCK a named pipe would hold us up here.
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        const char *hint =
            errno == EACCES ? ": let this user read it (PostgreSQL: log_file_mode = 0640 and its group)" : "";
        snprintf(error, size, "cannot read %s: %s%s", path, strerror(errno), hint);
        return -1;
    }
    if (fstat(fd, status) == 0 && S_ISREG(status->st_mode)) return fd;
    if (S_ISDIR(status->st_mode))
        snprintf(error, size,
                 "cannot follow %s: it is a directory; a pattern such as %s/*.json follows the files in it", path,
                 path);
    else snprintf(error, size, "cannot follow %s: it is no regular file", path);
    close(fd);
    return -1;
}

struct tail_file *tail_file_new(const char *path, int fd, const struct stat *status) {
    struct tail_file *file = xcalloc(1, sizeof *file);
    file->path = xstrdup(path);
    file->fd = fd;
    file->device = status->st_dev;
    file->inode = status->st_ino;
    file->seen_size = -1;
    return file;
}

void tail_file_free(struct tail_file *file) {
    if (file->fd >= 0) close(file->fd);
    free(file->path);
    free(file);
}

// FNV-1a, 64 bits: the same over every way of reading, so it never changes.
static void hash(const char *text, size_t len, char out[CHECKPOINT_HASH]) {
    uint64_t value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) value = (value ^ (unsigned char)text[i]) * 0x100000001b3u;
    snprintf(out, CHECKPOINT_HASH, "%016llx", (unsigned long long)value);
}

bool tail_file_hash(int fd, char first_line[CHECKPOINT_HASH]) {
    char *line = xmalloc(LONGEST_FIRST_LINE);
    ssize_t got = pread(fd, line, LONGEST_FIRST_LINE, 0);
    const char *end = got > 0 ? memchr(line, '\n', (size_t)got) : NULL;
    bool complete = end || got == LONGEST_FIRST_LINE;
    if (complete) hash(line, end ? (size_t)(end - line) : (size_t)got, first_line);
    free(line);
    return complete;
}

bool tail_file_identify(struct tail_file *file) {
    if (*file->first_line) return true;
    char first_line[CHECKPOINT_HASH];
    if (file->fd < 0 || !tail_file_hash(file->fd, first_line)) return false;
    ssize_t got = pread(file->fd, file->head, TAIL_HEAD, 0);
    if (got <= 0) return false;
    const char *end = memchr(file->head, '\n', (size_t)got);
    file->head_len = end ? (size_t)(end - file->head) + 1 : (size_t)got;
    memcpy(file->first_line, first_line, sizeof first_line);
    return true;
}

bool tail_file_unchanged(const struct tail_file *file) {
    char head[TAIL_HEAD];
    ssize_t got = pread(file->fd, head, file->head_len, 0);
    return got == (ssize_t)file->head_len && memcmp(head, file->head, file->head_len) == 0;
}

bool tail_file_is_same_content(const struct tail_file *file, int fd, int64_t size) {
    char first_line[CHECKPOINT_HASH], mine[WINDOW], other[WINDOW];
    if (file->fd < 0 || !tail_file_hash(fd, first_line) || strcmp(first_line, file->first_line) != 0) return false;
    int64_t until = file->read < size ? file->read : size;
    int64_t from = until > WINDOW ? until - WINDOW : 0;
    size_t len = (size_t)(until - from);
    ssize_t got = pread(file->fd, mine, len, from);
    return got == (ssize_t)len && pread(fd, other, len, from) == got && memcmp(mine, other, len) == 0;
}

int64_t tail_file_mtime_ns(const struct stat *status) {
    return (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
}

struct checkpoint_position tail_file_position(const struct tail_file *file) {
    struct checkpoint_position position = {.source = "file",
                                           .path = file->path,
                                           .device = file->device,
                                           .inode = file->inode,
                                           .truncations = file->truncations,
                                           .offset = file->acked};
    memcpy(position.first_line, file->first_line, sizeof position.first_line);
    return position;
}

// Whether the entry can be the file itself, or else a copy of it, as far as its status tells.
static bool may_be_wanted(const struct tail_wanted *wanted, const struct stat *status, bool itself) {
    bool same = status->st_dev == wanted->device && status->st_ino == wanted->inode;
    return same == itself && status->st_size >= wanted->size;
}

static struct tail_file *open_wanted(const struct tail_wanted *wanted, const char *path) {
    struct stat status;
    char error[256], first_line[CHECKPOINT_HASH];
    int fd = tail_file_open(path, &status, error, sizeof error);
    if (fd < 0) return NULL;
    if (tail_file_hash(fd, first_line) && strcmp(first_line, wanted->first_line) == 0)
        return tail_file_new(path, fd, &status);
    close(fd);
    return NULL;
}

// One pass over the directory: for the file itself, or for a copy of it.
static struct tail_file *search_for(const struct tail_wanted *wanted, const char *directory, bool itself) {
    DIR *entries = opendir(directory);
    struct tail_file *found = NULL;
    struct buf path = {0};
    for (struct dirent *entry; entries && !found && (entry = readdir(entries));) {
        struct stat status;
        if (*entry->d_name == '.') continue;
        buf_clear(&path);
        buf_puts(&path, directory);
        buf_putc(&path, '/');
        buf_put(&path, entry->d_name, strlen(entry->d_name) + 1);
        if (stat(path.data, &status) == 0 && may_be_wanted(wanted, &status, itself))
            found = open_wanted(wanted, path.data);
    }
    buf_free(&path);
    if (entries) closedir(entries);
    return found;
}

char *tail_file_directory(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return xstrdup(".");
    return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

struct tail_file *tail_file_search(const struct tail_wanted *wanted) {
    char *directory = tail_file_directory(wanted->directory_of);
    struct tail_file *found = search_for(wanted, directory, true);
    if (!found) found = search_for(wanted, directory, false);
    free(directory);
    return found;
}
