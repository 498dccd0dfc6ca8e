// The main loop over the app's vms.
#ifndef DBOBS_LOOP_H
#define DBOBS_LOOP_H

struct app;

// Runs until the active vm has finished; returns its exit code. SIGTERM and SIGINT order the active vm to stop, SIGHUP
// starts a reload.
int loop_run(struct app *app);

#endif
