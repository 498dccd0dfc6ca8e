// Binding "dbobs.core.pacer": waiting for a time to the microsecond, see pacer.h. Each task that waits has a slot.
#include <errno.h>
#include <string.h>

#include "luax.h"
#include "pacer.h"
#include "vm.h"

#define PACER_CLASS "dbobs.pacer"
#define SLOT_CLASS "dbobs.pacer_slot"

// new() -> pacer | nil, cause
static int l_new(lua_State *lua) {
    struct pacer *pacer = pacer_new(&vm_of(lua)->loop);
    if (!pacer) return luax_fail(lua, "no timer: %s", strerror(errno));
    luax_box(lua, PACER_CLASS, pacer);
    return 1;
}

// slot() -> object to wait with
static int l_slot(lua_State *lua) {
    struct pacer *pacer = luax_boxed(lua, PACER_CLASS);
    struct pacer_slot *slot = luax_new(lua, SLOT_CLASS, sizeof *slot);
    slot->pacer = pacer_hold(pacer);
    return 1;
}

// reached(seconds of the monotonic clock) -> true | false: wait for the slot and ask again
static int l_reached(lua_State *lua) {
    struct pacer_slot *slot = luax_self(lua, SLOT_CLASS);
    lua_pushboolean(lua, pacer_until(slot, (int64_t)(luaL_checknumber(lua, 2) * 1e9)));
    return 1;
}

static int l_gc_slot(lua_State *lua) {
    struct pacer_slot *slot = luaL_checkudata(lua, 1, SLOT_CLASS);
    if (!slot->pacer) return 0;
    pacer_forget(slot);
    pacer_release(slot->pacer);
    slot->pacer = NULL;
    return 0;
}

static int l_gc(lua_State *lua) {
    struct pacer *pacer = luax_take(lua, PACER_CLASS);
    if (pacer) pacer_release(pacer);
    return 0;
}

static void *wakeup_of(void *userdata) {
    return &((struct pacer_slot *)userdata)->wakeup;
}

static const luaL_Reg methods[] = {{"slot", l_slot}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", l_gc}, {NULL, NULL}};
static const luaL_Reg slot_methods[] = {{"reached", l_reached}, {NULL, NULL}};
static const luaL_Reg slot_meta[] = {{"__gc", l_gc_slot}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"new", l_new}, {NULL, NULL}};

int luaopen_dbobs_pacer(lua_State *lua) {
    luax_class(lua, PACER_CLASS, methods, meta);
    luax_class(lua, SLOT_CLASS, slot_methods, slot_meta);
    luax_offer(lua, LUAX_WAKEUP, wakeup_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
