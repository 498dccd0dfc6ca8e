// Follows a log file, or all files that a pattern matches, line by line: over renames, truncations and restarts. Lines
// are handed out, their records are sent with a batch, and the checkpoint moves behind them when that is acknowledged.
// The follower is the caller's until tail_close; libuv and a worker thread may hold it a little longer.
#ifndef DBOBS_TAIL_H
#define DBOBS_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "buf.h"
#include "sink.h"
#include "wakeup.h"

struct tail;

struct tail_options {
    const char *path;        // a file, a directory, or a pattern with * ? [ ]
    const char *suffix;      // of a directory: its logs end so; "": those that end in no suffix of another format
    const char *checkpoint;  // NULL: positions are not kept in a file
    // Instead of a checkpoint file: what tail_positions wrote, kept elsewhere; "" at the first start. NULL: not so.
    const char *positions;
    bool remote;        // files are brought with tail_remote.h, path is only what they are called
    bool from_end;      // files that are there at the first start are read from their end on
    int64_t since_us;   // files found at the start and not written since are read from their end on; 0: none
    uint64_t poll_ms;   // between two looks at files and directory
    uint64_t grace_ms;  // how long a rotated file is read on after its end was reached
    // A line without its end that nobody has completed for grace_ms is handed out as it is, once, and again as a whole
    // when the rest of it comes: at the same offset, and only the whole one moves the position.
    bool half_lines;
};

struct tail_line {
    const char *text;  // without its newline; until the next call
    size_t len;
    size_t dropped;          // bytes of an overlong line that were left out behind text
    size_t shrunk;           // bytes by which it was shortened, see tail_shrink
    const char *path;        // of the file
    const char *first_line;  // hash of the file's first line
    uint32_t truncations;    // how often the file was truncated and begun anew
    int64_t offset;          // of the line's first byte
};

// NULL with `error` when the checkpoint cannot be used; *in_use: because another process does.
struct tail *tail_open(uv_loop_t *loop, const struct tail_options *options, bool *in_use, char *error, size_t size);
// Writes the checkpoint once more and frees.
void tail_close(struct tail *tail);

// Finds the end of the piece (a line, or a record of several) that text begins with, behind its newline; 0 when that
// has not been written yet. *scanned: where an earlier call with the same, shorter text came; 0 at first. is_all:
// nothing more is being written.
typedef size_t tail_cut(void *argument, const char *text, size_t len, size_t *scanned, bool is_all);
// Shortens the beginning of a huge piece in place. Returns what is behind the last place where something was cut out of
// it, now or before; 0 when there is none.
typedef size_t tail_shrink(void *argument, char *text, size_t *len);
// Pieces are cut by `cut` instead of at each newline, and huge ones shortened by `shrink`. Before the first one is
// asked for.
void tail_set_cut(struct tail *tail, tail_cut *cut, tail_shrink *shrink, void *argument);

// The next line; false when there is none now: wait for tail_news. The line counts as handled with the next
// tail_commit.
bool tail_next(struct tail *tail, struct tail_line *line);
// All lines so far were handled: their records were put with `batch`, whose last report acknowledges them; NULL, or a
// batch that was not used, acknowledges them at once.
void tail_commit(struct tail *tail, struct batch *batch);
// The line that was handed out last, from `offset` on, was not handled: it is handed out again.
void tail_hand_back(struct tail *tail, int64_t offset);
// Bytes handed out since the last commit.
size_t tail_uncommitted(const struct tail *tail);
// Takes acknowledgements in; -1 with `error` when a batch failed: the follower is then back at its checkpoint.
int tail_acknowledge(struct tail *tail, char *error, size_t size);

// For positions that are kept elsewhere: writes those behind all lines so far, of which none may be uncommitted. The
// first lines are handed out when tail_kept has said that some are in a safe place.
void tail_positions(struct tail *tail, struct buf *out);
void tail_kept(struct tail *tail);

// Signalled when there may be lines, acknowledgements, a note or another condition.
struct wakeup *tail_news(struct tail *tail);

// What lasts: why the path cannot be followed now, why a file cannot be read, why the checkpoint cannot be written.
// NULL when all is well.
const char *tail_path_condition(const struct tail *tail);
const char *tail_read_condition(const struct tail *tail);
const char *tail_checkpoint_condition(const struct tail *tail);
// Takes the oldest event that somebody should know of; the caller frees it. NULL when there is none.
char *tail_take_note(struct tail *tail);

// Lines handed out and not acknowledged, in segments: 0 when nothing is in flight.
unsigned tail_in_flight(const struct tail *tail);
// Whether the last acknowledgement is not in the checkpoint file, or what else keeps it, yet.
bool tail_is_unsaved(const struct tail *tail);
struct tail_progress {
    int64_t size, acked;  // bytes of the files, and those of them that are acknowledged
    int64_t delivered;    // bytes acknowledged since the follower began; never falls
    int64_t at_risk;      // bytes that are lost when rotated files are removed now and we end: not acknowledged
    unsigned files;       // that are followed
};
struct tail_progress tail_progress(const struct tail *tail);

#endif
