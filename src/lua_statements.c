// Binding "dbobs.core.statements": trackers of pg_stat_statements and the store of texts that they share. Rows go
// straight to records, without a Lua value for any of them.
#include "bindings.h"
#include "luax.h"
#include "sink.h"
#include "statements.h"

#define TEXTS_CLASS "dbobs.texts"
#define TRACKER_CLASS "dbobs.statements"

// texts() -> an empty store
static int l_texts(lua_State *lua) {
    struct texts **slot = luax_new(lua, TEXTS_CLASS, sizeof *slot);
    *slot = texts_new();
    return 1;
}

static int l_texts_gc(lua_State *lua) {
    struct texts **slot = luaL_checkudata(lua, 1, TEXTS_CLASS);
    if (*slot) texts_unref(*slot);
    *slot = NULL;
    return 0;
}

// size() -> bytes of memory that it takes
static int l_texts_size(lua_State *lua) {
    lua_pushnumber(lua, (double)texts_size(*(struct texts **)luaL_checkudata(lua, 1, TEXTS_CLASS)));
    return 1;
}

// The list of texts in field `name` of the table at 3, copied.
static char **copy_list(lua_State *lua, const char *name) {
    lua_getfield(lua, 3, name);
    size_t count = lua_istable(lua, -1) ? lua_objlen(lua, -1) : 0;
    char **list = xcalloc(count + 1, sizeof *list);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(lua, -1, (int)i + 1);
        const char *text = lua_tostring(lua, -1);
        list[i] = xstrdup(text ? text : "");
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    return list;
}

// tracker(writer, texts, {top=, mask_passwords=, text_max=, text_cache=, exclude={...}, keep={...}}) -> tracker
static int l_tracker(lua_State *lua) {
    const struct record_envelope *envelope = luax_check_interface(lua, 1, LUAX_ENVELOPE, "a writer of records");
    struct texts *texts = *(struct texts **)luaL_checkudata(lua, 2, TEXTS_CLASS);
    luaL_checktype(lua, 3, LUA_TTABLE);
    struct statements *tracker = luax_new(lua, TRACKER_CLASS, sizeof *tracker);
    tracker->envelope = envelope;
    tracker->texts = texts_ref(texts);
    tracker->top = (size_t)luax_field_int(lua, 3, "top", 0);
    tracker->rules.mask = luax_field_bool(lua, 3, "mask_passwords", 1);
    tracker->rules.longest = (size_t)luax_field_int(lua, 3, "text_max", 0);
    tracker->texts_limit = (size_t)luax_field_int(lua, 3, "text_cache", 0);
    tracker->rules.exclude = copy_list(lua, "exclude");
    tracker->rules.keep = copy_list(lua, "keep");
    // The writer lives as long as the tracker.
    lua_createtable(lua, 1, 0);
    lua_pushvalue(lua, 1);
    lua_rawseti(lua, -2, 1);
    lua_setfenv(lua, -2);
    return 1;
}

static struct statements *check_tracker(lua_State *lua) {
    return luaL_checkudata(lua, 1, TRACKER_CLASS);
}

static int l_gc(lua_State *lua) {
    statements_free(check_tracker(lua));
    return 0;
}

// begin(time, full, bare, again), see statements_begin
static int l_begin(lua_State *lua) {
    struct statements *tracker = check_tracker(lua);
    statements_begin(tracker, (int64_t)luaL_checknumber(lua, 2), lua_toboolean(lua, 3), lua_toboolean(lua, 4),
                     lua_toboolean(lua, 5));
    return 0;
}

// constants(result) -> whether the statistics were reset since the last call
static int l_constants(lua_State *lua) {
    const PGresult *result = luax_check_interface(lua, 2, LUAX_PGRESULT, "rows of a query");
    lua_pushboolean(lua, statements_set_constants(check_tracker(lua), result));
    return 1;
}

// rows(result, sink, batch|nil, first) -> true | the row to go on with when the sink has room | nil, error
static int l_rows(lua_State *lua) {
    struct statements *tracker = check_tracker(lua);
    const PGresult *result = luax_check_interface(lua, 2, LUAX_PGRESULT, "rows of a query");
    struct sink *sink = luax_check_interface(lua, 3, LUAX_SINK, "a topic (and not closed)");
    struct batch *batch = luax_interface(lua, 4, LUAX_BATCH);
    int row = (int)luaL_optinteger(lua, 5, 0);
    char error[256];
    switch (statements_put(tracker, result, &row, sink, batch, error, sizeof error)) {
    case SINK_OK:
        lua_pushboolean(lua, 1);
        return 1;
    case SINK_FULL:
        lua_pushinteger(lua, row);
        return 1;
    default:
        return luax_fail(lua, "statements.rows: %s", error);
    }
}

// missing() -> the queryids of this collection's statements whose texts are not known, as an array in SQL's form | nil
static int l_missing(lua_State *lua) {
    const struct statements *tracker = check_tracker(lua);
    if (!tracker->missing) return 0;
    lua_pushlstring(lua, tracker->missing_ids.data, tracker->missing_ids.len);
    lua_pushliteral(lua, "}");
    lua_concat(lua, 2);
    return 1;
}

// over() -> whether the texts did not fit the store
static int l_over(lua_State *lua) {
    lua_pushboolean(lua, check_tracker(lua)->over);
    return 1;
}

// count() -> number of statements known
static int l_count(lua_State *lua) {
    lua_pushnumber(lua, check_tracker(lua)->table.count);
    return 1;
}

// finish(complete), see statements_end
static int l_finish(lua_State *lua) {
    statements_end(check_tracker(lua), lua_toboolean(lua, 2));
    return 0;
}

static const luaL_Reg texts_methods[] = {{"size", l_texts_size}, {NULL, NULL}};
static const luaL_Reg texts_meta[] = {{"__gc", l_texts_gc}, {NULL, NULL}};
static const luaL_Reg methods[] = {
    {"begin", l_begin}, {"constants", l_constants}, {"rows", l_rows},     {"missing", l_missing},
    {"over", l_over},   {"count", l_count},         {"finish", l_finish}, {NULL, NULL},
};
static const luaL_Reg meta[] = {{"__gc", l_gc}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"texts", l_texts}, {"tracker", l_tracker}, {NULL, NULL}};

int luaopen_dbobs_statements(lua_State *lua) {
    luax_class(lua, TEXTS_CLASS, texts_methods, texts_meta);
    luax_class(lua, TRACKER_CLASS, methods, meta);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
