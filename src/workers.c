// Jobs wait in one queue. The first threads are started at once, more only while the queue stands: a burst of
// computing (SCRAM for a hundred connections) must not become a hundred threads that crowd the loop out. A thread that
// ends, or has ended a job, wakes the loop, which calls what is done and joins the thread.
#include "workers.h"

#include <stdbool.h>
#include <stdlib.h>

#include "buf.h"

#define AT_ONCE 8
#define MOST 512
// While jobs wait, so many threads are added this often.
#define GROW_BY 16
#define GROW_MS 50
// A thread without work ends after this time.
#define IDLE_NS 5000000000ull

struct queue {
    struct workers_job *first, *last;
};

struct thread {
    uv_thread_t id;
    struct workers *workers;
    struct thread *next;  // among those that have ended
};

struct workers {
    uv_mutex_t lock;  // of all up to `closing`
    uv_cond_t work;
    struct queue waiting, done;
    struct thread *ended;
    unsigned idle;
    bool closing;

    // The loop's own.
    unsigned threads;  // not yet joined
    uv_async_t async;
    uv_timer_t timer;
    unsigned open_handles;
};

static void append(struct queue *queue, struct workers_job *job) {
    job->next = NULL;
    if (queue->last) queue->last->next = job;
    else queue->first = job;
    queue->last = job;
}

static struct workers_job *take(struct queue *queue) {
    struct workers_job *job = queue->first;
    if (job) queue->first = job->next;
    if (!queue->first) queue->last = NULL;
    return job;
}

// The next job, waiting for it; NULL when the thread is to end. Under the lock.
static struct workers_job *next_job(struct workers *workers) {
    bool in_time = true;
    while (!workers->waiting.first && !workers->closing && in_time) {
        workers->idle++;
        in_time = uv_cond_timedwait(&workers->work, &workers->lock, IDLE_NS) == 0;
        workers->idle--;
    }
    return take(&workers->waiting);
}

static void run_thread(void *argument) {
    struct thread *thread = argument;
    struct workers *workers = thread->workers;
    struct workers_job *job;
    uv_mutex_lock(&workers->lock);
    while ((job = next_job(workers))) {
        uv_mutex_unlock(&workers->lock);
        job->work(job);
        uv_mutex_lock(&workers->lock);
        append(&workers->done, job);
        uv_async_send(&workers->async);
    }
    thread->next = workers->ended;
    workers->ended = thread;
    uv_async_send(&workers->async);
    uv_mutex_unlock(&workers->lock);
}

static int add_thread(struct workers *workers) {
    struct thread *thread = xcalloc(1, sizeof *thread);
    thread->workers = workers;
    if (uv_thread_create(&thread->id, run_thread, thread)) {
        free(thread);
        return -1;
    }
    workers->threads++;
    return 0;
}

static void on_closed(uv_handle_t *handle) {
    struct workers *workers = handle->data;
    if (--workers->open_handles) return;
    uv_cond_destroy(&workers->work);
    uv_mutex_destroy(&workers->lock);
    free(workers);
}

static void close_when_idle(struct workers *workers) {
    if (!workers->closing || workers->threads || uv_is_closing((uv_handle_t *)&workers->async)) return;
    uv_close((uv_handle_t *)&workers->async, on_closed);
    uv_close((uv_handle_t *)&workers->timer, on_closed);
}

static void on_async(uv_async_t *async) {
    struct workers *workers = async->data;
    uv_mutex_lock(&workers->lock);
    struct queue done = workers->done;
    struct thread *ended = workers->ended;
    workers->done = (struct queue){NULL, NULL};
    workers->ended = NULL;
    uv_mutex_unlock(&workers->lock);
    struct workers_job *job;
    while ((job = take(&done))) job->done(job);
    while (ended) {
        struct thread *next = ended->next;
        uv_thread_join(&ended->id);
        free(ended);
        workers->threads--;
        ended = next;
    }
    close_when_idle(workers);
}

// How many jobs wait that no idle thread is about to take; GROW_BY for more. Under the lock.
static unsigned shortage(struct workers *workers) {
    unsigned count = 0, most = workers->idle + GROW_BY;
    for (struct workers_job *job = workers->waiting.first; job && count < most; job = job->next) count++;
    return count > workers->idle ? count - workers->idle : 0;
}

static void on_timer(uv_timer_t *timer) {
    struct workers *workers = timer->data;
    uv_mutex_lock(&workers->lock);
    unsigned missing = shortage(workers);
    uv_mutex_unlock(&workers->lock);
    if (!missing) uv_timer_stop(timer);
    while (missing-- && workers->threads < MOST && add_thread(workers) == 0) continue;
}

struct workers *workers_new(uv_loop_t *loop) {
    struct workers *workers = xcalloc(1, sizeof *workers);
    if (uv_mutex_init(&workers->lock)) goto fail;
    if (uv_cond_init(&workers->work)) goto fail_cond;
    if (uv_async_init(loop, &workers->async, on_async)) goto fail_async;
    uv_timer_init(loop, &workers->timer);
    workers->async.data = workers->timer.data = workers;
    workers->open_handles = 2;
    return workers;
fail_async:
    uv_cond_destroy(&workers->work);
fail_cond:
    uv_mutex_destroy(&workers->lock);
fail:
    free(workers);
    return NULL;
}

int workers_run(struct workers *workers, struct workers_job *job) {
    uv_mutex_lock(&workers->lock);
    append(&workers->waiting, job);
    bool more = shortage(workers) > 0;
    uv_cond_signal(&workers->work);
    uv_mutex_unlock(&workers->lock);
    if (!more) return 0;
    if (workers->threads < AT_ONCE && add_thread(workers) == 0) return 0;
    if (workers->threads) {
        if (!uv_is_active((uv_handle_t *)&workers->timer)) uv_timer_start(&workers->timer, on_timer, GROW_MS, GROW_MS);
        return 0;
    }
    // Without any thread nobody has taken it.
    workers->waiting = (struct queue){NULL, NULL};
    return -1;
}

void workers_close(struct workers *workers) {
    uv_mutex_lock(&workers->lock);
    workers->closing = true;
    uv_cond_broadcast(&workers->work);
    uv_mutex_unlock(&workers->lock);
    close_when_idle(workers);
}
