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
    const char *before;      // hash of the last bytes before that; "" when not known
};

// A regular file.
struct tail_listed {
    char *path;
    struct stat status;
    bool archive;  // its name says that it is compressed
    bool hashed;
    char first_line[CHECKPOINT_HASH];  // "" while it is not complete
};

// A directory as it was when it was read: shared by the searches of one moment. Zeroed memory is one not yet read.
struct tail_listing {
    char *directory;
    struct tail_listed *list;
    size_t count;
};

// NULL when the file is not there.
struct tail_file *tail_search(struct tail_listing *listing, const struct tail_wanted *wanted);
// Reads the directory of the path, unless it was read already.
void tail_listing_read(struct tail_listing *listing, const char *path);
// The hash of its first line, "" when it has none.
const char *tail_listed_first_line(struct tail_listed *listed);
void tail_listing_clear(struct tail_listing *listing);

#endif
