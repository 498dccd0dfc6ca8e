// Tasks: coroutines that wait for one thing at a time. The only lua_resume and lua_yield of the program are here.
#ifndef DBOBS_TASK_H
#define DBOBS_TASK_H

#include <lua.h>

struct vm;

// Starts the function on top of the stack, with `args` arguments above it, as a task; both are popped and the task's
// userdata is pushed. It first runs in the next task_run_ready.
void task_spawn(lua_State *lua, int args);
// Resumes every task that was ready when called, each until it waits or ends.
void task_run_ready(struct vm *vm);
// Drops every task without resuming it: for a vm that is being freed.
void task_drop_all(struct vm *vm);

#endif
