// Binding "dbobs.core.decode": records and OTLP values as JSON and as text. Takes any bytes.
#include "bindings.h"
#include "clock.h"
#include "decode.h"
#include "json.h"
#include "luax.h"
#include "otlp_json.h"
#include "otlp_text.h"
#include "vm.h"

// Pushes the text and frees the buffer. One copy; a Lua error of memory in between would lose the buffer alone.
static int push_text(lua_State *lua, struct buf *text) {
    lua_pushlstring(lua, text->data, text->len);
    buf_free(text);
    return 1;
}

static int decode_value(lua_State *lua, const char *what, int (*decode)(const char *, size_t, struct buf *)) {
    size_t len;
    const char *value = luaL_checklstring(lua, 1, &len);
    struct buf text = {0};
    if (decode(value, len, &text) < 0)
        return luax_fail(lua, "%s: %d bytes that are no OTLP metrics request", what, (int)len);
    return push_text(lua, &text);
}

// json(value) -> OTLP/JSON | nil, error
static int l_json(lua_State *lua) {
    return decode_value(lua, "otlp.decode", otlp_to_json);
}

// text(value) -> a line for each resource and point | nil, error
static int l_text(lua_State *lua) {
    return decode_value(lua, "otlp.text", otlp_to_text);
}

// record{topic, key, value, otlp, partition, offset, timestamp = ms}, form: "json" | "text" | "details" -> line(s)
static int l_record(lua_State *lua) {
    static const char *const forms[] = {"json", "text", "details", NULL};
    luaL_checktype(lua, 1, LUA_TTABLE);
    int form = luaL_checkoption(lua, 2, "json", forms);
    struct decode_record record = {
        .topic = luax_field_string(lua, 1, "topic", "-"),
        .otlp = luax_field_bool(lua, 1, "otlp", 0),
        .partition = (int32_t)luax_field_int(lua, 1, "partition", -1),
        .offset = luax_field_int(lua, 1, "offset", -1),
        .timestamp_ms = luax_field_int(lua, 1, "timestamp", -1),
    };
    record.consumed = record.partition >= 0;
    lua_getfield(lua, 1, "key");
    record.key = luaL_optlstring(lua, -1, NULL, &record.key_len);
    lua_getfield(lua, 1, "value");
    record.value = luaL_optlstring(lua, -1, NULL, &record.value_len);
    struct buf text = {0};
    if (form == 0) decode_json_line(&record, &text);
    else decode_text_line(&record, clock_wall_us(&vm_of(lua)->clock), form == 2, &text);
    return push_text(lua, &text);
}

// saying(value | nil) -> what it says in one line, "nothing" | "json" | "otlp" | "text" | "binary"
static int l_saying(lua_State *lua) {
    static const char *const kinds[] = {"nothing", "json", "otlp", "text", "binary"};
    struct decode_record record = {.topic = "-"};
    record.value = luaL_optlstring(lua, 1, NULL, &record.value_len);
    struct buf text = {0};
    enum decode_kind kind = decode_saying(&record, &text);
    push_text(lua, &text);
    lua_pushstring(lua, kinds[kind]);
    return 2;
}

// quote(text) -> a JSON string with its quotes, always valid
static int l_quote(lua_State *lua) {
    size_t len;
    const char *bytes = luaL_checklstring(lua, 1, &len);
    struct buf text = {0};
    json_put_string(&text, bytes, len);
    return push_text(lua, &text);
}

static const luaL_Reg functions[] = {
    {"json", l_json}, {"text", l_text}, {"record", l_record}, {"saying", l_saying}, {"quote", l_quote}, {NULL, NULL},
};

int luaopen_dbobs_decode(lua_State *lua) {
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
