// A file is first looked for where it was, then by its inode in the same directory, then by its first line there. The
// directory is read, and each first line hashed, at most once for all searches that share a listing.
#include "tail_search.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"

struct tail_listed {
    char *path;
    struct stat status;
    bool hashed;
    char first_line[CHECKPOINT_HASH];  // "" while it is not complete
};

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
        if (stat(listed.path, &listed.status)) {
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

// Opens the path when its first line is the wanted one.
static struct tail_file *open_wanted(const struct tail_wanted *wanted, const char *path) {
    struct stat status;
    char error[256], first_line[CHECKPOINT_HASH];
    int fd = tail_file_open(path, &status, error, sizeof error);
    if (fd < 0) return NULL;
    if (tail_file_hash(fd, first_line) > 0 && strcmp(first_line, wanted->first_line) == 0)
        return tail_file_new(path, fd, &status);
    close(fd);
    return NULL;
}

static bool is_itself(const struct tail_wanted *wanted, const struct stat *status) {
    return status->st_dev == wanted->device && status->st_ino == wanted->inode;
}

static const char *first_line_of(struct tail_listed *listed) {
    struct stat status;
    char error[256];
    if (listed->hashed) return listed->first_line;
    listed->hashed = true;
    int fd = tail_file_open(listed->path, &status, error, sizeof error);
    if (fd < 0) return listed->first_line;
    if (tail_file_hash(fd, listed->first_line) <= 0) *listed->first_line = '\0';
    close(fd);
    return listed->first_line;
}

struct tail_file *tail_search(struct tail_listing *listing, const struct tail_wanted *wanted) {
    struct stat status;
    struct tail_file *found = NULL;
    if (stat(wanted->path, &status) == 0 && is_itself(wanted, &status) && status.st_size >= wanted->size)
        found = open_wanted(wanted, wanted->path);
    if (found) return found;
    char *directory = tail_file_directory(wanted->path);
    if (listing->directory && strcmp(listing->directory, directory) == 0) free(directory);
    else read_directory(listing, directory);
    for (int copies = 0; copies < 2; copies++) {
        for (size_t i = 0; i < listing->count; i++) {
            struct tail_listed *listed = &listing->list[i];
            if (listed->status.st_size < wanted->size || is_itself(wanted, &listed->status) == copies) continue;
            if (strcmp(first_line_of(listed), wanted->first_line) != 0) continue;
            found = open_wanted(wanted, listed->path);
            if (found) return found;
        }
    }
    return NULL;
}
