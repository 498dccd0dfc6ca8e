// One Lua state with its loop and tasks. Nothing in C is process-wide: a load test has one vm for each thread, a
// reload has two for a moment. What they share (log, counters, arguments) is the app's, owned by main.
#ifndef DBOBS_VM_H
#define DBOBS_VM_H

#include <lua.h>
#include <stdbool.h>
#include <uv.h>

#include "clock.h"
#include "wakeup.h"

struct app;
struct task;
struct thread;
struct workers;

// What main tells a vm, and the vm's own report of how far it is.
enum vm_order { VM_RUN, VM_STOP };
enum vm_phase { VM_LOADING, VM_LOADED, VM_FINISHED };

struct vm {
    uv_loop_t loop;
    lua_State *lua;
    struct app *app;
    struct thread *thread;  // the one it runs on; NULL: main's
    struct clock clock;
    struct workers *workers;  // for what may block for long

    struct task *evaluating;  // the task whose code vm_interrupt ends; NULL: none
    struct task *current;     // the task whose Lua code is running; NULL outside of one
    struct task *ready_first, *ready_last;
    struct task *tasks;  // all that have not finished
    unsigned task_count;

    uv_async_t order_async;  // main's thread says there is an order
    struct wakeup ordered;   // the vm's main task waits here
    bool may_run;            // a vm that reloads waits until its predecessor has finished
    bool must_stop;
    enum vm_phase phase;
    int exit_code;
    struct vm *next_closing;  // in the app's list
};

// What a thread's vm begins with: the function that a Lua module returns, called with a text.
struct vm_entry {
    const char *module;
    const char *text;
    size_t len;
};

// A vm whose main task calls `entry`; without one, `dbobs.cli` with the app's arguments. NULL, after a message on
// stderr, when there is no loop for it or the embedded library does not load.
struct vm *vm_new(struct app *app, bool may_run, const struct vm_entry *entry, struct thread *thread);
// Ends every task and closes the Lua state, which runs each __gc. What the bindings then close ends in vm_closed.
void vm_close(struct vm *vm);
// Runs a closed vm's loop without waiting. True when all has ended: the vm is freed. False while something is under
// way, a worker in a name lookup, say: ask again.
bool vm_closed(struct vm *vm);
// Thread-safe and safe in a signal handler.
void vm_wake(struct vm *vm);
// In a signal handler, on the vm's thread: ends the code that is being evaluated, when it is that which runs now, with
// a Lua error. Code that waits is left to its task's end.
void vm_interrupt(struct vm *vm);
// On the vm's thread.
void vm_order(struct vm *vm, enum vm_order order);

// The vm of a Lua state or of any of its coroutines.
struct vm *vm_of(lua_State *lua);

#endif
