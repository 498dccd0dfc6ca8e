// Finds a file that was followed under the name it has now. Blocks shortly: for a directory, and the first lines of the
// files in it.
#ifndef DBOBS_TAIL_SEARCH_H
#define DBOBS_TAIL_SEARCH_H

#include "tail_file.h"

// What is looked for.
struct tail_wanted {
    const char *path;  // where it was
    const char *first_line;
    uint64_t device, inode;  // the file itself when it is there, else a copy
    int64_t size;            // a copy has at least as many bytes
};

// A directory as it was when it was read: shared by the searches of one moment. Zeroed memory is one not yet read.
struct tail_listing {
    char *directory;
    struct tail_listed *list;
    size_t count;
};

// NULL when the file is not there.
struct tail_file *tail_search(struct tail_listing *listing, const struct tail_wanted *wanted);
void tail_listing_clear(struct tail_listing *listing);

#endif
