// Binding "dbobs.core.latch": something that one task waits for and another signals, both in Lua. A wakeup and no more.
#include "bindings.h"
#include "luax.h"
#include "wakeup.h"

#define LATCH_CLASS "dbobs.latch"

// latch() -> latch, which is not signalled
static int l_latch(lua_State *lua) {
    luax_new(lua, LATCH_CLASS, sizeof(struct wakeup));
    return 1;
}

// signal(): wakes every task that waits for it; with none it is kept for the next one
static int l_signal(lua_State *lua) {
    wakeup_signal(luaL_checkudata(lua, 1, LATCH_CLASS));
    return 0;
}

static void *wakeup_of(void *userdata) {
    return userdata;
}

static const luaL_Reg methods[] = {{"signal", l_signal}, {NULL, NULL}};

int luaopen_dbobs_latch(lua_State *lua) {
    luax_class(lua, LATCH_CLASS, methods, NULL);
    luax_offer(lua, LUAX_WAKEUP, wakeup_of);
    lua_pushcfunction(lua, l_latch);
    return 1;
}
