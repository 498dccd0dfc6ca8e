// The vm: a Lua state, its loop and the table of bindings. Adding a primitive is one line in bindings.h, one C file and
// one Lua file. Owned by the thread that made it.
#include "vm.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "bindings.h"
#include "buf.h"
#include "embed.h"
#include "task.h"
#include "workers.h"

int luaopen_cjson(lua_State *lua);
int luaopen_lfs(lua_State *lua);
int luaopen_term_core(lua_State *lua);

#define BINDING_ENTRY(name) {"dbobs.core." #name, luaopen_dbobs_##name},

static const luaL_Reg modules[] = {
    BINDINGS(BINDING_ENTRY){"cjson", luaopen_cjson},
    {"lfs", luaopen_lfs},
    {"term.core", luaopen_term_core},
    {NULL, NULL},
};

// Where `require "a.b"` looks in the binary, in this order.
static const char *const places[] = {"lua/%s.lua", "lua/%s/init.lua", "pipelines/%s.lua", "vendor/%s.lua",
                                     "vendor/%s/init.lua"};

static const char vm_key = 'v';

struct vm *vm_of(lua_State *lua) {
    lua_pushlightuserdata(lua, (void *)&vm_key);
    lua_rawget(lua, LUA_REGISTRYINDEX);
    struct vm *vm = lua_touserdata(lua, -1);
    lua_pop(lua, 1);
    return vm;
}

// Pushes the chunk compiled and returns 1; raises on a syntax error. The name makes tracebacks show file and line.
static int load_embedded(lua_State *lua, const struct embed_file *file) {
    lua_pushfstring(lua, "@dbobs:%s", file->path);
    if (luaL_loadbuffer(lua, (const char *)file->data, file->size, lua_tostring(lua, -1))) return lua_error(lua);
    return 1;
}

// package.loaders entry: the module from the binary, or a text that says it is not there.
static int embedded_loader(lua_State *lua) {
    const char *name = luaL_gsub(lua, luaL_checkstring(lua, 1), ".", "/");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char path[256];
        if (snprintf(path, sizeof path, places[i], name) >= (int)sizeof path) continue;
        const struct embed_file *file = embed_find(path);
        if (file) return load_embedded(lua, file);
    }
    lua_pushfstring(lua, "\n\tno module '%s' in the dbobs binary", lua_tostring(lua, 1));
    return 1;
}

// Puts the embedded loader right behind package.preload, before the file system.
static void add_loader(lua_State *lua) {
    lua_getglobal(lua, "package");
    lua_getfield(lua, -1, "loaders");
    for (int i = (int)lua_objlen(lua, -1); i >= 2; i--) {
        lua_rawgeti(lua, -1, i);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_pushcfunction(lua, embedded_loader);
    lua_rawseti(lua, -2, 2);
    lua_pop(lua, 2);
}

static void add_modules(lua_State *lua) {
    lua_getglobal(lua, "package");
    lua_getfield(lua, -1, "preload");
    for (const luaL_Reg *module = modules; module->name; module++) {
        lua_pushcfunction(lua, module->func);
        lua_setfield(lua, -2, module->name);
    }
    lua_pop(lua, 2);
}

static void push_arguments(lua_State *lua, const struct app *app) {
    lua_createtable(lua, app->argc, 0);
    for (int i = 0; i < app->argc; i++) {
        lua_pushstring(lua, app->argv[i]);
        lua_rawseti(lua, -2, i);
    }
}

struct opening {
    struct vm *vm;
    const struct vm_entry *entry;
};

// Protected: opens everything and spawns the main task.
static int open_all(lua_State *lua) {
    const struct opening *opening = lua_touserdata(lua, 1);
    struct vm *vm = opening->vm;
    const struct vm_entry *entry = opening->entry;
    lua_pushlightuserdata(lua, (void *)&vm_key);
    lua_pushlightuserdata(lua, vm);
    lua_rawset(lua, LUA_REGISTRYINDEX);
    luaL_openlibs(lua);
    add_modules(lua);
    add_loader(lua);
    lua_getglobal(lua, "require");
    lua_pushstring(lua, entry ? entry->module : "dbobs.cli");
    lua_call(lua, 1, 1);
    if (entry) lua_pushlstring(lua, entry->text, entry->len);
    else push_arguments(lua, vm->app);
    task_spawn(lua, 1);
    return 0;
}

static void on_order(uv_async_t *async) {
    (void)async;  // its only purpose is that uv_run returns
}

static int open_loop(struct vm *vm) {
    int code = uv_loop_init(&vm->loop);
    if (!code) {
        code = uv_async_init(&vm->loop, &vm->order_async, on_order);
        if (code) uv_loop_close(&vm->loop);
    }
    if (!code && !(vm->workers = workers_new(&vm->loop))) code = UV_EAGAIN;
    if (!code) return 0;
    fprintf(stderr, "dbobs: cannot start: %s\n", uv_strerror(code));
    return -1;
}

struct vm *vm_new(struct app *app, bool may_run, const struct vm_entry *entry, struct thread *thread) {
    struct vm *vm = xcalloc(1, sizeof *vm);
    struct opening opening = {vm, entry};
    vm->app = app;
    vm->thread = thread;
    vm->may_run = may_run;
    if (open_loop(vm)) {
        free(vm);
        return NULL;
    }
    vm->lua = luaL_newstate();
    if (vm->lua && lua_cpcall(vm->lua, open_all, &opening) == 0) {
        lua_settop(vm->lua, 0);
        return vm;
    }
    fprintf(stderr, "dbobs: cannot start: %s\n", vm->lua ? lua_tostring(vm->lua, -1) : "no Lua state");
    vm_close(vm);
    vm_closed(vm);
    return NULL;
}

static void close_handle(uv_handle_t *handle, void *unused) {
    (void)unused;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

void vm_close(struct vm *vm) {
    task_drop_all(vm);
    if (vm->lua) lua_close(vm->lua);
    vm->lua = NULL;
    workers_close(vm->workers);
    uv_close((uv_handle_t *)&vm->order_async, NULL);
}

bool vm_closed(struct vm *vm) {
    if (uv_run(&vm->loop, UV_RUN_NOWAIT)) return false;
    uv_walk(&vm->loop, close_handle, NULL);
    uv_run(&vm->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&vm->loop) != 0) return false;
    free(vm);
    return true;
}

void vm_wake(struct vm *vm) {
    uv_async_send(&vm->order_async);
}

static void raise_interrupt(lua_State *lua, lua_Debug *where) {
    (void)where;
    lua_sethook(lua, NULL, 0, 0);
    luaL_error(lua, "interrupted");
}

void vm_interrupt(struct vm *vm) {
    if (!vm->current || vm->current != vm->evaluating) return;
    // The one thing that Lua allows in a signal handler.
    lua_sethook(vm->lua, raise_interrupt, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

void vm_order(struct vm *vm, enum vm_order order) {
    if (order == VM_STOP) vm->must_stop = true;
    else vm->may_run = true;
    wakeup_signal(&vm->ordered);
}
