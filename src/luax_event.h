// A user's Lua function sees a record, and may change it or leave it out. Not a binding itself.
#ifndef DBOBS_LUAX_EVENT_H
#define DBOBS_LUAX_EVENT_H

#include <lua.h>
#include <stddef.h>

#include "record.h"

enum luax_event { LUAX_EVENT_KEPT, LUAX_EVENT_LEFT_OUT, LUAX_EVENT_FAILED };

// Calls the function at index with the ended record as a table, as the topic contract has it. What it changes in the
// table is changed in the record; when it returns false the record is left out. Numbers that it leaves as they are keep
// all their digits, and a record in which nothing changed keeps its bytes. When it raises, waits, or leaves something
// that no record can hold, the record stays as it was: LUAX_EVENT_FAILED, with `error`.
enum luax_event luax_event(lua_State *lua, int function, struct record *record, char *error, size_t size);

#endif
