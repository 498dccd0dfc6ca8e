// Logs that are on another machine, read through somebody who is asked for their bytes (lua/dbobs/log_sql.lua asks a
// server over SQL). Each is mirrored as far as it was read by a file in memory, which the follower reads as any other.
// What is followed is known by its first line: under another name it is the same log, another one under its name is
// not. Nothing here waits: the owner lists the files, asks what is wanted next, and brings it.
#ifndef DBOBS_TAIL_REMOTE_H
#define DBOBS_TAIL_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAIL_REMOTE_HEAD 256  // bytes that a file begins with, which come with each piece

struct tail;
struct tail_file;
struct tail_remote;
struct wakeup;

// NULL when the follower reads local files; else it is held until tail_remote_unref, and outlives the follower.
struct tail_remote *tail_remote_of(struct tail *tail);
void tail_remote_unref(struct tail_remote *remote);
// Signalled when tail_remote_want may say something else.
struct wakeup *tail_remote_hungry(struct tail_remote *remote);

// A look at the directory: begin, add each file, end. modified: any number that grows with the time of the last write.
void tail_remote_list_begin(struct tail_remote *remote);
void tail_remote_list_add(struct tail_remote *remote, const char *name, int64_t size, int64_t modified);
void tail_remote_list_end(struct tail_remote *remote);

enum tail_remote_want {
    TAIL_REMOTE_WANT,    // a piece
    TAIL_REMOTE_BUSY,    // nothing until what was brought is sent: wait for tail_remote_hungry
    TAIL_REMOTE_LIST,    // another look at the directory, now
    TAIL_REMOTE_NOTHING  // all was read that the last look has shown, or the follower is closed
};
// What to bring next. *name until the next call of any function here.
enum tail_remote_want tail_remote_want(struct tail_remote *remote, const char **name, int64_t *offset, size_t *len);
// Brings what was wanted last: the bytes, and what the file began with when it was read behind them. head NULL: there
// is no such file now. Fewer bytes than wanted: the file ends there.
void tail_remote_feed(struct tail_remote *remote, const char *bytes, size_t len, const char *head, size_t head_len);

// For the follower. Closed: nothing is wanted any more.
struct tail_remote *tail_remote_new(struct tail *tail);
void tail_remote_close(struct tail_remote *remote);
// Takes the positions of the checkpoint up.
void tail_remote_restore(struct tail_remote *remote);
// Nothing more is to be read of what was brought.
void tail_remote_ate(struct tail_remote *remote);
// A look at the directory has shown that the file has no more than was read.
bool tail_remote_is_settled(const struct tail_file *file);
// Nobody will bring more of the file, and all that was brought was handed out.
bool tail_remote_is_finished(const struct tail_file *file);
// The file's size at the last look.
int64_t tail_remote_size(const struct tail_file *file);

#endif
