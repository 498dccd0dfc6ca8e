// The process: what its vms share. Owned by main's thread; vms on other threads only read arguments and add to
// counters.
#ifndef DBOBS_APP_H
#define DBOBS_APP_H

#include <signal.h>
#include <stdbool.h>

struct counters;
struct kafka_mock;
struct vm;

struct app {
    int argc;
    char **argv;
    struct counters *counters;
    struct kafka_mock *broker;  // the embedded one, shared by those who say "embedded"; NULL when it does not run
    struct vm *active;
    struct vm *next;     // a reload's new vm, until it takes over; NULL else
    struct vm *closing;  // vms that have finished and still wait for a worker
    volatile sig_atomic_t stop_signals;
    volatile sig_atomic_t reload_signals;
    volatile sig_atomic_t takes_interrupts;  // a prompt takes SIGINT, and counts it here
    volatile sig_atomic_t interrupts;
    bool output_closed;  // nobody reads standard output any more: a reason to stop
};

#endif
