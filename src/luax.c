// Helpers of the bindings over the Lua C API. No state: interfaces are function pointers in the metatables.
#include "luax.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A hundred years: what is longer is a mistake, and would not fit the integers that it becomes.
#define LONGEST (100.0 * 366 * 86400)

static const luaL_Reg none[] = {{NULL, NULL}};

void luax_class(lua_State *lua, const char *name, const luaL_Reg *methods, const luaL_Reg *meta) {
    luaL_newmetatable(lua, name);
    if (meta) luaL_setfuncs(lua, meta, 0);
    lua_newtable(lua);
    lua_pushvalue(lua, -2);
    luaL_setfuncs(lua, methods ? methods : none, 1);
    lua_setfield(lua, -2, "__index");
    lua_pushstring(lua, name);
    lua_setfield(lua, -2, "__name");
}

void *luax_new(lua_State *lua, const char *name, size_t size) {
    void *memory = lua_newuserdata(lua, size);
    memset(memory, 0, size);
    luaL_getmetatable(lua, name);
    lua_setmetatable(lua, -2);
    return memory;
}

void *luax_self(lua_State *lua, const char *name) {
    if (lua_type(lua, 1) == LUA_TUSERDATA && lua_getmetatable(lua, 1)) {
        bool own = lua_rawequal(lua, -1, lua_upvalueindex(1));
        lua_pop(lua, 1);
        if (own) return lua_touserdata(lua, 1);
    }
    return luaL_checkudata(lua, 1, name);
}

void luax_box(lua_State *lua, const char *name, void *object) {
    void **box = luax_new(lua, name, sizeof *box);
    *box = object;
}

void *luax_boxed(lua_State *lua, const char *name) {
    void **box = luaL_checkudata(lua, 1, name);
    if (!*box) luaL_error(lua, "%s is closed", name);
    return *box;
}

void *luax_take(lua_State *lua, const char *name) {
    void **box = luaL_checkudata(lua, 1, name), *object = *box;
    *box = NULL;
    return object;
}

void luax_offer(lua_State *lua, const char *interface, void *(*get)(void *userdata)) {
    void *(**slot)(void *) = lua_newuserdata(lua, sizeof *slot);
    *slot = get;
    lua_setfield(lua, -2, interface);
}

void *luax_interface(lua_State *lua, int index, const char *interface) {
    if (lua_type(lua, index) != LUA_TUSERDATA || !luaL_getmetafield(lua, index, interface)) return NULL;
    void *(**slot)(void *) = lua_touserdata(lua, -1);
    lua_pop(lua, 1);
    return slot ? (*slot)(lua_touserdata(lua, index)) : NULL;
}

void *luax_check_interface(lua_State *lua, int index, const char *interface, const char *what) {
    void *found = luax_interface(lua, index, interface);
    if (!found) luaL_argerror(lua, index, lua_pushfstring(lua, "%s expected, got %s", what, luaL_typename(lua, index)));
    return found;
}

int luax_fail(lua_State *lua, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lua_pushnil(lua);
    lua_pushstring(lua, text);
    return 2;
}

double luax_parse_duration(const char *text) {
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"us", 1e-6}, {"ms", 1e-3}, {"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    if (*text < '0' || *text > '9') return -1;
    char *end;
    double value = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].unit) == 0) return value * units[i].seconds;
    return -1;
}

double luax_check_duration(lua_State *lua, int index) {
    double seconds = -1;
    if (lua_type(lua, index) == LUA_TNUMBER) seconds = lua_tonumber(lua, index);
    if (lua_type(lua, index) == LUA_TSTRING) seconds = luax_parse_duration(lua_tostring(lua, index));
    if (!(seconds >= 0 && seconds <= LONGEST)) {
        const char *got = lua_type(lua, index) == LUA_TSTRING ? lua_tostring(lua, index) : luaL_typename(lua, index);
        luaL_argerror(
            lua, index,
            lua_pushfstring(lua, "duration expected, like \"250ms\", \"30s\", \"5m\", \"2h\" or \"7d\", got %s", got));
    }
    return seconds;
}

// Pushes the field; returns false (and pops it) when it is nil.
static int push_field(lua_State *lua, int index, const char *name) {
    lua_getfield(lua, index, name);
    if (!lua_isnil(lua, -1)) return 1;
    lua_pop(lua, 1);
    return 0;
}

static void wrong_field(lua_State *lua, const char *name, const char *expected) {
    luaL_error(lua, "option '%s': %s expected, got %s", name, expected, luaL_typename(lua, -1));
}

const char *luax_field_string(lua_State *lua, int index, const char *name, const char *fallback) {
    if (!push_field(lua, index, name)) return fallback;
    if (lua_type(lua, -1) != LUA_TSTRING) wrong_field(lua, name, "string");
    const char *value = lua_tostring(lua, -1);
    lua_pop(lua, 1);
    return value;
}

int64_t luax_field_int(lua_State *lua, int index, const char *name, int64_t fallback) {
    if (!push_field(lua, index, name)) return fallback;
    if (lua_type(lua, -1) != LUA_TNUMBER) wrong_field(lua, name, "number");
    int64_t value = (int64_t)lua_tonumber(lua, -1);
    lua_pop(lua, 1);
    return value;
}

int luax_field_bool(lua_State *lua, int index, const char *name, int fallback) {
    if (!push_field(lua, index, name)) return fallback;
    if (lua_type(lua, -1) != LUA_TBOOLEAN) wrong_field(lua, name, "true or false");
    int value = lua_toboolean(lua, -1);
    lua_pop(lua, 1);
    return value;
}

void luax_check_pairs(lua_State *lua, int index, const char *pairs[LUAX_PAIRS]) {
    luaL_checktype(lua, index, LUA_TTABLE);
    size_t count = 0;
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1)) {
        if (lua_type(lua, -2) != LUA_TSTRING || lua_type(lua, -1) != LUA_TSTRING || count + 2 >= LUAX_PAIRS)
            luaL_argerror(lua, index, "a table of text = text expected");
        pairs[count++] = lua_tostring(lua, -2);
        pairs[count++] = lua_tostring(lua, -1);
    }
    pairs[count] = NULL;
}

void luax_set_number(lua_State *lua, const char *name, double value) {
    lua_pushnumber(lua, value);
    lua_setfield(lua, -2, name);
}
