// A file is first looked for where it was, then by its inode in the same directory, then by its first line there, and
// last by the first line of what is compressed there. The directory is read, and each first line hashed, at most once
// for all searches that share a listing.
#include "tail_search.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"

void tail_listing_clear(struct tail_listing *listing) {
    for (size_t i = 0; i < listing->count; i++) free(listing->list[i].path);
    free(listing->list);
    free(listing->directory);
    *listing = (struct tail_listing){0};
}

// Takes the directory over.
static void read_directory(struct tail_listing *listing, char *directory) {
    tail_listing_clear(listing);
    listing->directory = directory;
    DIR *entries = opendir(directory);
    size_t cap = 0;
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        struct tail_listed listed = {0};
        struct buf path = {0};
        if (*entry->d_name == '.') continue;
        buf_printf(&path, "%s/", directory);
        buf_put(&path, entry->d_name, strlen(entry->d_name) + 1);
        listed.path = path.data;
        listed.archive = entry->d_name[tail_archive_stem(entry->d_name)] != '\0';
        if (stat(listed.path, &listed.status) || !S_ISREG(listed.status.st_mode)) {
            free(listed.path);
            continue;
        }
        if (listing->count == cap) {
            cap = cap ? cap * 2 : 64;
            listing->list = xrealloc(listing->list, cap * sizeof *listing->list);
        }
        listing->list[listing->count++] = listed;
    }
    if (entries) closedir(entries);
}

static bool has_before(const struct tail_wanted *wanted, int fd) {
    char before[CHECKPOINT_HASH];
    if (!*wanted->before) return true;
    tail_file_before(fd, wanted->size, before);
    return strcmp(before, wanted->before) == 0;
}

// Opens the path when its first line is the wanted one.
static struct tail_file *open_wanted(const struct tail_wanted *wanted, const char *path) {
    struct stat status;
    char error[256], first_line[CHECKPOINT_HASH];
    int fd = tail_file_open(path, &status, error, sizeof error);
    if (fd < 0) return NULL;
    if (tail_file_hash(fd, first_line) > 0 && strcmp(first_line, wanted->first_line) == 0) {
        struct tail_file *file = tail_file_new(path, fd, &status);
        tail_file_unpack(file);
        if (file->archive || has_before(wanted, fd)) return file;
        tail_file_free(file);
        return NULL;
    }
    close(fd);
    return NULL;
}

static bool is_itself(const struct tail_wanted *wanted, const struct stat *status) {
    return status->st_dev == wanted->device && status->st_ino == wanted->inode;
}

const char *tail_listed_first_line(struct tail_listed *listed) {
    struct stat status;
    char error[256];
    if (listed->hashed) return listed->first_line;
    listed->hashed = true;
    int fd = tail_file_open(listed->path, &status, error, sizeof error);
    if (fd < 0) return listed->first_line;
    struct tail_archive *archive = listed->archive ? tail_archive_open(fd) : NULL;
    if (listed->archive == !archive || tail_file_hash(fd, listed->first_line) <= 0) *listed->first_line = '\0';
    tail_archive_free(archive);
    close(fd);
    return listed->first_line;
}

void tail_listing_read(struct tail_listing *listing, const char *path) {
    char *directory = tail_file_directory(path);
    if (listing->directory && strcmp(listing->directory, directory) == 0) free(directory);
    else read_directory(listing, directory);
}

// The first of the listed files that holds what is wanted: the file itself or another, compressed or not.
static struct tail_file *search_listed(struct tail_listing *listing, const struct tail_wanted *wanted, bool itself,
                                       bool archive) {
    for (size_t i = 0; i < listing->count; i++) {
        struct tail_listed *listed = &listing->list[i];
        if (is_itself(wanted, &listed->status) != itself || listed->archive != archive) continue;
        if (!archive && listed->status.st_size < wanted->size) continue;
        if (strcmp(tail_listed_first_line(listed), wanted->first_line) != 0) continue;
        struct tail_file *found = open_wanted(wanted, listed->path);
        if (found) return found;
    }
    return NULL;
}

// Looks through the directory of the path.
static struct tail_file *search_directory(struct tail_listing *listing, const struct tail_wanted *wanted,
                                          const char *path) {
    struct tail_file *found;
    tail_listing_read(listing, path);
    found = search_listed(listing, wanted, true, false);
    if (!found) found = search_listed(listing, wanted, true, true);
    if (!found) found = search_listed(listing, wanted, false, false);
    if (!found) found = search_listed(listing, wanted, false, true);
    return found;
}

struct tail_file *tail_search(struct tail_listing *listing, const struct tail_wanted *wanted) {
    struct stat status;
    struct tail_file *found = NULL;
    bool archive = wanted->path[tail_archive_stem(wanted->path)] != '\0';
    // Where it was, the inode says enough: a device can have another number after a restart of the host.
    if (stat(wanted->path, &status) == 0 && status.st_ino == wanted->inode && S_ISREG(status.st_mode) &&
        (archive || status.st_size >= wanted->size))
        found = open_wanted(wanted, wanted->path);
    if (found || (found = search_directory(listing, wanted, wanted->path))) return found;
    // A symbolic link to the current log may name another file beside the wanted one by now.
    char *target = realpath(wanted->path, NULL);
    if (target && strcmp(target, wanted->path) != 0) found = search_directory(listing, wanted, target);
    free(target);
    return found;
}
