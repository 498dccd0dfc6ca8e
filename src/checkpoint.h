// The checkpoint file: how far each log was read and acknowledged, over restarts. JSON with a version, written whole
// (temporary file, fsync, rename, fsync of the directory), locked while in use. The owner is one follower.
#ifndef DBOBS_CHECKPOINT_H
#define DBOBS_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define CHECKPOINT_HASH 17  // a 64-bit hash in hexadecimal, with its NUL

// One log and a place in it: the file it was by device, inode and the hash of its first line, and how often a file
// there had been truncated and begun anew. Of a log that is read over SQL path is the server's, device and inode 0.
struct checkpoint_position {
    char source[8];  // "file" or "sql"
    char *path;
    uint64_t device, inode;
    char first_line[CHECKPOINT_HASH];  // "" while the first line is not complete
    uint32_t truncations;
    int64_t offset;  // of the first byte not acknowledged
    // When the file was last looked at; 0: not known.
    int64_t size, mtime_ns;
    char before[CHECKPOINT_HASH];  // of the last bytes before the offset; "" when not known
};

struct checkpoint {
    char *path;  // NULL: positions are not kept
    int lock;
    struct checkpoint_position *positions;
    size_t count;
    // No file that was modified later than this, in nanoseconds since 1970, was let go yet: such a one that is in no
    // position was never read. 0: not known.
    int64_t let_go_ns;
};

// Locks and reads the file; one that is not there has no positions, its directories are made. A damaged one is renamed
// to "<path>.damaged" and `note` says so ("" else). -1 with `error`: it is not accessible, or
// a newer dbobs wrote it; -2 with `error`: another process uses it. path NULL: a checkpoint that is never written.
int checkpoint_open(struct checkpoint *checkpoint, const char *path, char *note, char *error, size_t size);
void checkpoint_close(struct checkpoint *checkpoint);

void checkpoint_clear(struct checkpoint *checkpoint);
// Adds a copy of the position.
void checkpoint_add(struct checkpoint *checkpoint, const struct checkpoint_position *position);

void checkpoint_format(const struct checkpoint *checkpoint, struct buf *out);
// Adds the positions of a text that checkpoint_format wrote. -1 with `error` when it is damaged, -2 when it has a
// newer version.
int checkpoint_parse(struct checkpoint *checkpoint, const char *text, size_t len, char *error, size_t size);
// Replaces the file. Blocks, and needs no other function's data: it may run on another thread.
int checkpoint_write(const char *path, const char *text, size_t len, char *error, size_t size);

#endif
