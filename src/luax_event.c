// The record is parsed with yyjson, becomes a Lua table, and is written again beside what it was: what did not change
// is taken from there. Nothing of a record's text is kept.
#include "luax_event.h"

#include <lauxlib.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "json.h"
#include "utf8.h"

#define DEEPEST 150  // of objects and lists in each other

struct writing {
    struct buf out;
    bool changed;
    char *error;
    size_t size;
};

static bool is_too_deep(yyjson_val *value, int depth) {
    size_t i, count;
    yyjson_val *name, *member;
    if (depth > DEEPEST) return true;
    if (yyjson_is_obj(value)) {
        yyjson_obj_foreach(value, i, count, name, member) if (is_too_deep(member, depth + 1)) return true;
    } else if (yyjson_is_arr(value)) {
        yyjson_arr_foreach(value, i, count, member) if (is_too_deep(member, depth + 1)) return true;
    }
    return false;
}

// Pushes the value: null as lua-cjson has it, numbers as doubles.
static void push(lua_State *lua, yyjson_val *value) {
    size_t i, count;
    yyjson_val *name, *member;
    luaL_checkstack(lua, 4, "a record nested too deep");
    if (yyjson_is_str(value)) {
        lua_pushlstring(lua, yyjson_get_str(value), yyjson_get_len(value));
    } else if (yyjson_is_raw(value)) {
        lua_pushnumber(lua, strtod(yyjson_get_raw(value), NULL));
    } else if (yyjson_is_bool(value)) {
        lua_pushboolean(lua, yyjson_get_bool(value));
    } else if (yyjson_is_obj(value)) {
        lua_createtable(lua, 0, (int)yyjson_obj_size(value));
        yyjson_obj_foreach(value, i, count, name, member) {
            lua_pushlstring(lua, yyjson_get_str(name), yyjson_get_len(name));
            push(lua, member);
            lua_rawset(lua, -3);
        }
    } else if (yyjson_is_arr(value)) {
        lua_createtable(lua, (int)yyjson_arr_size(value), 0);
        yyjson_arr_foreach(value, i, count, member) {
            push(lua, member);
            lua_rawseti(lua, -2, (int)i + 1);
        }
    } else {
        lua_pushlightuserdata(lua, NULL);
    }
}

static int fail(struct writing *writing, const char *path, const char *what) {
    snprintf(writing->error, writing->size, "%s %s", path, what);
    return -1;
}

static void put_comma(struct writing *writing) {
    char last = writing->out.data[writing->out.len - 1];
    if (last != '{' && last != '[') buf_putc(&writing->out, ',');
}

static int write_value(lua_State *lua, struct writing *writing, yyjson_val *was, const char *path, int depth);

static int write_member(lua_State *lua, struct writing *writing, const char *name, size_t len, yyjson_val *was,
                        const char *path, int depth) {
    char inner[160];
    snprintf(inner, sizeof inner, "%s.%.*s", path, (int)(len < 64 ? len : 64), name);
    put_comma(writing);
    json_put_string(&writing->out, name, len);
    buf_putc(&writing->out, ':');
    return write_value(lua, writing, was, inner, depth + 1);
}

// The table on top as an object: first the members that were there, in their order, then new ones.
static int write_object(lua_State *lua, struct writing *writing, yyjson_val *was, const char *path, int depth) {
    size_t i, count;
    yyjson_val *name, *member;
    buf_putc(&writing->out, '{');
    if (yyjson_is_obj(was)) {
        yyjson_obj_foreach(was, i, count, name, member) {
            lua_pushlstring(lua, yyjson_get_str(name), yyjson_get_len(name));
            lua_rawget(lua, -2);
            int result = 0;
            if (lua_isnil(lua, -1)) writing->changed = true;
            else result = write_member(lua, writing, yyjson_get_str(name), yyjson_get_len(name), member, path, depth);
            lua_pop(lua, 1);
            if (result) return -1;
        }
    }
    for (lua_pushnil(lua); lua_next(lua, -2); lua_pop(lua, 1)) {
        size_t len;
        if (lua_type(lua, -2) != LUA_TSTRING) {
            lua_pop(lua, 2);
            return fail(writing, path, "has a key that is no text");
        }
        const char *key = lua_tolstring(lua, -2, &len);
        if (yyjson_is_obj(was) && yyjson_obj_getn(was, key, len)) continue;
        writing->changed = true;
        if (write_member(lua, writing, key, len, NULL, path, depth)) {
            lua_pop(lua, 2);
            return -1;
        }
    }
    buf_putc(&writing->out, '}');
    return 0;
}

static int write_list(lua_State *lua, struct writing *writing, yyjson_val *was, const char *path, int depth) {
    size_t count = lua_objlen(lua, -1);
    if (count != yyjson_arr_size(was)) writing->changed = true;
    buf_putc(&writing->out, '[');
    for (size_t i = 0; i < count; i++) {
        put_comma(writing);
        lua_rawgeti(lua, -1, (int)i + 1);
        int result = write_value(lua, writing, yyjson_arr_get(was, i), path, depth + 1);
        lua_pop(lua, 1);
        if (result) return -1;
    }
    buf_putc(&writing->out, ']');
    return 0;
}

static int write_number(lua_State *lua, struct writing *writing, yyjson_val *was, const char *path) {
    double number = lua_tonumber(lua, -1);
    if (yyjson_is_raw(was) && strtod(yyjson_get_raw(was), NULL) == number) {
        buf_put(&writing->out, yyjson_get_raw(was), yyjson_get_len(was));
        return 0;
    }
    writing->changed = true;
    if (!isfinite(number)) return fail(writing, path, "is no number that JSON has");
    buf_printf(&writing->out, number == floor(number) && fabs(number) < 0x1p53 ? "%.0f" : "%.17g", number);
    return 0;
}

// The value on top of the stack. was: what stood there, NULL when it is new.
static int write_value(lua_State *lua, struct writing *writing, yyjson_val *was, const char *path, int depth) {
    size_t len;
    const char *text;
    if (depth > DEEPEST || !lua_checkstack(lua, 4)) return fail(writing, path, "is nested too deep");
    switch (lua_type(lua, -1)) {
    case LUA_TSTRING:
        text = lua_tolstring(lua, -1, &len);
        writing->changed |= !yyjson_equals_strn(was, text, len);
        json_put_string(&writing->out, text, len);
        return 0;
    case LUA_TNUMBER:
        return write_number(lua, writing, was, path);
    case LUA_TBOOLEAN:
        writing->changed |= !yyjson_is_bool(was) || yyjson_get_bool(was) != lua_toboolean(lua, -1);
        buf_puts(&writing->out, lua_toboolean(lua, -1) ? "true" : "false");
        return 0;
    case LUA_TLIGHTUSERDATA:
        writing->changed |= !yyjson_is_null(was);
        buf_puts(&writing->out, "null");
        return 0;
    case LUA_TTABLE: {
        bool list = lua_objlen(lua, -1) > 0 || yyjson_is_arr(was);
        writing->changed |= list ? !yyjson_is_arr(was) : !yyjson_is_obj(was);
        return list ? write_list(lua, writing, was, path, depth) : write_object(lua, writing, was, path, depth);
    }
    default:
        return fail(writing, path, "is nothing that a record can hold");
    }
}

// What the contract has in every record stays what it was: texts texts, and tags are texts.
static int check(lua_State *lua, yyjson_val *root, struct writing *writing) {
    size_t i, count;
    yyjson_val *name, *member;
    char path[80];
    yyjson_obj_foreach(root, i, count, name, member) {
        const char *key = yyjson_get_str(name);
        if (!key) continue;
        snprintf(path, sizeof path, "event.%s", key);
        lua_getfield(lua, -1, key);
        int type = lua_type(lua, -1);
        lua_pop(lua, 1);
        if (type != (yyjson_is_str(member) ? LUA_TSTRING : yyjson_is_obj(member) ? LUA_TTABLE : LUA_TNUMBER))
            return fail(writing, path, "must stay what it is: a text, the number `port`, or a table");
    }
    lua_getfield(lua, -1, "tags");
    for (lua_pushnil(lua); lua_next(lua, -2); lua_pop(lua, 1)) {
        if (lua_type(lua, -2) == LUA_TSTRING && lua_type(lua, -1) == LUA_TSTRING) continue;
        snprintf(path, sizeof path, "event.tags%s%.60s", lua_type(lua, -2) == LUA_TSTRING ? "." : "",
                 lua_type(lua, -2) == LUA_TSTRING ? lua_tostring(lua, -2) : "");
        lua_pop(lua, 3);
        return fail(writing, path, "is no text: tags map texts to texts");
    }
    lua_pop(lua, 1);
    return 0;
}

// The key of a record is what its fields say; the next record makes its own.
static void put_key(lua_State *lua, struct record *record) {
    size_t len;
    record->envelope = NULL;
    buf_clear(&record->key);
    lua_getfield(lua, -1, "host");
    const char *text = lua_tolstring(lua, -1, &len);
    utf8_put(&record->key, text, len);
    buf_putc(&record->key, ':');
    lua_getfield(lua, -2, "database");
    text = lua_tolstring(lua, -1, &len);
    utf8_put(&record->key, text, len);
    lua_pop(lua, 2);
}

// Takes over what the function made of the table, which is on top of the stack.
static enum luax_event take_over(lua_State *lua, struct record *record, yyjson_val *root, char *error, size_t size) {
    struct writing writing = {.error = error, .size = size};
    if (check(lua, root, &writing) || write_value(lua, &writing, root, "event", 0)) {
        buf_free(&writing.out);
        return LUAX_EVENT_FAILED;
    }
    if (writing.changed) {
        buf_clear(&record->value);
        buf_put(&record->value, writing.out.data, writing.out.len);
        put_key(lua, record);
    }
    buf_free(&writing.out);
    return LUAX_EVENT_KEPT;
}

enum luax_event luax_event(lua_State *lua, int function, struct record *record, char *error, size_t size) {
    enum luax_event outcome = LUAX_EVENT_FAILED;
    int top = lua_gettop(lua);
    yyjson_doc *doc = yyjson_read(record->value.data, record->value.len, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(root) || is_too_deep(root, 0)) {
        snprintf(error, size, "the record is nested too deep for a table");
        goto done;
    }
    push(lua, root);
    lua_pushvalue(lua, function);
    lua_pushvalue(lua, -2);
    if (lua_pcall(lua, 1, 1, 0)) {
        const char *cause = lua_tostring(lua, -1);
        snprintf(error, size, "%s", cause ? cause : "it raised something that is no text");
        goto done;
    }
    bool left_out = lua_isboolean(lua, -1) && !lua_toboolean(lua, -1);
    lua_pop(lua, 1);
    outcome = left_out ? LUAX_EVENT_LEFT_OUT : take_over(lua, record, root, error, size);
done:
    lua_settop(lua, top);
    yyjson_doc_free(doc);
    return outcome;
}
