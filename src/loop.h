// The main loop over the app's vms.
#ifndef DBOBS_LOOP_H
#define DBOBS_LOOP_H

#include <stdbool.h>

struct app;
struct vm;

// Runs until the active vm has finished; returns its exit code. SIGTERM and SIGINT order the active vm to stop, SIGHUP
// starts a reload.
int loop_run(struct app *app);

// Closes a vm that is neither active nor next any more.
void loop_close_vm(struct app *app, struct vm *vm);
// Lets go of what has been closed. True when nothing is left.
bool loop_sweep(struct app *app);

#endif
