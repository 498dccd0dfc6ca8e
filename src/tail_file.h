// One file that is followed: who it is (device, inode, hash of its first line, how often it was begun anew) and how far
// it was read. Owned by its tail. No loop and no waiting here; reads are of local files and do not block for long.
#ifndef DBOBS_TAIL_FILE_H
#define DBOBS_TAIL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "checkpoint.h"

#define TAIL_HEAD 256  // bytes that are compared to notice that a file was begun anew

struct tail_file {
    struct tail_file *next;
    char *path;  // where it was seen last
    int fd;      // -1: nothing more can be read
    uint64_t device, inode;
    char first_line[CHECKPOINT_HASH];  // "" while the first line is not complete
    char head[TAIL_HEAD];
    size_t head_len;
    uint32_t truncations;
    int64_t read;                      // offset behind the last line that was handed out
    int64_t acked;                     // offset behind the last line whose record is acknowledged
    unsigned segments;                 // handed out and not acknowledged, see tail.c
    int64_t seen_size, seen_mtime_ns;  // when its end was reached
    int64_t eof_ns;                    // monotonic time of that; 0: there may be more to read
    bool gone;                         // its path names another file, or none
    bool copy;                         // a copy of a file that is followed: never read
    bool listed;                       // the last look into the directory found it
};

// Opens a regular file for reading. -1 with `error` ("cannot read <path>: ...") for anything else.
int tail_file_open(const char *path, struct stat *status, char *error, size_t size);
struct tail_file *tail_file_new(const char *path, int fd, const struct stat *status);
void tail_file_free(struct tail_file *file);

// Learns head and first_line once the first line is complete (or 64 KiB long); true when they are known.
bool tail_file_identify(struct tail_file *file);
// Whether the file still begins as it did.
bool tail_file_unchanged(const struct tail_file *file);
// Whether fd, of `size` bytes, holds what file held, as far as both reach and file was read.
bool tail_file_is_same_content(const struct tail_file *file, int fd, int64_t size);
// The hash of the first line that can be read from fd; false when that line is not complete.
bool tail_file_hash(int fd, char first_line[CHECKPOINT_HASH]);

// The modification time in nanoseconds.
int64_t tail_file_mtime_ns(const struct stat *status);
struct checkpoint_position tail_file_position(const struct tail_file *file);

// What tail_file_search looks for.
struct tail_wanted {
    const char *directory_of;  // path of a file in the directory to search
    const char *first_line;
    uint64_t device, inode;  // the file itself when it is there, else a copy
    int64_t size;            // a copy has at least as many bytes
};

// The directory part of a path, "." when it has none; the caller frees it.
char *tail_file_directory(const char *path);
// Finds the file under another name. NULL when it is not there.
struct tail_file *tail_file_search(const struct tail_wanted *wanted);

#endif
