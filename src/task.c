// Tasks: coroutines of a vm that wait for one thing at a time: a wakeup, a time, their deadline, or being cancelled.
// A waking event only queues its task; task_run_ready resumes it, after the event batch and in one place. The struct is
// C's and counted: one reference for the running task, one for its Lua handle, one for its timer until libuv closed it.
#include "task.h"

#include <lauxlib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "luax.h"
#include "vm.h"

#define TASK_CLASS "dbobs.task"
// After so many waits that found their signal already there, a task gives way to the others.
#define MAX_STREAK 16

struct task {
    struct vm *vm;
    lua_State *coroutine;
    int handle_ref;  // in the registry while the task runs: anchors handle and coroutine
    unsigned refs;
    struct waiter waiter;
    uv_timer_t timer;
    struct task *next_ready;
    struct task *next, **link;  // the vm's list
    bool queued, parked, finished, failed, cancelled;
    unsigned streak;
    int arguments;        // of the first resume; -1 afterwards
    const char *reason;   // why a parked task goes on: what wait returns
    task_answer *answer;  // what it goes on with instead; NULL: the reason
    void *answer_data;
    bool timer_is_deadline;
    int64_t deadline_ns;  // monotonic; 0 for none
    struct wakeup done;
};

// The value that tells our yield from a user's own.
static const char waiting_mark = 'w';

static void unref(struct task *task) {
    if (--task->refs == 0) free(task);
}

static void on_timer_closed(uv_handle_t *handle) {
    unref(handle->data);
}

static void unpark(struct task *task) {
    if (!task->parked) return;
    wakeup_unpark(&task->waiter);
    uv_timer_stop(&task->timer);
    task->parked = false;
}

static void append(struct task *task, const char *reason) {
    struct vm *vm = task->vm;
    task->reason = reason;
    task->queued = true;
    task->next_ready = NULL;
    if (vm->ready_last) vm->ready_last->next_ready = task;
    else vm->ready_first = task;
    vm->ready_last = task;
}

// A task that runs may still stand as waiting: its wait was refused above it (a C function between two coroutines), and
// it went on. Then there is nobody to resume.
static void enqueue(struct task *task, const char *reason) {
    if (task->queued || task->finished) return;
    unpark(task);
    if (task->vm->current != task) append(task, reason);
}

// Undoes what a refused wait has left: before the next wait, and at the end.
static void forget_wait(struct task *task) {
    struct vm *vm = task->vm;
    unpark(task);
    if (!task->queued) return;
    task->queued = false;
    struct task *before = NULL;
    for (struct task **link = &vm->ready_first; *link; before = *link, link = &before->next_ready) {
        if (*link != task) continue;
        *link = task->next_ready;
        if (vm->ready_last == task) vm->ready_last = before;
        return;
    }
}

static void on_wakeup(struct waiter *waiter) {
    enqueue((struct task *)((char *)waiter - offsetof(struct task, waiter)), "ready");
}

static void on_timer(uv_timer_t *timer) {
    struct task *task = timer->data;
    enqueue(task, task->timer_is_deadline ? "deadline" : "timeout");
}

void task_spawn(lua_State *lua, int args) {
    struct vm *vm = vm_of(lua);
    struct task *task = xcalloc(1, sizeof *task);
    task->vm = vm;
    task->refs = 3;
    task->arguments = args;
    task->waiter.notify = on_wakeup;
    uv_timer_init(&vm->loop, &task->timer);
    task->timer.data = task;

    struct task **handle = luax_new(lua, TASK_CLASS, sizeof *handle);
    *handle = task;
    lua_createtable(lua, 1, 0);
    task->coroutine = lua_newthread(lua);
    lua_rawseti(lua, -2, 1);
    lua_setfenv(lua, -2);
    lua_pushvalue(lua, -1);
    task->handle_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    lua_insert(lua, -(args + 2));
    lua_xmove(lua, task->coroutine, args + 1);

    task->next = vm->tasks;
    task->link = &vm->tasks;
    if (task->next) task->next->link = &task->next;
    vm->tasks = task;
    vm->task_count++;
    enqueue(task, NULL);
}

// Takes the task off the vm's list, closes its timer and wakes who waits for its end.
static void finish(struct task *task) {
    forget_wait(task);
    task->finished = true;
    *task->link = task->next;
    if (task->next) task->next->link = task->link;
    task->vm->task_count--;
    uv_close((uv_handle_t *)&task->timer, on_timer_closed);
    wakeup_signal(&task->done);
    wakeup_signal(&task->vm->ordered);  // the main task may be waiting for the last one
    luaL_unref(task->vm->lua, LUA_REGISTRYINDEX, task->handle_ref);
    unref(task);
}

// Hands the error and a traceback to the vm's handler (on_failure), which logs it.
static void report_failure(struct task *task) {
    lua_State *lua = task->vm->lua, *co = task->coroutine;
    lua_pushlightuserdata(lua, (void *)&waiting_mark);
    lua_rawget(lua, LUA_REGISTRYINDEX);
    lua_pushvalue(co, -1);
    lua_xmove(co, lua, 1);
    luaL_traceback(lua, co, NULL, 0);
    if (!lua_isfunction(lua, -3) || lua_pcall(lua, 2, 0, 0))
        fprintf(stderr, "dbobs: a task failed: %s\n", lua_tostring(lua, -1));
    lua_settop(lua, 0);
}

static int push_answer(lua_State *lua, const struct task *task, const char *reason) {
    if (task->answer) return task->answer(lua, task->answer_data, reason);
    lua_pushstring(lua, reason);
    return 1;
}

static void resume(struct task *task) {
    lua_State *co = task->coroutine;
    int arguments = task->arguments;
    if (arguments < 0) arguments = push_answer(co, task, task->reason);
    task->arguments = -1;
    task->vm->current = task;
    int status = lua_resume(co, arguments);
    task->vm->current = NULL;
    if (status == LUA_YIELD) {
        if (lua_touserdata(co, -1) == &waiting_mark) {
            lua_settop(co, 0);
            return;
        }
        lua_pushstring(co,
                       "coroutine.yield outside of a coroutine: inside a task use dbobs.sleep or wait for something");
        status = LUA_ERRRUN;
    }
    if (status != 0) {
        task->failed = true;
        report_failure(task);
    }
    finish(task);
}

void task_run_ready(struct vm *vm) {
    struct task *task = vm->ready_first;
    vm->ready_first = vm->ready_last = NULL;
    while (task) {
        struct task *next = task->next_ready;
        task->queued = false;
        resume(task);
        task = next;
    }
}

void task_drop_all(struct vm *vm) {
    vm->ready_first = vm->ready_last = NULL;
    // finish wakes joiners: they are dropped as well and must not be queued.
    for (struct task *task = vm->tasks; task; task = task->next) task->queued = true;
    while (vm->tasks) finish(vm->tasks);
    vm->ready_first = vm->ready_last = NULL;
}

static struct task *check_task(lua_State *lua, int index) {
    return *(struct task **)luaL_checkudata(lua, index, TASK_CLASS);
}

// spawn(fn, ...) -> task
static int l_spawn(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TFUNCTION);
    task_spawn(lua, lua_gettop(lua) - 1);
    return 1;
}

// Starts the timer for whichever comes first, the timeout or the deadline. Returns a reason when one has passed
// already.
static const char *arm_timer(struct task *task, double timeout) {
    task->timer_is_deadline = false;
    if (timeout < 0 && !task->deadline_ns) return NULL;
    int64_t now = clock_monotonic_ns();
    int64_t until = INT64_MAX;
    if (timeout >= 0 && timeout < 9e9) until = now + (int64_t)(timeout * 1e9);
    task->timer_is_deadline = task->deadline_ns && task->deadline_ns <= until;
    if (task->timer_is_deadline) until = task->deadline_ns;
    if (until == INT64_MAX) return NULL;
    if (until <= now && task->timer_is_deadline) return "deadline";
    uv_update_time(&task->vm->loop);
    uint64_t milliseconds = until <= now ? 0 : (uint64_t)((until - now + 999999) / 1000000);
    uv_timer_start(&task->timer, on_timer, milliseconds, 0);
    return NULL;
}

// The only yield of the program. The task's `answer` is set. A timeout below 0 is none.
static int park(lua_State *lua, struct task *task, struct wakeup *wakeup, double timeout) {
    const char *reason = NULL;
    if (task->cancelled) {
        task->cancelled = false;
        reason = "cancelled";
    } else if (wakeup && wakeup_take(wakeup)) {
        reason = "ready";
        if (task->streak++ >= MAX_STREAK) {
            task->streak = 0;
            append(task, reason);
            reason = NULL;
        }
    } else {
        task->streak = 0;
        reason = arm_timer(task, timeout);
        if (!reason) {
            task->parked = true;
            if (wakeup) wakeup_park(wakeup, &task->waiter);
        }
    }
    if (reason) return push_answer(lua, task, reason);
    lua_pushlightuserdata(lua, (void *)&waiting_mark);
    return lua_yield(lua, 1);
}

// The current task, which may wait here and waits for nothing yet.
static struct task *check_current(lua_State *lua) {
    struct task *task = vm_of(lua)->current;
    if (!task) luaL_error(lua, "waiting is only possible inside a task: start one with dbobs.spawn");
    if (!lua_isyieldable(lua))
        luaL_error(lua, "waiting is not possible here: below a C function (string.gsub, table.sort, require)");
    forget_wait(task);
    return task;
}

int task_wait(lua_State *lua, struct wakeup *wakeup, task_answer *answer, void *data) {
    struct task *task = check_current(lua);
    task->answer = answer;
    task->answer_data = data;
    return park(lua, task, wakeup, -1);
}

// wait(object|nil, seconds|nil) -> "ready" | "timeout" | "deadline" | "cancelled"
static int l_wait(lua_State *lua) {
    struct task *task = check_current(lua);
    struct wakeup *wakeup = NULL;
    if (!lua_isnoneornil(lua, 1))
        wakeup = luax_check_interface(lua, 1, LUAX_WAKEUP, "something to wait for (and not closed)");
    task->answer = NULL;
    return park(lua, task, wakeup, luaL_optnumber(lua, 2, -1));
}

// current() -> task | nil
static int l_current(lua_State *lua) {
    struct task *task = vm_of(lua)->current;
    if (task) lua_rawgeti(lua, LUA_REGISTRYINDEX, task->handle_ref);
    else lua_pushnil(lua);
    return 1;
}

// deadline(seconds on the monotonic clock | nil) -> the one before | nil. Of the current task.
static int l_deadline(lua_State *lua) {
    struct task *task = vm_of(lua)->current;
    if (!task) return luaL_error(lua, "a deadline is only possible inside a task: start one with dbobs.spawn");
    int64_t before = task->deadline_ns;
    double seconds = luaL_optnumber(lua, 1, 0);
    task->deadline_ns = seconds < 9e9 ? (int64_t)(seconds * 1e9) : INT64_MAX;
    if (!before) return 0;
    lua_pushnumber(lua, (double)before / 1e9);
    return 1;
}

// cancel(task): its present or next wait ends with "cancelled", once.
static int l_cancel(lua_State *lua) {
    struct task *task = check_task(lua, 1);
    if (task->finished) return 0;
    if (task->parked) enqueue(task, "cancelled");
    else task->cancelled = true;
    return 0;
}

// status(task) -> "running" | "ended" | "failed"
static int l_status(lua_State *lua) {
    struct task *task = check_task(lua, 1);
    lua_pushstring(lua, task->failed ? "failed" : task->finished ? "ended" : "running");
    return 1;
}

// results(task) -> what its function returned; only once, only after it ended
static int l_results(lua_State *lua) {
    struct task *task = check_task(lua, 1);
    if (!task->finished || task->failed) return 0;
    int count = lua_gettop(task->coroutine);
    luaL_checkstack(lua, count, "results of a task");
    lua_xmove(task->coroutine, lua, count);
    return count;
}

// count() -> tasks that have not ended, the caller among them
static int l_count(lua_State *lua) {
    lua_pushinteger(lua, vm_of(lua)->task_count);
    return 1;
}

// on_failure(fn): from now on fn(error, traceback) is called for each task that raises. It must not wait.
static int l_on_failure(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TFUNCTION);
    lua_pushlightuserdata(lua, (void *)&waiting_mark);
    lua_pushvalue(lua, 1);
    lua_rawset(lua, LUA_REGISTRYINDEX);
    return 0;
}

static int l_gc(lua_State *lua) {
    unref(check_task(lua, 1));
    return 0;
}

static void *done_of(void *userdata) {
    return &(*(struct task **)userdata)->done;
}

static const luaL_Reg meta[] = {{"__gc", l_gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"spawn", l_spawn},           {"wait", l_wait},     {"current", l_current}, {"deadline", l_deadline},
    {"cancel", l_cancel},         {"status", l_status}, {"results", l_results}, {"count", l_count},
    {"on_failure", l_on_failure}, {NULL, NULL},
};

int luaopen_dbobs_task(lua_State *lua) {
    luax_class(lua, TASK_CLASS, NULL, meta);
    luax_offer(lua, LUAX_WAKEUP, done_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    lua_pushlightuserdata(lua, (void *)&waiting_mark);
    lua_setfield(lua, -2, "WAITING");
    return 1;
}
