// The follower's parts, shared by tail.c (reading and acknowledging), tail_scan.c (which files) and tail_save.c (notes,
// conditions, the checkpoint). Not for others: they include tail.h.
#ifndef DBOBS_TAIL_STATE_H
#define DBOBS_TAIL_STATE_H

#include "buf.h"
#include "checkpoint.h"
#include "tail.h"
#include "tail_file.h"
#include "tail_remote.h"

// Lines of one file that went out with one batch.
struct tail_segment {
    struct tail_segment *next;
    struct tail *tail;
    struct tail_file *file;
    int64_t end;
    struct batch *batch;
    struct waiter waiter;  // parked at the batch's end
};

struct tail_note {
    struct tail_note *next;
    char *text;
};

// See tail_index.c.
struct tail_index {
    struct tail_file **inodes, **names;
    size_t slots, count;  // 0 slots: it must be made anew
};

struct tail {
    char *pattern;
    bool is_pattern;
    bool is_directory;  // the pattern is that of all files of one
    char *suffix;       // see tail_options
    bool from_end;      // only for files found by the first look
    int64_t since_us;
    uint64_t poll_ms, grace_ms;
    bool half_lines;

    uv_timer_t timer;
    uv_fs_event_t watch;
    bool watching;
    uint64_t watched_device, watched_inode;
    bool told_all;        // of its files the system tells all that is written
    bool told_unwatched;  // why it cannot be watched
    unsigned polls;
    bool look;         // something was created, removed or renamed: look at the directory again
    unsigned handles;  // libuv's references to us
    bool closed;
    struct wakeup news;

    struct tail_remote *remote;  // NULL: the files are local
    struct tail_file *files;     // in reading order
    struct tail_file *last;      // somewhere near their end; NULL: not known
    struct tail_index index;
    struct tail_segment *segments, **segments_end;

    // The part of one file that is being cut into lines.
    struct tail_file *current;
    struct buf buffer;
    int64_t buffer_offset;  // of its first byte in the file
    size_t taken, scanned;  // handed out; gone through without finding the end of a piece
    size_t tried;           // the buffer's length when it held no whole piece
    tail_cut *cut;
    void *cut_argument;
    uv_timer_t quiet;  // runs while a piece may be complete, for nothing more is being written
    size_t dropped;    // of a line that is longer than the buffer may be
    tail_shrink *shrink;
    size_t shrunk;      // bytes by which the piece that the buffer begins with was shortened
    size_t shrunk_end;  // behind the last place in the buffer where something was cut out
    size_t shrunk_to;   // the buffer's length then

    struct tail_file *open_file;  // of the lines since the last commit
    int64_t open_end;
    size_t open_bytes;

    struct checkpoint checkpoint;
    int64_t delivered;  // bytes, see tail_progress
    bool elsewhere;     // positions are kept by the owner
    bool unsaved;
    bool recording;  // with the positions that were asked for
    bool recorded;   // the checkpoint file knows a file: what follows it while we are away can be found
    struct tail_save *saving;
    int64_t saved_ns;  // monotonic time when the last save began
    char path_condition[512], read_condition[512], checkpoint_condition[512];
    struct tail_note *notes, **notes_end;
};

// tail.c: whether the file ends in half a line that is handed out when nobody completes it.
bool tail_waits_for_rest(const struct tail *tail, const struct tail_file *file);

// tail_piece.c: cuts at each newline; see tail_cut.
size_t tail_cut_line(void *argument, const char *text, size_t len, size_t *scanned, bool is_all);
// Makes the file the one that is being cut into pieces.
void tail_take_up(struct tail *tail, struct tail_file *file);
// Throws away what was handed out, so that the buffer begins with a piece.
void tail_shift_buffer(struct tail *tail);
// Hands out `len` bytes from the start of the piece on; `more` bytes behind them (dropped ones, newline) belong to it.
bool tail_hand_out(struct tail *tail, struct tail_line *line, size_t len, size_t more);
// Hands out what is there of a line that may still be completed: its place stays that of the next one.
bool tail_hand_out_half(struct tail *tail, struct tail_line *line);
// Hands out a piece that is in the buffer whole. is_all: nothing more is being written.
bool tail_next_in_buffer(struct tail *tail, struct tail_line *line, bool is_all);
// Hands out what is left in the buffer of a file that was truncated: its pieces, and of half a piece each whole line.
bool tail_next_left_over(struct tail *tail, struct tail_line *line);
// Shortens the piece that the buffer begins with when it is becoming huge.
void tail_shrink_piece(struct tail *tail);
// Counts the `got` bytes behind the buffer, which holds the longest line's worth, up to the newline that ends the line;
// hands that out when it is there.
bool tail_skip_rest(struct tail *tail, struct tail_line *line, size_t got);
// Whether the buffer holds whole lines and no whole piece: its last record may be one, when nothing comes behind it.
bool tail_may_be_complete(const struct tail *tail);

// tail_commit.c: forgets the oldest of what is on its way.
void tail_drop_segment(struct tail *tail);

// tail_scan.c: looks which files there are. first: files not known are those of the start.
void tail_scan(struct tail *tail, bool first);
// Makes the path the pattern of a directory's files when it is a directory.
void tail_look_for_directory(struct tail *tail);
// Whether a file of that name, in the directory where logs are looked for, is one. What is compressed is none.
bool tail_is_log(const struct tail *tail, const char *name);
// The file was truncated and begun anew: the rest of the old one is read from its copy when there is one.
void tail_begin_anew(struct tail *tail, struct tail_file *file);
// Drops files that are gone, read and acknowledged.
void tail_drop_finished(struct tail *tail);

// Files that are not followed yet.
struct tail_found {
    char *path;
    int fd;
    struct stat status;
};
struct tail_finds {
    struct tail_found *list;
    size_t count;
};
// Takes fd over.
void tail_add_find(struct tail_finds *finds, const char *path, int fd, const struct stat *status);
// Follows what was found, the oldest first. first: it is of the start. Frees the finds.
void tail_follow_all(struct tail *tail, struct tail_finds *finds, bool first);
void tail_append(struct tail *tail, struct tail_file *file);
// Brings the files behind `known` (NULL: all) into the order in which they were written.
void tail_order(struct tail *tail, struct tail_file *known);

// tail_index.c: the file that is followed, or known as a copy; NULL when it is neither.
struct tail_file *tail_known(struct tail *tail, const struct stat *status);
// A file of that name, without its directory, and the next one of it.
struct tail_file *tail_named(struct tail *tail, const char *name);
struct tail_file *tail_next_named(const struct tail_file *after, const char *name);
void tail_index_add(struct tail *tail, struct tail_file *file);
// Files were removed, or are other ones now, or have other names.
void tail_index_forget(struct tail_index *index);
void tail_index_free(struct tail_index *index);
// The last part of a path.
const char *tail_base_name(const char *path);

// tail_watch.c: watches the directory, if it is not that is watched already; where that does not work, or not yet, the
// timer alone finds what changes.
void tail_watch(struct tail *tail);
// Whether the system tells all that is written to the file.
bool tail_is_told(const struct tail *tail, const struct stat *status, bool is_link);

// tail_restore.c: opens the files of the checkpoint, wherever they are now, and those that came since and are gone
// again from where logs are looked for.
// Returns the last of those that positions know; NULL when there is none.
struct tail_file *tail_restore(struct tail *tail);

// tail_save.c
void tail_note(struct tail *tail, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Sets (NULL ends) a condition and signals when it changed. condition: one of the texts of the struct.
void tail_set_condition(struct tail *tail, char *condition, size_t size, const char *text);
// Writes the checkpoint on a worker thread unless one is at it.
void tail_save(struct tail *tail);
void tail_save_now(struct tail *tail);
void tail_unref(struct tail *tail);

#endif
