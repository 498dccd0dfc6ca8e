// The process: signals, the first vm, the exit code. Everything that a command does is Lua (lua/dbobs/cli).
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app.h"
#include "counters.h"
#include "loop.h"
#include "vm.h"

// Signal handlers have no argument: the one pointer that leads them to the process.
static struct app *the_app;

static void wake_all(void) {
    if (the_app->active) vm_wake(the_app->active);
    if (the_app->next) vm_wake(the_app->next);
}

static void on_stop(int number) {
    // A second one means that the person will not wait for the drain.
    if (the_app->stop_signals++) _exit(128 + number);
    wake_all();
}

static void on_interrupt(int number) {
    struct app *app = the_app;
    if (!app->takes_interrupts) {
        on_stop(number);
        return;
    }
    // Whoever presses it a third time is not heard: something does not end.
    if (app->interrupts++ >= 2) _exit(128 + number);
    if (app->active) vm_interrupt(app->active);
    wake_all();
}

static void on_reload(int number) {
    (void)number;
    the_app->reload_signals++;
    wake_all();
}

static void install(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(number, &action, NULL);
}

// Followed files, connections and brokers each take a descriptor; the usual soft limit is for programs with select().
static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return;
    rlim_t wanted = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    if (limit.rlim_cur >= wanted) return;
    limit.rlim_cur = wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

// What the vms began to close ends here. A look-up that hangs in a worker must not hold the exit up for long.
static bool wait_for_workers(struct app *app) {
    int64_t until = clock_monotonic_ns() + 2000000000;
    while (!loop_sweep(app)) {
        if (clock_monotonic_ns() > until) return false;
        uv_sleep(1);
    }
    return true;
}

int main(int argc, char **argv) {
    // librdkafka's blocking calls run on libuv's workers; a broker that does not answer holds one up for seconds, so
    // there are more than the four of the default. Connections to servers have workers of their own.
    setenv("UV_THREADPOOL_SIZE", "16", 0);
    raise_file_limit();
    struct app app = {.argc = argc, .argv = argv, .counters = counters_new()};
    the_app = &app;
    install(SIGPIPE, SIG_IGN);
    app.active = vm_new(&app, true, NULL, NULL);
    if (!app.active) return EXIT_FAILURE;
    install(SIGTERM, on_stop);
    install(SIGINT, on_interrupt);
    install(SIGHUP, on_reload);
    int code = loop_run(&app);
    install(SIGTERM, SIG_IGN);
    install(SIGINT, SIG_IGN);
    install(SIGHUP, SIG_IGN);
    if (app.next) loop_close_vm(&app, app.next);
    loop_close_vm(&app, app.active);
    bool clean = wait_for_workers(&app);
    counters_free(app.counters);
    // exit() would wait for a worker that hangs.
    if (!clean) {
        fflush(NULL);
        _exit(code);
    }
    uv_library_shutdown();  // ends the workers, and with them what libraries keep for each thread
    return code;
}
