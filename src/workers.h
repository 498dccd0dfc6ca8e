// Threads for calls that may block for long on somebody else: a name server that does not answer, a password command
// that hangs. libuv's own workers are few and never more; here threads are added as long as jobs have to wait for one,
// so that many that hang hold up nobody else, and end when there is nothing to do. Owned by one loop, used on its
// thread.
#ifndef DBOBS_WORKERS_H
#define DBOBS_WORKERS_H

#include <uv.h>

struct workers;

// Embedded in whoever has the work; not to be touched until `done` was called.
struct workers_job {
    void (*work)(struct workers_job *job);  // on a thread
    void (*done)(struct workers_job *job);  // on the loop's, afterwards
    struct workers_job *next;
};

// No thread is started before there is work.
struct workers *workers_new(uv_loop_t *loop);
// Queues a job whose functions are set. 0, or -1 when not even a first thread can be started.
int workers_run(struct workers *workers, struct workers_job *job);
// No more jobs come. What is under way still ends, and keeps the loop alive until then; the memory goes with it.
void workers_close(struct workers *workers);

#endif
