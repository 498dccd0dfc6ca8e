// The main loop: resume the tasks that are ready, wait for events, see to signals. Start reading here.
// A reload has two vms for a moment: the next one loads its pipeline while the active one goes on collecting; only when
// that went well is the active one told to stop, and only when it has stopped may the next one run. So no record is
// collected twice and a pipeline with an error changes nothing.
#include "loop.h"

#include <poll.h>
#include <stdio.h>

#include "app.h"
#include "task.h"
#include "vm.h"

static void wait_for_events(struct app *app);
static void take_signals(struct app *app);
static void advance_reload(struct app *app);

int loop_run(struct app *app) {
    while (app->active->phase != VM_FINISHED) {
        task_run_ready(app->active);
        if (app->next) task_run_ready(app->next);
        wait_for_events(app);
        take_signals(app);
        if (app->next) advance_reload(app);
    }
    return app->active->exit_code;
}

static int turn_timeout(struct vm *vm) {
    uv_run(&vm->loop, UV_RUN_NOWAIT);
    return vm->ready_first || vm->phase == VM_FINISHED ? 0 : uv_backend_timeout(&vm->loop);
}

// Two loops on one thread: each runs what it has, then both kernel queues are waited for together.
static void wait_for_both(struct vm *first, struct vm *second) {
    struct pollfd fds[2] = {{.fd = uv_backend_fd(&first->loop), .events = POLLIN},
                            {.fd = uv_backend_fd(&second->loop), .events = POLLIN}};
    int timeout = turn_timeout(first);
    int other = turn_timeout(second);
    if (timeout < 0 || (other >= 0 && other < timeout)) timeout = other;
    if (!first->ready_first) poll(fds, 2, timeout);
}

static void wait_for_events(struct app *app) {
    if (app->next) {
        wait_for_both(app->active, app->next);
        return;
    }
    struct vm *vm = app->active;
    uv_run(&vm->loop, vm->ready_first || vm->phase == VM_FINISHED ? UV_RUN_NOWAIT : UV_RUN_ONCE);
}

static void take_signals(struct app *app) {
    if (app->stop_signals && !app->active->must_stop) vm_order(app->active, VM_STOP);
    if (!app->reload_signals || app->next || app->stop_signals) return;
    app->reload_signals = 0;
    if (app->active->phase == VM_LOADED) app->next = vm_new(app, false);
    else fputs("dbobs: SIGHUP: not reloaded, the file that runs has not been read to its end yet\n", stderr);
}

static void advance_reload(struct app *app) {
    struct vm *next = app->next;
    if (next->phase == VM_FINISHED || app->stop_signals) {
        if (next->phase == VM_FINISHED) fputs("dbobs: reload failed; the pipeline from before goes on\n", stderr);
        app->next = NULL;
        vm_free(next);
    } else if (next->phase == VM_LOADED && !app->active->must_stop) {
        vm_order(app->active, VM_STOP);
    } else if (next->phase == VM_LOADED && app->active->phase == VM_FINISHED) {
        struct vm *old = app->active;
        app->active = next;
        app->next = NULL;
        vm_free(old);
        vm_order(next, VM_RUN);
    }
}
