// Binding "dbobs.core.record": the writer that turns rows of a result into records of raw-logs and raw-queries without
// a Lua value for any of them. A writer also offers its envelope to other bindings.
#include <string.h>

#include "bindings.h"
#include "luax.h"
#include "mask.h"
#include "record_rows.h"
#include "sink.h"

#define WRITER_CLASS "dbobs.record.writer"

static void add_tags(lua_State *lua, struct record_envelope *envelope) {
    const char *pairs[LUAX_PAIRS];
    lua_getfield(lua, 1, "tags");
    if (!lua_isnil(lua, -1)) {
        luax_check_pairs(lua, lua_gettop(lua), pairs);
        for (const char **pair = pairs; *pair; pair += 2) record_envelope_tag(envelope, pair[0], pair[1]);
    }
    lua_pop(lua, 1);
}

static const char *required(lua_State *lua, const char *name) {
    const char *value = luax_field_string(lua, 1, name, NULL);
    if (!value) luaL_error(lua, "option '%s' is missing", name);
    return value;
}

static char *optional(lua_State *lua, const char *name) {
    const char *value = luax_field_string(lua, 1, name, NULL);
    return value ? xstrdup(value) : NULL;
}

// writer{data_type=, host=, port=, database=, environment=, tags=, time=, log_level=, database_column=,
// timestamp_column=, masked_column=} -> writer
static int l_writer(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TTABLE);
    const struct record_source source = {.data_type = required(lua, "data_type"),
                                         .host = required(lua, "host"),
                                         .port = (int)luax_field_int(lua, 1, "port", 5432),
                                         .database = required(lua, "database"),
                                         .environment = required(lua, "environment")};
    struct record_rows *writer = luax_new(lua, WRITER_CLASS, sizeof *writer);
    record_envelope_init(&writer->envelope, &source);
    add_tags(lua, &writer->envelope);
    writer->time_us = luax_field_int(lua, 1, "time", 0);
    writer->log_level = optional(lua, "log_level");
    writer->database_column = optional(lua, "database_column");
    writer->timestamp_column = optional(lua, "timestamp_column");
    writer->masked_column = optional(lua, "masked_column");
    return 1;
}

static int l_gc(lua_State *lua) {
    record_rows_free(luaL_checkudata(lua, 1, WRITER_CLASS));
    return 0;
}

static void *envelope_of(void *userdata) {
    return &((struct record_rows *)userdata)->envelope;
}

// writer:rows(result, sink, batch|nil, first) -> true | the row to go on with when the sink has room | nil, error
static int l_rows(lua_State *lua) {
    struct record_rows *writer = luaL_checkudata(lua, 1, WRITER_CLASS);
    const PGresult *result = luax_check_interface(lua, 2, LUAX_PGRESULT, "rows of a query");
    struct sink *sink = luax_check_interface(lua, 3, LUAX_SINK, "a topic (and not closed)");
    struct batch *batch = luax_interface(lua, 4, LUAX_BATCH);
    int row = (int)luaL_optinteger(lua, 5, 0);
    char error[256];
    switch (record_rows_put(writer, result, &row, sink, batch, error, sizeof error)) {
    case SINK_OK:
        lua_pushboolean(lua, 1);
        return 1;
    case SINK_FULL:
        lua_pushinteger(lua, row);
        return 1;
    default:
        return luax_fail(lua, "record.rows: %s", error);
    }
}

// mask_passwords(sql) -> sql
static int l_mask_passwords(lua_State *lua) {
    size_t len;
    const char *text = luaL_checklstring(lua, 1, &len);
    struct buf out = {0};
    if (mask_passwords(&out, text, len)) lua_pushlstring(lua, out.data, out.len);
    else lua_pushvalue(lua, 1);
    buf_free(&out);
    return 1;
}

static const luaL_Reg methods[] = {{"rows", l_rows}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", l_gc}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"writer", l_writer}, {"mask_passwords", l_mask_passwords}, {NULL, NULL}};

int luaopen_dbobs_record(lua_State *lua) {
    luax_class(lua, WRITER_CLASS, methods, meta);
    luax_offer(lua, LUAX_ENVELOPE, envelope_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
