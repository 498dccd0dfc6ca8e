// Binding "dbobs.core.pgparams": which connection parameters libpq knows, and what a connection string says. Opens
// nothing; what is wrong with a string is libpq's text, which may quote parts of it.
#include <libpq-fe.h>
#include <stdbool.h>

#include "bindings.h"
#include "luax.h"

static void push_options(lua_State *lua, PQconninfoOption *options, bool names) {
    lua_newtable(lua);
    int count = 0;
    for (PQconninfoOption *option = options; option && option->keyword; option++) {
        if (names) {
            lua_pushstring(lua, option->keyword);
            lua_rawseti(lua, -2, ++count);
        } else {
            lua_pushstring(lua, option->val);
            lua_setfield(lua, -2, option->keyword);
        }
    }
    PQconninfoFree(options);
}

// keywords() -> array of the connection parameters that libpq knows
static int l_keywords(lua_State *lua) {
    push_options(lua, PQconndefaults(), true);
    return 1;
}

// parse(text) -> {parameter = text} | nil, cause: of a connection string or URI. The cause may quote parts of the text.
static int l_parse(lua_State *lua) {
    char *error = NULL;
    PQconninfoOption *options = PQconninfoParse(luaL_checkstring(lua, 1), &error);
    if (options) {
        push_options(lua, options, false);
        return 1;
    }
    luax_fail(lua, "%s", error ? error : "out of memory");
    PQfreemem(error);
    return 2;
}

static const luaL_Reg functions[] = {{"keywords", l_keywords}, {"parse", l_parse}, {NULL, NULL}};

int luaopen_dbobs_pgparams(lua_State *lua) {
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
