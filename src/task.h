// Tasks: coroutines that wait for one thing at a time. The only lua_resume and lua_yield of the program are here.
#ifndef DBOBS_TASK_H
#define DBOBS_TASK_H

#include <lua.h>

struct vm;
struct wakeup;

// What a parked task goes on with: pushes it and returns how many values. `reason` is "ready", "deadline" or
// "cancelled". Called before the task is resumed; it must not raise.
typedef int task_answer(lua_State *lua, void *data, const char *reason);

// Starts the function on top of the stack, with `args` arguments above it, as a task; both are popped and the task's
// userdata is pushed. It first runs in the next task_run_ready.
void task_spawn(lua_State *lua, int args);
// Resumes every task that was ready when called, each until it waits or ends.
void task_run_ready(struct vm *vm);
// The value of a binding's function that has begun something: its caller in Lua waits for the wakeup, for as long as
// its deadline allows, and gets what `answer` pushes then. `data` lives as long as the caller holds it.
int task_wait(lua_State *lua, struct wakeup *wakeup, task_answer *answer, void *data);
// Drops every task without resuming it: for a vm that is being freed.
void task_drop_all(struct vm *vm);

#endif
