// A thread with a vm of its own, see thread.h. A mailbox is a list under a lock, taken for the moment of linking; the
// receiver's loop is woken by an async handle, which it made and closes itself.
#include "thread.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "loop_event.h"
#include "task.h"
#include "vm.h"

// How long a thread's end waits for its vm's workers: a name server that does not answer, say.
#define CLOSE_NS 2000000000

struct thread {
    struct app *app;
    char *module;
    struct message *start;
    struct mailbox to_thread, to_starter;
    uv_thread_t id;
};

static void on_arrival(uv_async_t *async) {
    struct mailbox *box = async->data;
    wakeup_signal(&box->arrived);
}

static void on_closed(uv_handle_t *handle) {
    free(handle);
}

// On the receiver's thread. Returns libuv's error.
static int open_box(struct mailbox *box, uv_loop_t *loop) {
    uv_async_t *async = xmalloc(sizeof *async);
    int error = uv_async_init(loop, async, on_arrival);
    if (error) {
        free(async);
        return error;
    }
    async->data = box;
    uv_mutex_lock(&box->lock);
    box->async = async;
    bool late = box->first || box->ended;
    uv_mutex_unlock(&box->lock);
    if (late) uv_async_send(async);
    return 0;
}

static void close_box(struct mailbox *box) {
    uv_mutex_lock(&box->lock);
    uv_async_t *async = box->async;
    box->async = NULL;
    uv_mutex_unlock(&box->lock);
    if (async) uv_close((uv_handle_t *)async, on_closed);
}

static void end_box(struct mailbox *box) {
    uv_mutex_lock(&box->lock);
    box->ended = true;
    if (box->async) uv_async_send(box->async);
    uv_mutex_unlock(&box->lock);
}

static void free_box(struct mailbox *box) {
    while (box->first) {
        struct message *message = box->first;
        box->first = message->next;
        free(message);
    }
    uv_mutex_destroy(&box->lock);
}

static struct message *new_message(const char *text, size_t len) {
    struct message *message = xmalloc(sizeof *message + len);
    message->next = NULL;
    message->len = len;
    memcpy(message->text, text, len);
    return message;
}

void thread_send(struct thread_end end, const char *text, size_t len) {
    struct mailbox *box = end.out;
    struct message *message = new_message(text, len);
    uv_mutex_lock(&box->lock);
    *(box->first ? &box->last->next : &box->first) = message;
    box->last = message;
    if (box->async) uv_async_send(box->async);
    uv_mutex_unlock(&box->lock);
}

struct message *thread_receive(struct thread_end end, bool *ended) {
    struct mailbox *box = end.in;
    uv_mutex_lock(&box->lock);
    struct message *message = box->first;
    if (message) box->first = message->next;
    *ended = !message && box->ended;
    uv_mutex_unlock(&box->lock);
    return message;
}

// Tasks are resumed after each event of a connection, not only after a batch. Never from inside of a task.
static void on_event_over(uv_loop_t *loop) {
    struct vm *vm = (struct vm *)((char *)loop - offsetof(struct vm, loop));
    if (!vm->current) task_run_ready(vm);
}

static void run_vm(struct vm *vm) {
    struct loop_event event = {on_event_over};
    vm->loop.data = &event;
    while (vm->phase != VM_FINISHED) {
        task_run_ready(vm);
        uv_run(&vm->loop, vm->ready_first || vm->phase == VM_FINISHED ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    }
    vm->loop.data = NULL;
}

static void run(void *data) {
    struct thread *thread = data;
    struct vm_entry entry = {thread->module, thread->start->text, thread->start->len};
    struct vm *vm = vm_new(thread->app, true, &entry, thread);
    if (vm && open_box(&thread->to_thread, &vm->loop) == 0) run_vm(vm);
    if (vm) {
        vm_close(vm);
        close_box(&thread->to_thread);
        int64_t until = clock_monotonic_ns() + CLOSE_NS;
        while (!vm_closed(vm) && clock_monotonic_ns() < until) uv_sleep(1);
    }
    end_box(&thread->to_starter);
}

static void free_thread(struct thread *thread) {
    free_box(&thread->to_thread);
    free_box(&thread->to_starter);
    free(thread->start);
    free(thread->module);
    free(thread);
}

struct thread *thread_start(struct app *app, uv_loop_t *loop, const char *module, const char *text, size_t len) {
    struct thread *thread = xcalloc(1, sizeof *thread);
    thread->app = app;
    thread->module = xstrdup(module);
    thread->start = new_message(text, len);
    uv_mutex_init(&thread->to_thread.lock);
    uv_mutex_init(&thread->to_starter.lock);
    // Signals are main's: a thread is made with all of them blocked.
    sigset_t all, before;
    sigfillset(&all);
    int failed = open_box(&thread->to_starter, loop);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (!failed) failed = uv_thread_create(&thread->id, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed) return thread;
    close_box(&thread->to_starter);
    free_thread(thread);
    return NULL;
}

struct thread_end thread_starter(struct thread *thread) {
    return (struct thread_end){thread, &thread->to_starter, &thread->to_thread};
}

struct thread_end thread_own(struct thread *thread) {
    return (struct thread_end){thread, &thread->to_thread, &thread->to_starter};
}

void thread_join(struct thread *thread) {
    end_box(&thread->to_thread);
    uv_thread_join(&thread->id);
    close_box(&thread->to_starter);
    wakeup_signal(&thread->to_starter.arrived);  // nobody may stand waiting at what is freed
    free_thread(thread);
}
