// Binding "dbobs.core.tail_remote": brings a follower the bytes of files that are elsewhere. Pieces go from a result of
// PostgreSQL to the follower without a Lua string.
#include <libpq-fe.h>
#include <stdlib.h>

#include "bindings.h"
#include "luax.h"
#include "pg_types.h"
#include "tail_remote.h"

#define REMOTE_CLASS "dbobs.tail_remote"

static struct tail_remote *check_remote(lua_State *lua) {
    return luax_boxed(lua, REMOTE_CLASS);
}

// source(follower) -> source, of a follower that was opened with remote = true
static int l_source(lua_State *lua) {
    struct tail *tail = luax_check_interface(lua, 1, LUAX_TAIL, "a follower (and not closed)");
    struct tail_remote *remote = tail_remote_of(tail);
    luaL_argcheck(lua, remote, 1, "this follower reads local files");
    luax_box(lua, REMOTE_CLASS, remote);
    return 1;
}

static int l_close(lua_State *lua) {
    struct tail_remote **slot = luaL_checkudata(lua, 1, REMOTE_CLASS);
    if (*slot) tail_remote_unref(*slot);
    *slot = NULL;
    return 0;
}

static void *hungry_of(void *userdata) {
    struct tail_remote *remote = *(struct tail_remote **)userdata;
    return remote ? tail_remote_hungry(remote) : NULL;
}

// source:list({{name=, size=, modified=}, ...}): what a look at the directory showed
static int l_list(lua_State *lua) {
    struct tail_remote *remote = check_remote(lua);
    luaL_checktype(lua, 2, LUA_TTABLE);
    int count = (int)lua_objlen(lua, 2);
    tail_remote_list_begin(remote);
    for (int i = 1; i <= count; i++, lua_pop(lua, 1)) {
        lua_rawgeti(lua, 2, i);
        int row = lua_gettop(lua);
        tail_remote_list_add(remote, luax_field_string(lua, row, "name", ""), luax_field_int(lua, row, "size", 0),
                             luax_field_int(lua, row, "modified", 0));
    }
    tail_remote_list_end(remote);
    return 0;
}

// source:want() -> "piece", name, offset, bytes | "busy": wait for the source | "list": look again now | "nothing"
static int l_want(lua_State *lua) {
    struct tail_remote *remote = check_remote(lua);
    const char *name;
    int64_t offset;
    size_t len;
    switch (tail_remote_want(remote, &name, &offset, &len)) {
    case TAIL_REMOTE_WANT:
        lua_pushstring(lua, "piece");
        lua_pushstring(lua, name);
        lua_pushnumber(lua, (double)offset);
        lua_pushnumber(lua, (double)len);
        return 4;
    case TAIL_REMOTE_BUSY:
        lua_pushstring(lua, "busy");
        return 1;
    case TAIL_REMOTE_LIST:
        lua_pushstring(lua, "list");
        return 1;
    case TAIL_REMOTE_NOTHING:
        break;
    }
    lua_pushstring(lua, "nothing");
    return 1;
}

struct bytes {
    const char *data;  // NULL: none
    size_t len;
    unsigned char *unescaped;
};

static struct bytes value_of(const PGresult *result, int column) {
    struct bytes bytes = {0};
    if (PQntuples(result) < 1 || PQnfields(result) <= column || PQgetisnull(result, 0, column)) return bytes;
    bytes.data = PQgetvalue(result, 0, column);
    bytes.len = (size_t)PQgetlength(result, 0, column);
    if (PQfformat(result, column) == 1 || PQftype(result, column) != OID_BYTEA) return bytes;
    bytes.unescaped = PQunescapeBytea((const unsigned char *)bytes.data, &bytes.len);
    bytes.data = (const char *)bytes.unescaped;
    return bytes;
}

// source:feed(result): what was wanted last, as a row of its bytes and of those that the file begins with
static int l_feed(lua_State *lua) {
    struct tail_remote *remote = check_remote(lua);
    const PGresult *result = luax_check_interface(lua, 2, LUAX_PGRESULT, "a result");
    struct bytes piece = value_of(result, 0), head = value_of(result, 1);
    tail_remote_feed(remote, piece.data ? piece.data : "", piece.len, head.data, head.len);
    PQfreemem(piece.unescaped);
    PQfreemem(head.unescaped);
    return 0;
}

static const luaL_Reg methods[] = {
    {"list", l_list}, {"want", l_want}, {"feed", l_feed}, {"close", l_close}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", l_close}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"source", l_source}, {NULL, NULL}};

int luaopen_dbobs_tail_remote(lua_State *lua) {
    luax_class(lua, REMOTE_CLASS, methods, meta);
    luax_offer(lua, LUAX_WAKEUP, hungry_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    lua_pushnumber(lua, TAIL_REMOTE_HEAD);
    lua_setfield(lua, -2, "HEAD");
    return 1;
}
