// What the bindings share: classes, interfaces between userdata, errors and arguments. Not a binding itself.
#ifndef DBOBS_LUAX_H
#define DBOBS_LUAX_H

#include <lauxlib.h>
#include <lua.h>
#include <stddef.h>
#include <stdint.h>

#include "bindings.h"

struct batch;
struct sink;
struct wakeup;

// Interfaces that a userdata can offer to bindings that do not know its class.
#define LUAX_WAKEUP "__wakeup"      // struct wakeup *: a task can wait for it
#define LUAX_SINK "__sink"          // struct sink *: takes records
#define LUAX_BATCH "__batch"        // struct batch *: counts delivery reports
#define LUAX_PGRESULT "__pgresult"  // PGresult *: rows
#define LUAX_TAIL "__tail"          // struct tail *: a follower
#define LUAX_PG "__pg"              // struct pg *: a connection to PostgreSQL
#define LUAX_ENVELOPE "__envelope"  // struct record_envelope *: what the records of a target have in common

// Registers class `name`: metatable with `meta` (may be NULL; __gc and friends) and `methods` as __index. Leaves the
// metatable on the stack.
void luax_class(lua_State *lua, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);
// In a method: its userdata, at 1; raises when it is of another class. Faster than luaL_checkudata, which looks the
// class up by its name.
void *luax_self(lua_State *lua, const char *name);
// Makes a zeroed userdata of the class and pushes it.
void *luax_new(lua_State *lua, const char *name, size_t size);

// The same for a class whose userdata is a pointer to an object that C owns; NULL in it means that it was closed.
void luax_box(lua_State *lua, const char *name, void *object);
// The object of the userdata of class `name` at 1; raises when it is none, or closed.
void *luax_boxed(lua_State *lua, const char *name);
// The same out of its userdata, which is closed from then on; NULL when it was.
void *luax_take(lua_State *lua, const char *name);

// The class whose metatable is on top of the stack offers an interface: `get` maps the userdata's memory to it and
// returns NULL when the object is closed.
void luax_offer(lua_State *lua, const char *interface, void *(*get)(void *userdata));
// The interface of the value at index, or NULL when it has none. Never raises.
void *luax_interface(lua_State *lua, int index, const char *interface);
// The same; raises an argument error that names `what` when it has none.
void *luax_check_interface(lua_State *lua, int index, const char *interface, const char *what);

// What can happen: pushes nil and "<cause>" and returns 2.
int luax_fail(lua_State *lua, const char *format, ...) __attribute__((format(printf, 2, 3)));

// A duration at index: "250ms", "30s", "5m", "2h", "7d", or seconds (a number or "30"). Returns seconds; raises an
// argument error that shows the forms for anything else, negative ones and those of over 100 years.
double luax_check_duration(lua_State *lua, int index);
// The same for text; -1 when it is none. No Lua involved.
double luax_parse_duration(const char *text);

// Field `name` of the table at index as a string: `fallback` when nil; raises for another type. The string belongs to
// the table.
const char *luax_field_string(lua_State *lua, int index, const char *name, const char *fallback);
int64_t luax_field_int(lua_State *lua, int index, const char *name, int64_t fallback);
int luax_field_bool(lua_State *lua, int index, const char *name, int fallback);

// Sets field `name` of the table on top of the stack.
void luax_set_number(lua_State *lua, const char *name, double value);

// The table at index, text = text, as name, value, ..., NULL; the strings belong to the table. Raises an argument error
// for anything else and for more than fit.
#define LUAX_PAIRS 257
void luax_check_pairs(lua_State *lua, int index, const char *pairs[LUAX_PAIRS]);

#endif
