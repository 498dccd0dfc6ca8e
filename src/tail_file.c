// Identity of log files. A rename keeps device and inode, copytruncate keeps the first line in the copy, a truncation
// changes the first line: so each kind of rotation is told from the others.
#include "tail_file.h"

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
    // Without O_NONBLOCK a named pipe that came just now would hold us up.
    int fd = -1;
    if (stat(path, status) == 0 && !S_ISREG(status->st_mode)) goto irregular;
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        const char *hint =
            errno == EACCES ? ": let this user read it (PostgreSQL: log_file_mode = 0640 and its group)" : "";
        snprintf(error, size, "cannot read %s: %s%s", path, strerror(errno), hint);
        return -1;
    }
    if (fstat(fd, status) == 0 && S_ISREG(status->st_mode)) return fd;
irregular:
    if (S_ISDIR(status->st_mode)) snprintf(error, size, "cannot follow %s: it is a directory", path);
    else snprintf(error, size, "cannot follow %s: it is no regular file", path);
    if (fd >= 0) close(fd);
    return -1;
}

struct tail_file *tail_file_new(const char *path, int fd, const struct stat *status) {
    struct tail_file *file = xcalloc(1, sizeof *file);
    file->path = xstrdup(path);
    file->fd = fd;
    file->device = status->st_dev;
    file->inode = status->st_ino;
    file->seen_size = file->half = -1;
    return file;
}

void tail_file_free(struct tail_file *file) {
    tail_archive_free(file->archive);
    if (file->fd >= 0) close(file->fd);
    free(file->remote);
    free(file->path);
    free(file);
}

void tail_file_unpack(struct tail_file *file) {
    file->archive = tail_archive_open(file->fd);
}

ssize_t tail_file_read(const struct tail_file *file, void *to, size_t len, int64_t at) {
    return file->archive ? tail_archive_read(file->archive, to, len, at) : pread(file->fd, to, len, at);
}

int tail_file_status(struct tail_file *file, struct stat *status) {
    if (fstat(file->fd, status)) return -1;
    if (file->archive) status->st_size = tail_archive_size(file->archive);
    file->size = status->st_size;
    file->mtime_ns = tail_file_mtime_ns(status);
    return 0;
}

// FNV-1a, 64 bits: the same over every way of reading, so it never changes.
void tail_file_hash_of(const char *text, size_t len, char out[CHECKPOINT_HASH]) {
    uint64_t value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) value = (value ^ (unsigned char)text[i]) * 0x100000001b3u;
    snprintf(out, CHECKPOINT_HASH, "%016llx", (unsigned long long)value);
}

// Fills `to` with what the log begins with, as far as it is there.
static ssize_t read_start(int fd, char *to, size_t len) {
    struct tail_archive *archive = tail_archive_open(fd);
    if (!archive) return pread(fd, to, len, 0);
    ssize_t all = 0, got;
    while ((got = tail_archive_read(archive, to + all, len - (size_t)all, all)) > 0) all += got;
    int saved = errno;
    tail_archive_free(archive);
    errno = saved;
    return all ? all : got;
}

int tail_file_hash(int fd, char first_line[CHECKPOINT_HASH]) {
    char *line = xmalloc(LONGEST_FIRST_LINE);
    ssize_t got = read_start(fd, line, LONGEST_FIRST_LINE);
    int saved = errno;
    const char *end = got > 0 ? memchr(line, '\n', (size_t)got) : NULL;
    bool complete = end || got == LONGEST_FIRST_LINE;
    if (complete) tail_file_hash_of(line, end ? (size_t)(end - line) : (size_t)got, first_line);
    free(line);
    errno = saved;
    return got < 0 ? -1 : complete;
}

int tail_file_identify(struct tail_file *file) {
    if (*file->first_line) return 1;
    char first_line[CHECKPOINT_HASH];
    int known = tail_file_hash(file->fd, first_line);
    if (known <= 0) return known;
    // Nobody begins an archive anew; what it begins with is known by its first line.
    ssize_t got = file->archive ? 0 : pread(file->fd, file->head, TAIL_HEAD, 0);
    if (got < 0 || (got == 0 && !file->archive)) return (int)got;
    const char *end = memchr(file->head, '\n', (size_t)got);
    file->head_len = end ? (size_t)(end - file->head) + 1 : (size_t)got;
    memcpy(file->first_line, first_line, sizeof first_line);
    return 1;
}

int tail_file_unchanged(const struct tail_file *file) {
    char head[TAIL_HEAD];
    // A mirror was compared when it was written.
    if (file->archive || file->remote) return 1;
    ssize_t got = pread(file->fd, head, file->head_len, 0);
    if (got < 0) return -1;
    return got == (ssize_t)file->head_len && memcmp(head, file->head, file->head_len) == 0;
}

bool tail_file_is_same_content(const struct tail_file *file, int fd, int64_t size) {
    char mine[WINDOW], other[WINDOW];
    int64_t until = file->read < size ? file->read : size;
    int64_t from = until > WINDOW ? until - WINDOW : 0;
    size_t len = (size_t)(until - from);
    ssize_t got = file->archive ? -1 : pread(file->fd, mine, len, from);
    return got == (ssize_t)len && pread(fd, other, len, from) == got && memcmp(mine, other, len) == 0;
}

bool tail_file_reopen(struct tail_file *file) {
    struct stat status;
    char error[256];
    int fd = tail_file_open(file->path, &status, error, sizeof error);
    struct tail_file again = *file;
    again.fd = fd;
    bool same = fd >= 0 && *file->first_line && status.st_ino == file->inode && status.st_size >= file->read &&
                tail_file_unchanged(&again) > 0;
    if (fd >= 0) close(same ? file->fd : fd);
    if (same) file->fd = fd;
    return same;
}

int64_t tail_file_mtime_ns(const struct stat *status) {
    return (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
}

void tail_file_before(int fd, int64_t offset, char before[CHECKPOINT_HASH]) {
    char window[TAIL_HEAD];
    size_t len = offset < TAIL_HEAD ? (size_t)offset : TAIL_HEAD;
    *before = '\0';
    if (len && pread(fd, window, len, offset - (int64_t)len) == (ssize_t)len) tail_file_hash_of(window, len, before);
}

struct checkpoint_position tail_file_position(struct tail_file *file, int64_t offset) {
    if (file->before_at != offset && file->fd >= 0 && !file->archive) {
        tail_file_before(file->fd, offset, file->before);
        // What was truncated and begun anew meanwhile holds other bytes there.
        bool known = *file->first_line && tail_file_unchanged(file) > 0;
        file->before_at = known ? offset : -1;
    }
    struct checkpoint_position position = {.source = "file",
                                           .path = file->path,
                                           .device = file->device,
                                           .inode = file->inode,
                                           .truncations = file->truncations,
                                           .offset = offset,
                                           .size = file->size,
                                           .mtime_ns = file->mtime_ns};
    if (file->remote) memcpy(position.source, "sql", sizeof "sql");
    memcpy(position.first_line, file->first_line, sizeof position.first_line);
    if (file->before_at == offset) memcpy(position.before, file->before, sizeof position.before);
    return position;
}

char *tail_file_directory(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return xstrdup(".");
    return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}
