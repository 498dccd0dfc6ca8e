// Binding "dbobs.core.pgresult": rows as libpq has them, offered to other bindings as LUAX_PGRESULT, and as Lua tables.
// The userdata owns its PGresult until it is cleared or collected. No value is rounded: what a double cannot hold
// exactly stays the server's text.
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bindings.h"
#include "luax.h"
#include "pg_types.h"

#define RESULT_CLASS "dbobs.pgresult"
// Doubles hold every integer up to here exactly.
#define MAX_EXACT 9007199254740992LL

static PGresult *check_result(lua_State *lua) {
    PGresult *result = *(PGresult **)luaL_checkudata(lua, 1, RESULT_CLASS);
    if (!result) luaL_error(lua, "this result was cleared: a stream's chunk is valid until the next one is asked for");
    return result;
}

// Pushes the array of column names, each unique: a second "count" is "count_2", so that no column hides another.
static void push_names(lua_State *lua, const PGresult *result) {
    int columns = PQnfields(result);
    lua_createtable(lua, columns, 0);
    lua_createtable(lua, 0, columns);
    for (int i = 0; i < columns; i++) {
        const char *name = PQfname(result, i);
        lua_pushstring(lua, name);
        for (int n = 2;; n++) {
            lua_pushvalue(lua, -1);
            lua_rawget(lua, -3);
            bool taken = lua_toboolean(lua, -1);
            lua_pop(lua, 1);
            if (!taken) break;
            lua_pop(lua, 1);
            lua_pushfstring(lua, "%s_%d", name, n);
        }
        lua_pushvalue(lua, -1);
        lua_pushboolean(lua, 1);
        lua_rawset(lua, -4);
        lua_rawseti(lua, -3, i + 1);
    }
    lua_pop(lua, 1);
}

static void push_bytes(lua_State *lua, const char *text) {
    size_t len;
    unsigned char *bytes = PQunescapeBytea((const unsigned char *)text, &len);
    lua_pushlstring(lua, (const char *)bytes, bytes ? len : 0);
    PQfreemem(bytes);
}

// Values of a few types become Lua numbers, booleans or bytes; all others stay the server's text.
static void push_value(lua_State *lua, Oid type, const char *text, int len) {
    switch (type) {
    case OID_BOOL:
        lua_pushboolean(lua, *text == 't');
        return;
    case OID_BYTEA:
        push_bytes(lua, text);
        return;
    case OID_INT2:
    case OID_INT4:
    case OID_OID:
    case OID_FLOAT4:
    case OID_FLOAT8:
        lua_pushnumber(lua, strtod(text, NULL));
        return;
    case OID_INT8: {
        long long value = strtoll(text, NULL, 10);
        if (value >= -MAX_EXACT && value <= MAX_EXACT) {
            lua_pushnumber(lua, (double)value);
            return;
        }
    }
    }
    lua_pushlstring(lua, text, (size_t)len);
}

// rows() -> array of {column name = value}; NULL is nil
static int l_rows(lua_State *lua) {
    PGresult *result = check_result(lua);
    int rows = PQntuples(result), columns = PQnfields(result);
    lua_settop(lua, 1);
    push_names(lua, result);
    lua_createtable(lua, rows, 0);
    for (int row = 0; row < rows; row++) {
        lua_createtable(lua, 0, columns);
        for (int column = 0; column < columns; column++) {
            if (PQgetisnull(result, row, column)) continue;
            lua_rawgeti(lua, 2, column + 1);
            push_value(lua, PQftype(result, column), PQgetvalue(result, row, column), PQgetlength(result, row, column));
            lua_rawset(lua, -3);
        }
        lua_rawseti(lua, -2, row + 1);
    }
    return 1;
}

// columns() -> array of the names under which rows() has them
static int l_columns(lua_State *lua) {
    push_names(lua, check_result(lua));
    return 1;
}

// types() -> array of the columns' types (pg_type.oid)
static int l_types(lua_State *lua) {
    PGresult *result = check_result(lua);
    lua_createtable(lua, PQnfields(result), 0);
    for (int i = 0; i < PQnfields(result); i++) {
        lua_pushnumber(lua, PQftype(result, i));
        lua_rawseti(lua, -2, i + 1);
    }
    return 1;
}

// count() -> number of rows in it
static int l_count(lua_State *lua) {
    lua_pushinteger(lua, PQntuples(check_result(lua)));
    return 1;
}

// last(column) -> the last row's value under the query's name of the column; nil when it is NULL or there is no row
static int l_last(lua_State *lua) {
    PGresult *result = check_result(lua);
    const char *name = luaL_checkstring(lua, 2);
    int row = PQntuples(result) - 1, column = 0;
    while (column < PQnfields(result) && strcmp(PQfname(result, column), name) != 0) column++;
    luaL_argcheck(lua, column < PQnfields(result), 2, "no such column");
    if (row < 0 || PQgetisnull(result, row, column)) return 0;
    push_value(lua, PQftype(result, column), PQgetvalue(result, row, column), PQgetlength(result, row, column));
    return 1;
}

// clear(): frees the rows now; the collector does not know how much memory they hold
static int l_clear(lua_State *lua) {
    PGresult **slot = luaL_checkudata(lua, 1, RESULT_CLASS);
    PQclear(*slot);
    *slot = NULL;
    return 0;
}

// make(columns, rows) -> a result of texts, for specs: columns are names, a row is as many texts, false for NULL
static int l_make(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TTABLE);
    luaL_checktype(lua, 2, LUA_TTABLE);
    int columns = (int)lua_objlen(lua, 1), rows = (int)lua_objlen(lua, 2);
    PGresult **slot = luax_new(lua, RESULT_CLASS, sizeof *slot);
    PGresult *result = *slot = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc *names = lua_newuserdata(lua, (size_t)(columns + 1) * sizeof *names);
    memset(names, 0, (size_t)(columns + 1) * sizeof *names);
    for (int i = 0; i < columns; i++, lua_pop(lua, 1)) {
        lua_rawgeti(lua, 1, i + 1);
        names[i].name = (char *)luaL_checkstring(lua, -1);
        names[i].typid = 25;  // text
    }
    bool made = PQsetResultAttrs(result, columns, names);
    for (int row = 0; row < rows; row++, lua_pop(lua, 1)) {
        lua_rawgeti(lua, 2, row + 1);
        luaL_checktype(lua, -1, LUA_TTABLE);
        for (int column = 0; column < columns; column++, lua_pop(lua, 1)) {
            size_t len = 0;
            lua_rawgeti(lua, -1, column + 1);
            const char *text = lua_toboolean(lua, -1) ? luaL_checklstring(lua, -1, &len) : NULL;
            made = made && PQsetvalue(result, row, column, (char *)text, text ? (int)len : -1);
        }
    }
    if (!made) luaL_error(lua, "pgresult.make: out of memory");
    lua_settop(lua, 3);
    return 1;
}

static void *result_of(void *userdata) {
    return *(PGresult **)userdata;
}

static const luaL_Reg methods[] = {
    {"rows", l_rows}, {"columns", l_columns}, {"types", l_types}, {"count", l_count},
    {"last", l_last}, {"clear", l_clear},     {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__gc", l_clear}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"make", l_make}, {NULL, NULL}};

int luaopen_dbobs_pgresult(lua_State *lua) {
    luax_class(lua, RESULT_CLASS, methods, meta);
    luax_offer(lua, LUAX_PGRESULT, result_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
