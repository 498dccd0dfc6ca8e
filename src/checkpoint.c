// Reads and writes checkpoint files. A position is written only after what lies before it was acknowledged, so a lost
// write repeats records and never loses one.
#include "checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#include "json.h"
#include "write.h"

#define VERSION 1
#define LARGEST_FILE (64 * 1024 * 1024)

void checkpoint_add(struct checkpoint *checkpoint, const struct checkpoint_position *position) {
    size_t size = (checkpoint->count + 1) * sizeof *checkpoint->positions;
    checkpoint->positions = xrealloc(checkpoint->positions, size);
    struct checkpoint_position *added = &checkpoint->positions[checkpoint->count++];
    *added = *position;
    added->path = xstrdup(position->path);
}

void checkpoint_clear(struct checkpoint *checkpoint) {
    for (size_t i = 0; i < checkpoint->count; i++) free(checkpoint->positions[i].path);
    free(checkpoint->positions);
    checkpoint->positions = NULL;
    checkpoint->count = 0;
    checkpoint->let_go_ns = 0;
}

void checkpoint_close(struct checkpoint *checkpoint) {
    checkpoint_clear(checkpoint);
    if (checkpoint->path && checkpoint->lock >= 0) close(checkpoint->lock);
    free(checkpoint->path);
    *checkpoint = (struct checkpoint){.lock = -1};
}

static void put_uint(struct buf *out, const char *name, uint64_t value) {
    json_put_name(out, name);
    buf_printf(out, "%llu", (unsigned long long)value);
}

void checkpoint_format(const struct checkpoint *checkpoint, struct buf *out) {
    buf_printf(out, "{\"version\":%d", VERSION);
    if (checkpoint->let_go_ns > 0) json_put_int_field(out, "let_go_ns", checkpoint->let_go_ns);
    buf_puts(out, ",\"positions\":[");
    for (size_t i = 0; i < checkpoint->count; i++) {
        const struct checkpoint_position *position = &checkpoint->positions[i];
        buf_puts(out, i ? ",\n{" : "\n{");
        json_put_string_field(out, "source", position->source, strlen(position->source));
        json_put_string_field(out, "path", position->path, strlen(position->path));
        put_uint(out, "device", position->device);
        put_uint(out, "inode", position->inode);
        json_put_string_field(out, "first_line", position->first_line, strlen(position->first_line));
        put_uint(out, "truncations", position->truncations);
        json_put_int_field(out, "offset", position->offset);
        if (position->size > 0) json_put_int_field(out, "size", position->size);
        if (*position->before) json_put_string_field(out, "before", position->before, strlen(position->before));
        if (position->mtime_ns > 0) json_put_int_field(out, "mtime_ns", position->mtime_ns);
        buf_putc(out, '}');
    }
    buf_puts(out, "\n]}\n");
}

// Copies the member's text; false when it is missing, too long or holds a NUL.
static bool take_text(yyjson_val *object, const char *name, char *to, size_t size) {
    yyjson_val *value = yyjson_obj_get(object, name);
    if (!yyjson_is_str(value) || yyjson_get_len(value) >= size) return false;
    size_t len = yyjson_get_len(value);
    if (strlen(yyjson_get_str(value)) != len) return false;
    memcpy(to, yyjson_get_str(value), len + 1);
    return true;
}

static bool take_uint(yyjson_val *object, const char *name, uint64_t highest, uint64_t *to) {
    yyjson_val *value = yyjson_obj_get(object, name);
    *to = yyjson_get_uint(value);
    return yyjson_is_uint(value) && *to <= highest;
}

static int take_position(struct checkpoint *checkpoint, yyjson_val *object) {
    struct checkpoint_position position = {0};
    char path[4096];
    uint64_t truncations, offset, size, mtime_ns;
    bool ok = take_text(object, "source", position.source, sizeof position.source) &&
              take_text(object, "path", path, sizeof path) &&
              take_text(object, "first_line", position.first_line, sizeof position.first_line) &&
              take_uint(object, "device", UINT64_MAX, &position.device) &&
              take_uint(object, "inode", UINT64_MAX, &position.inode) &&
              take_uint(object, "truncations", UINT32_MAX, &truncations) &&
              take_uint(object, "offset", INT64_MAX, &offset);
    if (!ok) return -1;
    position.path = path;
    position.truncations = (uint32_t)truncations;
    position.offset = (int64_t)offset;
    if (!take_text(object, "before", position.before, sizeof position.before)) *position.before = '\0';
    if (take_uint(object, "size", INT64_MAX, &size)) position.size = (int64_t)size;
    if (take_uint(object, "mtime_ns", INT64_MAX, &mtime_ns)) position.mtime_ns = (int64_t)mtime_ns;
    checkpoint_add(checkpoint, &position);
    return 0;
}

int checkpoint_parse(struct checkpoint *checkpoint, const char *text, size_t len, char *error, size_t size) {
    int result = -1;
    snprintf(error, size, "it is damaged");
    yyjson_doc *doc = yyjson_read(text, len, YYJSON_READ_NOFLAG);
    yyjson_val *root = yyjson_doc_get_root(doc);
    uint64_t version, let_go_ns;
    if (!take_uint(root, "version", UINT64_MAX, &version)) goto done;
    if (version != VERSION) {
        snprintf(error, size, "it has version %llu, this dbobs knows %d: use the newer dbobs, or another checkpoint",
                 (unsigned long long)version, VERSION);
        result = -2;
        goto done;
    }
    yyjson_val *positions = yyjson_obj_get(root, "positions");
    if (!yyjson_is_arr(positions)) goto done;
    size_t i, count;
    yyjson_val *object;
    yyjson_arr_foreach(positions, i, count, object) {
        if (take_position(checkpoint, object)) goto done;
    }
    if (take_uint(root, "let_go_ns", INT64_MAX, &let_go_ns)) checkpoint->let_go_ns = (int64_t)let_go_ns;
    result = 0;
done:
    yyjson_doc_free(doc);
    if (result) checkpoint_clear(checkpoint);
    return result;
}

// Makes the directories of the path that are missing. A failure shows when the file is opened.
static void make_directories(const char *path) {
    char *part = xstrdup(path);
    for (char *at = strchr(part + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(part, 0700);
        *at = '/';
    }
    free(part);
}

static char *joined(const char *path, const char *suffix) {
    struct buf text = {0};
    buf_puts(&text, path);
    buf_put(&text, suffix, strlen(suffix) + 1);
    return text.data;
}

// 0, -1 when it cannot be locked, -2 when another process has it.
static int lock(struct checkpoint *checkpoint, char *error, size_t size) {
    char *path = joined(checkpoint->path, ".lock");
    checkpoint->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(path);
    if (checkpoint->lock < 0) {
        snprintf(error, size, "cannot use the checkpoint %s: %s", checkpoint->path, strerror(errno));
        return -1;
    }
    char holder[24] = {0};
    if (flock(checkpoint->lock, LOCK_EX | LOCK_NB)) {
        ssize_t len = pread(checkpoint->lock, holder, sizeof holder - 1, 0);
        holder[len > 0 ? strcspn(holder, "\n") : 0] = '\0';
        snprintf(error, size, "the checkpoint %s is in use by another dbobs (process %s): one of the two must stop",
                 checkpoint->path, *holder ? holder : "unknown");
        return -2;
    }
    // Only for the message above: who holds the lock is the kernel's to know.
    int len = snprintf(holder, sizeof holder, "%ld\n", (long)getpid());
    if (ftruncate(checkpoint->lock, 0) || pwrite(checkpoint->lock, holder, (size_t)len, 0) != len) errno = 0;
    return 0;
}

// Reads the whole file into out. 0 also when there is none.
static int read_file(const char *path, struct buf *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? 0 : -1;
    ssize_t got = 1;
    while (got > 0 && out->len < LARGEST_FILE) {
        buf_reserve(out, 65536);
        got = read(fd, out->data + out->len, 65536);
        if (got > 0) out->len += (size_t)got;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return got < 0 ? -1 : 0;
}

static void set_aside(const struct checkpoint *checkpoint, char *note, size_t size) {
    char *aside = joined(checkpoint->path, ".damaged");
    bool kept = rename(checkpoint->path, aside) == 0;
    snprintf(note, size, "the checkpoint %s is damaged: %s%s; reading begins where the configuration says",
             checkpoint->path, kept ? "it is kept as " : "and cannot be renamed", kept ? aside : "");
    free(aside);
}

int checkpoint_open(struct checkpoint *checkpoint, const char *path, char *note, char *error, size_t size) {
    *checkpoint = (struct checkpoint){.lock = -1};
    *note = '\0';
    if (!path) return 0;
    checkpoint->path = xstrdup(path);
    struct buf text = {0};
    make_directories(path);
    int locked = lock(checkpoint, error, size);
    if (locked) goto fail;
    if (read_file(path, &text)) {
        snprintf(error, size, "cannot read the checkpoint %s: %s", path, strerror(errno));
        goto fail;
    }
    char cause[160];
    int result = text.len ? checkpoint_parse(checkpoint, text.data, text.len, cause, sizeof cause) : 0;
    if (result == -1) set_aside(checkpoint, note, size);
    if (result == -2) {
        snprintf(error, size, "cannot use the checkpoint %s: %s", path, cause);
        goto fail;
    }
    buf_free(&text);
    return 0;
fail:
    buf_free(&text);
    checkpoint_close(checkpoint);
    return locked == -2 ? -2 : -1;
}

// Makes a rename in the directory of path last over a power cut.
static int sync_directory(const char *path) {
    const char *slash = strrchr(path, '/');
    char *directory = slash ? xstrndup(path, slash == path ? 1 : (size_t)(slash - path)) : xstrdup(".");
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(directory);
    if (fd < 0) return -1;
    int result = fsync(fd);
    // Some file systems cannot sync a directory and say so; theirs is the rename's own guarantee.
    if (result && (errno == EINVAL || errno == EROFS)) result = 0;
    int saved = errno;
    close(fd);
    errno = saved;
    return result;
}

int checkpoint_write(const char *path, const char *text, size_t len, char *error, size_t size) {
    char *part = joined(path, ".part");
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) goto fail;
    int written = write_all(fd, text, len) ? -1 : fsync(fd);
    int saved = errno;
    if (close(fd) && !written) {
        written = -1;
        saved = errno;
    }
    errno = saved;
    if (written || rename(part, path) || sync_directory(path)) goto fail;
    free(part);
    return 0;
fail:
    snprintf(error, size, "cannot write the checkpoint %s: %s", path, strerror(errno));
    free(part);
    return -1;
}
