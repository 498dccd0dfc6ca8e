// The parts of tail_remote.c (what is asked for and brought) and tail_remote_names.c (which log is behind which name).
// Not for others: they include tail_remote.h.
#ifndef DBOBS_TAIL_REMOTE_STATE_H
#define DBOBS_TAIL_REMOTE_STATE_H

#include "tail_file.h"
#include "tail_remote.h"
#include "wakeup.h"

#define TAIL_REMOTE_FIRST_LINE (64 * 1024)  // bytes by which a longer first line is known, as tail_file_hash does

// What a look at the directory showed.
struct tail_remote_name {
    char *name;
    int64_t size, modified;
    bool listed;                       // by the look that is under way
    bool known;                        // what follows is of the file that is there
    bool longer;                       // its first line does not end within the first bytes
    unsigned when;                     // the look after which it became known
    char first_line[CHECKPOINT_HASH];  // "" while that is not complete
    char head[TAIL_HEAD];
    size_t head_len;
    bool copy;  // it begins as a file that was there as well
    struct tail_file *file;
};

// Of a file that is followed.
struct tail_remote_file {
    struct tail_remote_name *name;  // where it is; NULL: not known
    int64_t size;                   // at the last look
    int64_t end, punched;           // the mirror holds the bytes from punched to end
    bool settled, lost, restored;
    unsigned missing;  // the look after which its place was not known any more
};

struct tail_remote {
    struct tail *tail;  // NULL: closed
    unsigned references;
    struct wakeup hungry;
    unsigned looks;
    struct tail_remote_name **names;  // the oldest first
    size_t count;
    struct tail_remote_name **index;  // those of the last look, by a hash of the name; NULL: a free slot
    size_t slots;                     // a power of two
    struct tail_remote_name *wanted;
    int64_t wanted_at;
    size_t wanted_len;
};

enum tail_remote_settled {
    TAIL_REMOTE_SETTLED,
    TAIL_REMOTE_LOOK,    // another look is needed
    TAIL_REMOTE_UNKNOWN  // the file of some name is to be known anew
};

// Of the names of the last complete look; NULL when there is none.
struct tail_remote_name *tail_remote_find(const struct tail_remote *remote, const char *text);
// Puts the names of a look in order.
void tail_remote_sort(struct tail_remote *remote);
// A file that is read from the offset on, without a place.
struct tail_file *tail_remote_follow(struct tail_remote *remote, const char *path, const char *first_line,
                                     int64_t offset);
// What the name's file begins with became known.
void tail_remote_know(struct tail_remote *remote, struct tail_remote_name *name, const char *first_line,
                      const char *head, size_t head_len);
// The file that was followed under the name is not there any more.
void tail_remote_displace(const struct tail_remote *remote, struct tail_remote_name *name);
// Brings files and names together once all names are known.
enum tail_remote_settled tail_remote_settle(struct tail_remote *remote);
// After a look: which files have nothing new, which are not written to any more.
void tail_remote_look_at_files(struct tail_remote *remote);

#endif
