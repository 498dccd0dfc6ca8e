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

// How often a vm that waits for its last worker is looked at.
#define SWEEP_MS 20

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

void loop_close_vm(struct app *app, struct vm *vm) {
    vm_close(vm);
    vm->next_closing = app->closing;
    app->closing = vm;
}

bool loop_sweep(struct app *app) {
    for (struct vm **link = &app->closing; *link;) {
        struct vm *next = (*link)->next_closing;
        if (vm_closed(*link)) *link = next;
        else link = &(*link)->next_closing;
    }
    return app->closing == NULL;
}

static int turn_timeout(struct vm *vm) {
    uv_run(&vm->loop, UV_RUN_NOWAIT);
    return vm->ready_first || vm->phase == VM_FINISHED ? 0 : uv_backend_timeout(&vm->loop);
}

static int sooner(int timeout, int other) {
    return timeout < 0 || (other >= 0 && other < timeout) ? other : timeout;
}

// Several loops on one thread, around a reload: each runs what it has, then their kernel queues are waited for
// together.
static void wait_for_all(struct app *app) {
    struct pollfd fds[2] = {{.fd = uv_backend_fd(&app->active->loop), .events = POLLIN}, {.fd = -1}};
    int timeout = turn_timeout(app->active);
    if (app->next) {
        fds[1] = (struct pollfd){.fd = uv_backend_fd(&app->next->loop), .events = POLLIN};
        timeout = sooner(timeout, turn_timeout(app->next));
    }
    if (!loop_sweep(app)) timeout = sooner(timeout, SWEEP_MS);
    if (!app->active->ready_first) poll(fds, 2, timeout);
}

static void wait_for_events(struct app *app) {
    if (app->next || app->closing) {
        wait_for_all(app);
        return;
    }
    struct vm *vm = app->active;
    uv_run(&vm->loop, vm->ready_first || vm->phase == VM_FINISHED ? UV_RUN_NOWAIT : UV_RUN_ONCE);
}

static void take_signals(struct app *app) {
    if ((app->stop_signals || app->output_closed) && !app->active->must_stop) vm_order(app->active, VM_STOP);
    if (app->interrupts) wakeup_signal(&app->active->ordered);
    if (!app->reload_signals || app->next || app->stop_signals) return;
    app->reload_signals = 0;
    if (app->active->phase == VM_LOADED) app->next = vm_new(app, false, NULL, NULL);
    else fputs("dbobs: SIGHUP: not reloaded, the file that runs has not been read to its end yet\n", stderr);
}

static void advance_reload(struct app *app) {
    struct vm *next = app->next;
    if (next->phase == VM_FINISHED || app->stop_signals) {
        app->next = NULL;
        loop_close_vm(app, next);
    } else if (next->phase == VM_LOADED && !app->active->must_stop) {
        vm_order(app->active, VM_STOP);
    } else if (next->phase == VM_LOADED && app->active->phase == VM_FINISHED) {
        struct vm *old = app->active;
        app->active = next;
        app->next = NULL;
        loop_close_vm(app, old);
        vm_order(next, VM_RUN);
    }
}
