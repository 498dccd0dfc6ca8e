// Binding "dbobs.core.memory": a sink that keeps its records until they are taken. For specs of pipelines and of our
// own bindings: it can be small, full, or fail, and reports delivery when the records are taken.
#include <stdio.h>
#include <stdlib.h>

#include "bindings.h"
#include "buf.h"
#include "luax.h"
#include "sink.h"

#define MEMORY_CLASS "dbobs.memory"

struct kept {
    struct kept *next;
    struct batch *batch;
    size_t key_len, value_len;
    bool has_key;
    char data[];  // key, value
};

struct memory_sink {
    struct sink sink;  // first: the ops get a pointer to it
    struct wakeup room;
    struct kept *first, **last;
    size_t count, most;  // most: 0 for any number
};

static enum sink_result memory_put(struct sink *sink, const struct sink_record *record, char *error, size_t size) {
    struct memory_sink *memory = (struct memory_sink *)sink;
    size_t len = record->key_len + record->value_len;
    if (memory->most && memory->count >= memory->most) return SINK_FULL;
    if (sink->limit && len > sink->limit) {
        snprintf(error, size, "a record of %zu bytes is larger than the topic takes (%zu)", len, sink->limit);
        return SINK_ERROR;
    }
    struct kept *kept = xcalloc(1, sizeof *kept + len);
    kept->has_key = record->key != NULL;
    kept->key_len = record->key_len;
    kept->value_len = record->value_len;
    if (record->key_len) memcpy(kept->data, record->key, record->key_len);
    if (record->value_len) memcpy(kept->data + record->key_len, record->value, record->value_len);
    kept->batch = record->batch;
    if (kept->batch) {
        batch_ref(kept->batch);
        kept->batch->sent++;
        kept->batch->pending++;
    }
    *memory->last = kept;
    memory->last = &kept->next;
    memory->count++;
    return SINK_OK;
}

static struct wakeup *memory_room(struct sink *sink) {
    return &((struct memory_sink *)sink)->room;
}

static const struct sink_ops memory_ops = {memory_put, memory_room};

// memory([limit[, most]]) -> a sink for records of at most limit bytes, key and value, and at most `most` of them
static int l_memory(lua_State *lua) {
    size_t limit = (size_t)luaL_optnumber(lua, 1, 0);
    size_t most = (size_t)luaL_optnumber(lua, 2, 0);
    struct memory_sink *memory = luax_new(lua, MEMORY_CLASS, sizeof *memory);
    memory->sink.ops = &memory_ops;
    memory->sink.limit = limit;
    memory->most = most;
    memory->last = &memory->first;
    return 1;
}

// Takes the first record out and reports it. error NULL: as delivered.
static void drop_first(struct memory_sink *memory, const char *error) {
    struct kept *kept = memory->first;
    memory->first = kept->next;
    if (!memory->first) memory->last = &memory->first;
    memory->count--;
    if (kept->batch) batch_report(kept->batch, error);
    free(kept);
}

// sink:take([error]) -> array of {key, value}: what was put since; reported as delivered, or as failed with error
static int l_take(lua_State *lua) {
    struct memory_sink *memory = luaL_checkudata(lua, 1, MEMORY_CLASS);
    const char *error = luaL_optstring(lua, 2, NULL);
    lua_newtable(lua);
    for (int n = 1; memory->first; n++) {
        const struct kept *kept = memory->first;
        lua_createtable(lua, 0, 2);
        if (kept->has_key) {
            lua_pushlstring(lua, kept->data, kept->key_len);
            lua_setfield(lua, -2, "key");
        }
        lua_pushlstring(lua, kept->data + kept->key_len, kept->value_len);
        lua_setfield(lua, -2, "value");
        lua_rawseti(lua, -2, n);
        drop_first(memory, error);
    }
    wakeup_signal(&memory->room);
    return 1;
}

static int l_gc(lua_State *lua) {
    struct memory_sink *memory = luaL_checkudata(lua, 1, MEMORY_CLASS);
    while (memory->first) drop_first(memory, "the sink was dropped");
    return 0;
}

static void *sink_of(void *userdata) {
    return &((struct memory_sink *)userdata)->sink;
}

static void *room_of(void *userdata) {
    return &((struct memory_sink *)userdata)->room;
}

static const luaL_Reg methods[] = {{"take", l_take}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", l_gc}, {NULL, NULL}};

int luaopen_dbobs_memory(lua_State *lua) {
    luax_class(lua, MEMORY_CLASS, methods, meta);
    luax_offer(lua, LUAX_SINK, sink_of);
    luax_offer(lua, LUAX_WAKEUP, room_of);
    lua_pushcfunction(lua, l_memory);
    return 1;
}
