// Binding "dbobs.core.thread": threads with a Lua state of their own, and texts between them, see thread.h.
#include <stdlib.h>

#include "luax.h"
#include "thread.h"
#include "vm.h"

#define THREAD_CLASS "dbobs.thread"
#define PARENT_CLASS "dbobs.thread_parent"

static int post(lua_State *lua, struct thread_end end) {
    size_t len;
    const char *text = luaL_checklstring(lua, 2, &len);
    thread_send(end, text, len);
    return 0;
}

static int push_received(lua_State *lua, struct thread_end end) {
    bool ended;
    struct message *message = thread_receive(end, &ended);
    if (message) lua_pushlstring(lua, message->text, message->len);
    else if (ended) lua_pushnil(lua);
    else lua_pushboolean(lua, 0);
    free(message);
    return 1;
}

// start(module, text) -> thread | nil, cause: the module's function is called with the text, as the main task of a new
// vm; it ends with dbobs.core.sys.finish
static int l_start(lua_State *lua) {
    size_t len;
    const char *module = luaL_checkstring(lua, 1), *text = luaL_checklstring(lua, 2, &len);
    struct vm *vm = vm_of(lua);
    struct thread *thread = thread_start(vm->app, &vm->loop, module, text, len);
    if (!thread) return luax_fail(lua, "cannot start a thread");
    luax_box(lua, THREAD_CLASS, thread);
    return 1;
}

// send(text): to the thread
static int l_send(lua_State *lua) {
    return post(lua, thread_starter(luax_boxed(lua, THREAD_CLASS)));
}

// receive() -> text | false: wait | nil: the thread has ended
static int l_receive(lua_State *lua) {
    struct thread **box = luaL_checkudata(lua, 1, THREAD_CLASS);
    return *box ? push_received(lua, thread_starter(*box)) : 0;
}

// join(): tells the thread that no more comes and waits for its end, which holds up everything else
static int l_join(lua_State *lua) {
    struct thread *thread = luax_take(lua, THREAD_CLASS);
    if (thread) thread_join(thread);
    return 0;
}

// parent() -> the other end of a thread's two mailboxes, in the thread; nil in main's vm
static int l_parent(lua_State *lua) {
    struct thread *own = vm_of(lua)->thread;
    if (!own) return 0;
    struct thread **box = luax_new(lua, PARENT_CLASS, sizeof(struct thread *));
    *box = own;
    return 1;
}

static struct thread_end parent_of(lua_State *lua) {
    return thread_own(*(struct thread **)luaL_checkudata(lua, 1, PARENT_CLASS));
}

static int l_parent_send(lua_State *lua) {
    return post(lua, parent_of(lua));
}

static int l_parent_receive(lua_State *lua) {
    return push_received(lua, parent_of(lua));
}

static void *arrived_of(void *userdata) {
    struct thread *thread = *(struct thread **)userdata;
    return thread ? &thread_starter(thread).in->arrived : NULL;
}

static void *parent_arrived_of(void *userdata) {
    return &thread_own(*(struct thread **)userdata).in->arrived;
}

static const luaL_Reg methods[] = {{"send", l_send}, {"receive", l_receive}, {"join", l_join}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", l_join}, {NULL, NULL}};
static const luaL_Reg parent_methods[] = {{"send", l_parent_send}, {"receive", l_parent_receive}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"start", l_start}, {"parent", l_parent}, {NULL, NULL}};

int luaopen_dbobs_thread(lua_State *lua) {
    luax_class(lua, THREAD_CLASS, methods, meta);
    luax_offer(lua, LUAX_WAKEUP, arrived_of);
    luax_class(lua, PARENT_CLASS, parent_methods, NULL);
    luax_offer(lua, LUAX_WAKEUP, parent_arrived_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
