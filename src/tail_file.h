// One file that is followed: who it is (device, inode, hash of its first line, how often it was begun anew) and how far
// it was read. Owned by its tail. No loop and no waiting here; reads are of local files and do not block for long.
#ifndef DBOBS_TAIL_FILE_H
#define DBOBS_TAIL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "checkpoint.h"
#include "tail_archive.h"

#define TAIL_HEAD 256  // bytes that are compared to notice that a file was begun anew

struct tail_file {
    struct tail_file *next;
    struct tail_file *same_inode, *same_name;  // see tail_index.c
    char *path;                                // where it was seen last
    int fd;                                    // -1: nothing more can be read
    struct tail_archive *archive;              // fd holds the log compressed; NULL: as it is
    struct tail_remote_file *remote;           // fd is a mirror, see tail_remote.h, or -1 without need; NULL: not so
    uint64_t device, inode;
    char first_line[CHECKPOINT_HASH];  // "" while the first line is not complete
    char head[TAIL_HEAD];
    size_t head_len;
    uint32_t truncations;
    char before[CHECKPOINT_HASH];  // hash of the last bytes before `before_at`
    int64_t before_at;
    int64_t read;                      // offset behind the last line that was handed out
    int64_t acked;                     // offset behind the last line whose record is acknowledged
    unsigned segments;                 // handed out and not acknowledged, see tail.c
    int64_t seen_size, seen_mtime_ns;  // when its end was reached
    int64_t eof_ns;                    // monotonic time of that; 0: there may be more to read
    int64_t rested_ns;                 // monotonic time since which it has that size, or is gone; 0: not known
    bool may_be_complete;              // whole lines were left there: a record, when nothing comes behind them
    int64_t size, mtime_ns;            // when it was last looked at
    int64_t half;                      // offset behind which a half line was handed out; -1: none
    int64_t half_end;                  // where the file ended then
    bool gone;                         // its path names another file, or none
    bool copy;                         // a copy of a file that is followed: never read
    bool listed;                       // the last look into the directory found it
    bool told;                         // the system tells what is written to it
    int unreadable;                    // errno of the last read when it failed, else 0
    int64_t unreadable_ns;             // monotonic time since which it does
    int64_t unreadable_at;             // where an archive is damaged
    bool served;                       // has had its turn of the round, see tail.c
    int64_t turn_bytes, turn_size;     // read in this turn; the file's size when it began
};

// Opens a regular file for reading. -1 with `error` ("cannot read <path>: ...") for anything else. What is no regular
// file is not opened: that would wake who writes to a named pipe.
int tail_file_open(const char *path, struct stat *status, char *error, size_t size);
struct tail_file *tail_file_new(const char *path, int fd, const struct stat *status);
void tail_file_free(struct tail_file *file);
// What is read of the file from now on is what it holds compressed, if its first bytes say that it does.
void tail_file_unpack(struct tail_file *file);

// Reads at an offset of the log: bytes, 0 at the end, -1 with errno (EAGAIN, EBADMSG: see tail_archive_read).
ssize_t tail_file_read(const struct tail_file *file, void *to, size_t len, int64_t at);
// As fstat; st_size is that of the log, which of a compressed one is known when its end was reached.
int tail_file_status(struct tail_file *file, struct stat *status);

// Opens the file again where it was, when its server has forgotten it (ESTALE). Whether it is the same.
bool tail_file_reopen(struct tail_file *file);

// Learns head and first_line: 1 when they are known, 0 while the line is not complete (it ends with a newline, or is
// 64 KiB long), -1 with errno.
int tail_file_identify(struct tail_file *file);
// Whether the file still begins as it did: 1 or 0; -1 with errno when it cannot be read.
int tail_file_unchanged(const struct tail_file *file);
// Whether fd, of `size` bytes and with the same first line, holds what file held, as far as both reach and file was
// read.
bool tail_file_is_same_content(const struct tail_file *file, int fd, int64_t size);
// The hash of the first line that can be read from fd, compressed or not: 1, 0 while the line is not complete, -1 with
// errno.
int tail_file_hash(int fd, char first_line[CHECKPOINT_HASH]);

// The hash that a file is known by whose first line is `text`.
void tail_file_hash_of(const char *text, size_t len, char out[CHECKPOINT_HASH]);

// The modification time in nanoseconds.
int64_t tail_file_mtime_ns(const struct stat *status);
// The position at an offset of the file.
struct checkpoint_position tail_file_position(struct tail_file *file, int64_t offset);
// Hashes the last bytes before an offset: by them files are told apart that begin with the same line. "" when they
// cannot be read.
void tail_file_before(int fd, int64_t offset, char before[CHECKPOINT_HASH]);

// The directory part of a path, "." when it has none; the caller frees it.
char *tail_file_directory(const char *path);

#endif
