// What happened while nobody read: files were renamed, copied, truncated, compressed or removed, and others came and
// were rotated away. Each position's file is found by its identity; what was written after the newest of them belongs
// to nobody yet, and is read from its beginning.
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tail_search.h"
#include "tail_state.h"

// "log.1", "log-20260329", "log.2026-03-29_0230" are rotations of "log", also compressed; "log.old" may be anything.
static bool is_rotation(const char *name, const char *base) {
    size_t len = strlen(base), stem = tail_archive_stem(name);
    if (strncmp(name, base, len) != 0 || stem < len || !name[len]) return false;
    size_t suffix = strspn(name + len, ".-_0123456789T");
    // Of "log.gz" nothing but the compression's suffix is left; the dot of one is no part of a number.
    return len + suffix >= stem && (stem > len + 1 || name[stem]);
}

// The number of "log.7" or "log.7.gz", 0 when it has none.
static unsigned long rotation_number(const char *name, const char *base) {
    char *end = NULL;
    size_t len = strlen(base);
    if (strncmp(name, base, len) != 0 || name[len] != '.') return 0;
    unsigned long number = strtoul(name + len + 1, &end, 10);
    return end == name + tail_archive_stem(name) && number < 10000 ? number : 0;
}

static bool holds(const struct tail *tail, const char *first_line) {
    for (size_t i = 0; i < tail->checkpoint.count; i++)
        if (strcmp(tail->checkpoint.positions[i].first_line, first_line) == 0) return true;
    return false;
}

static bool is_file(const struct checkpoint_position *position) {
    return strcmp(position->source, "file") == 0;
}

// A position whose file is not where it was.
struct moved {
    const struct checkpoint_position *position;
    const struct tail_file *file;  // NULL: it was not found
};

struct restored {
    struct tail *tail;
    struct tail_listing listing;
    struct moved *moved;
    size_t count;
    int64_t newest_ns;  // what was modified up to then is known to be read
};

// Whether the name is one that a log gets which was written after that of the position.
static bool is_later(const struct moved *moved, const char *base, const char *name) {
    if (!moved->file) return false;
    unsigned long ours = rotation_number(tail_base_name(moved->file->path), base), other = rotation_number(name, base);
    return other > 0 && other < ours;
}

// Whether the name is a rotation, or a compressed form, of a name that is followed.
static bool is_rotation_of_log(const struct tail *tail, const char *name) {
    size_t at = tail_archive_stem(name);
    bool found = false;
    char *base = xstrndup(name, at);
    do {
        base[at] = '\0';
        found = tail_is_log(tail, base);
    } while (!found && at > 1 && strchr(".-_0123456789T", base[--at]));
    free(base);
    return found;
}

// Whether what is listed is a log that came and went while nobody looked.
static bool is_missed(struct restored *restored, struct tail_listed *listed) {
    struct tail *tail = restored->tail;
    const char *name = tail_base_name(listed->path);
    const char *pattern = tail_base_name(tail->pattern);
    bool ours = false, later = false;
    if (tail->is_pattern && tail_is_log(tail, name)) return false;
    for (size_t i = 0; i < restored->count && !later; i++) {
        const struct moved *moved = &restored->moved[i];
        const char *base = tail->is_pattern ? tail_base_name(moved->position->path) : pattern;
        if (!is_rotation(name, base)) continue;
        ours = true;
        later = is_later(moved, base, name);
    }
    if (tail->is_pattern) ours |= is_rotation_of_log(tail, name);
    if (!ours || (!later && tail_file_mtime_ns(&listed->status) <= restored->newest_ns)) return false;
    const char *first_line = tail_listed_first_line(listed);
    return !tail_known(tail, &listed->status) && !holds(tail, first_line) && (*first_line || !listed->archive);
}

// Follows the logs of the path's directory that came and went while nobody looked.
static void follow_missed(struct restored *restored, const char *path) {
    struct tail *tail = restored->tail;
    struct stat now = {0}, status;
    struct tail_finds finds = {0};
    if (!tail->is_pattern) (void)stat(tail->pattern, &now);
    tail_listing_read(&restored->listing, path);
    for (size_t i = 0; i < restored->listing.count; i++) {
        struct tail_listed *listed = &restored->listing.list[i];
        char error[512];
        bool current = listed->status.st_dev == now.st_dev && listed->status.st_ino == now.st_ino;
        if (current || !is_missed(restored, listed)) continue;
        int fd = tail_file_open(listed->path, &status, error, sizeof error);
        if (fd >= 0) tail_add_find(&finds, listed->path, fd, &status);
    }
    tail_follow_all(tail, &finds, false);
}

static bool is_at(const struct checkpoint_position *position, const struct tail_file *file) {
    return file->device == position->device && file->inode == position->inode;
}

// The position's file at its old place, truncated and begun anew or still without a first line; NULL when another file
// is there, or one that another position knows better.
static struct tail_file *find_begun_anew(struct tail *tail, const struct checkpoint_position *position) {
    struct stat status;
    char error[512];
    if (stat(position->path, &status) || status.st_dev != position->device || status.st_ino != position->inode)
        return NULL;
    if (tail_known(tail, &status)) return NULL;
    for (size_t i = 0; i < tail->checkpoint.count; i++) {
        const struct checkpoint_position *other = &tail->checkpoint.positions[i];
        if (other != position && other->device == position->device && other->inode == position->inode) return NULL;
    }
    int fd = tail_file_open(position->path, &status, error, sizeof error);
    if (fd < 0) return NULL;
    struct tail_file *file = tail_file_new(position->path, fd, &status);
    if (position->path[tail_archive_stem(position->path)]) tail_file_unpack(file);
    if (is_at(position, file)) return file;
    tail_file_free(file);
    return NULL;
}

// When what the position knows of was written. A file that says an earlier time than was seen tells of a clock that was
// set back, one that says a later time was written on, or compressed.
static int64_t written_ns(const struct checkpoint_position *position, const struct tail_file *file) {
    struct stat status;
    if (!file || fstat(file->fd, &status)) return position->mtime_ns;
    int64_t now_ns = tail_file_mtime_ns(&status);
    return position->mtime_ns && position->mtime_ns < now_ns ? position->mtime_ns : now_ns;
}

static void restore_file(struct restored *restored, const struct checkpoint_position *position) {
    const struct tail_wanted wanted = {.path = position->path,
                                       .first_line = position->first_line,
                                       .device = position->device,
                                       .inode = position->inode,
                                       .size = position->offset,
                                       .before = position->before};
    struct tail_file *file = *position->first_line ? tail_search(&restored->listing, &wanted) : NULL;
    int64_t mtime_ns = written_ns(position, file);
    if (mtime_ns > restored->newest_ns) restored->newest_ns = mtime_ns;
    if (file) {
        file->truncations = position->truncations;
        file->read = file->acked = position->offset;
        file->size = position->size;
        file->mtime_ns = mtime_ns;
        file->gone = file->archive != NULL;
        (void)tail_file_identify(file);
        tail_append(restored->tail, file);
        if (strcmp(file->path, position->path) == 0) return;
    }
    restored->moved = xrealloc(restored->moved, (restored->count + 1) * sizeof *restored->moved);
    restored->moved[restored->count++] = (struct moved){position, file};
}

// What the position's file held may be in an archive that cannot be read: which, NULL when there is none.
static const char *unreadable_archive(struct restored *restored, const struct checkpoint_position *position) {
    const char *base = tail_base_name(position->path);
    tail_listing_read(&restored->listing, position->path);
    for (size_t i = 0; i < restored->listing.count; i++) {
        struct tail_listed *listed = &restored->listing.list[i];
        if (!listed->archive || !is_rotation(tail_base_name(listed->path), base)) continue;
        if (!*tail_listed_first_line(listed)) return listed->path;
    }
    return NULL;
}

static void tell_lost(struct restored *restored, const struct checkpoint_position *position, bool anew) {
    char bytes[64] = "what it held";
    const char *archive = unreadable_archive(restored, position);
    if (position->size > position->offset)
        snprintf(bytes, sizeof bytes, "%lld bytes, or more, that it held",
                 (long long)(position->size - position->offset));
    tail_note(restored->tail, "%s %s while nobody read it: %s behind byte %lld%s lost%s%s%s", position->path,
              anew ? "was truncated and begun anew" : "is not there any more, under no name,", bytes,
              (long long)position->offset, position->size > position->offset ? " are" : ", if anything, is",
              archive ? " unless it is in " : "", archive ? archive : "", archive ? ", which cannot be read" : "");
}

// The file that was at the position's place, truncated, comes behind all that was written before.
static void restore_begun_anew(struct restored *restored, const struct moved *moved) {
    const struct checkpoint_position *position = moved->position;
    if (moved->file && is_at(position, moved->file)) return;
    struct tail_file *anew = find_begun_anew(restored->tail, position);
    if (anew) {
        anew->truncations = position->truncations + (*position->first_line != '\0');
        tail_append(restored->tail, anew);
    }
    if (!moved->file && *position->first_line) tell_lost(restored, position, anew != NULL);
}

// At the first start: what was rotated away before it is not read. File systems take the time of the last clock tick.
static int64_t first_start_ns(void) {
    enum { TICK_NS = 10000000 };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - TICK_NS;
}

struct tail_file *tail_restore(struct tail *tail) {
    struct restored restored = {.tail = tail};
    struct checkpoint *checkpoint = &tail->checkpoint;
    if (!checkpoint->count && !checkpoint->let_go_ns) checkpoint->let_go_ns = first_start_ns();
    for (size_t i = 0; i < checkpoint->count; i++) {
        if (!is_file(&checkpoint->positions[i])) continue;
        tail->from_end = false;
        tail->recorded = true;
        restore_file(&restored, &checkpoint->positions[i]);
    }
    struct tail_file *known = tail->last;
    // A checkpoint of an earlier dbobs does not know it.
    if (!checkpoint->let_go_ns) checkpoint->let_go_ns = restored.newest_ns;
    restored.newest_ns = checkpoint->let_go_ns;
    const char *last = NULL;
    for (size_t i = 0; i < checkpoint->count && (tail->is_pattern || restored.count); i++) {
        const char *path = checkpoint->positions[i].path;
        size_t len = (size_t)(tail_base_name(path) - path);
        if (!is_file(&checkpoint->positions[i])) continue;
        if (last && strncmp(last, path, len) == 0 && tail_base_name(last) == last + len) continue;
        follow_missed(&restored, path);
        last = path;
    }
    for (size_t i = 0; i < restored.count; i++) restore_begun_anew(&restored, &restored.moved[i]);
    free(restored.moved);
    tail_listing_clear(&restored.listing);
    return known;
}
