// Binding "dbobs.core.sink": batches, standard output as a sink, and putting one record into any sink. A batch is C's
// and counted: it outlives its Lua handle while records of it are in flight.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "buf.h"
#include "decode.h"
#include "luax.h"
#include "sink.h"
#include "vm.h"
#include "write.h"

#define BATCH_CLASS "dbobs.batch"
#define STDOUT_CLASS "dbobs.stdout"
#define DISCARD_CLASS "dbobs.discard"

struct stdout_sink {
    struct sink sink;  // first: the ops get a pointer to it
    struct wakeup room;
    struct buf line;
    char *topic;
    enum { JSON, TEXT, DETAILS } form;
    struct vm *vm;
};

struct discard_sink {
    struct sink sink;  // first: the ops get a pointer to it
    struct wakeup room;
};

// A record that went nowhere further counts as delivered.
static void count_delivered(struct batch *batch) {
    if (!batch) return;
    batch_ref(batch);
    batch->sent++;
    batch->pending++;
    batch_report(batch, NULL);
}

static enum sink_result stdout_put(struct sink *sink, const struct sink_record *record, char *error, size_t size) {
    struct stdout_sink *out = (struct stdout_sink *)sink;
    struct decode_record decoded = {.topic = out->topic,
                                    .key = record->key,
                                    .key_len = record->key_len,
                                    .value = record->value,
                                    .value_len = record->value_len};
    // Nobody reads on: that is no error, but there will never be room, and there is nothing left to do.
    if (out->vm->app->output_closed) return SINK_FULL;
    buf_clear(&out->line);
    if (out->form == JSON) decode_json_line(&decoded, &out->line);
    else decode_text_line(&decoded, clock_wall_us(&out->vm->clock), out->form == DETAILS, &out->line);
    if (write_all(STDOUT_FILENO, out->line.data, out->line.len)) {
        if (errno == EPIPE) {
            out->vm->app->output_closed = true;
            vm_wake(out->vm);
            return SINK_FULL;
        }
        snprintf(error, size, "standard output: %s", strerror(errno));
        return SINK_ERROR;
    }
    count_delivered(record->batch);
    return SINK_OK;
}

static struct wakeup *stdout_room(struct sink *sink) {
    return &((struct stdout_sink *)sink)->room;
}

static const struct sink_ops stdout_ops = {stdout_put, stdout_room};

// stdout(topic, form: "json" | "text" | "details") -> sink that prints each record: one JSON object a line, one
// readable line, or that line and every point of a metrics record. When nobody reads any more, dbobs is told to stop.
static int l_stdout(lua_State *lua) {
    static const char *const forms[] = {"json", "text", "details", NULL};
    const char *topic = luaL_checkstring(lua, 1);
    int form = luaL_checkoption(lua, 2, "json", forms);
    struct stdout_sink *out = luax_new(lua, STDOUT_CLASS, sizeof *out);
    out->sink.ops = &stdout_ops;
    out->topic = xstrdup(topic);
    out->form = form;
    out->vm = vm_of(lua);
    return 1;
}

static int l_stdout_gc(lua_State *lua) {
    struct stdout_sink *out = luaL_checkudata(lua, 1, STDOUT_CLASS);
    buf_free(&out->line);
    free(out->topic);
    out->topic = NULL;
    return 0;
}

static void *stdout_sink_of(void *userdata) {
    return &((struct stdout_sink *)userdata)->sink;
}

static void *stdout_room_of(void *userdata) {
    return &((struct stdout_sink *)userdata)->room;
}

static enum sink_result discard_put(struct sink *sink, const struct sink_record *record, char *error, size_t size) {
    (void)sink, (void)error, (void)size;
    count_delivered(record->batch);
    return SINK_OK;
}

static struct wakeup *discard_room(struct sink *sink) {
    return &((struct discard_sink *)sink)->room;
}

static const struct sink_ops discard_ops = {discard_put, discard_room};

// discard() -> sink that forgets its records
static int l_discard(lua_State *lua) {
    struct discard_sink *discard = luax_new(lua, DISCARD_CLASS, sizeof *discard);
    discard->sink.ops = &discard_ops;
    return 1;
}

static void *discard_sink_of(void *userdata) {
    return &((struct discard_sink *)userdata)->sink;
}

static void *discard_room_of(void *userdata) {
    return &((struct discard_sink *)userdata)->room;
}

// batch() -> batch
static int l_batch(lua_State *lua) {
    struct batch **handle = luax_new(lua, BATCH_CLASS, sizeof *handle);
    *handle = batch_new();
    return 1;
}

static struct batch *check_batch(lua_State *lua, int index) {
    return *(struct batch **)luaL_checkudata(lua, index, BATCH_CLASS);
}

static int l_batch_gc(lua_State *lua) {
    struct batch **handle = luaL_checkudata(lua, 1, BATCH_CLASS);
    if (*handle) batch_unref(*handle);
    *handle = NULL;
    return 0;
}

static void *batch_of(void *userdata) {
    return *(struct batch **)userdata;
}

static void *batch_done_of(void *userdata) {
    return &(*(struct batch **)userdata)->done;
}

// status(batch) -> sent, pending, failed, first error | nil
static int l_status(lua_State *lua) {
    const struct batch *batch = check_batch(lua, 1);
    lua_pushnumber(lua, (double)batch->sent);
    lua_pushnumber(lua, batch->pending);
    lua_pushnumber(lua, batch->failed);
    if (!batch->error[0]) return 3;
    lua_pushstring(lua, batch->error);
    return 4;
}

// put(sink, key|nil, value, batch|nil) -> true | false: no room, wait for the sink | nil, error
static int l_put(lua_State *lua) {
    struct sink *sink = luax_check_interface(lua, 1, LUAX_SINK, "a topic (and not closed)");
    struct sink_record record = {0};
    record.key = luaL_optlstring(lua, 2, NULL, &record.key_len);
    record.value = luaL_checklstring(lua, 3, &record.value_len);
    record.batch = luax_interface(lua, 4, LUAX_BATCH);
    char error[256];
    enum sink_result result = sink->ops->put(sink, &record, error, sizeof error);
    if (result == SINK_ERROR) return luax_fail(lua, "sink.put: %s", error);
    lua_pushboolean(lua, result == SINK_OK);
    return 1;
}

static const luaL_Reg stdout_meta[] = {{"__gc", l_stdout_gc}, {NULL, NULL}};
static const luaL_Reg batch_meta[] = {{"__gc", l_batch_gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"batch", l_batch},   {"status", l_status},   {"put", l_put},
    {"stdout", l_stdout}, {"discard", l_discard}, {NULL, NULL},
};

int luaopen_dbobs_sink(lua_State *lua) {
    luax_class(lua, STDOUT_CLASS, NULL, stdout_meta);
    luax_offer(lua, LUAX_SINK, stdout_sink_of);
    luax_offer(lua, LUAX_WAKEUP, stdout_room_of);
    luax_class(lua, DISCARD_CLASS, NULL, NULL);
    luax_offer(lua, LUAX_SINK, discard_sink_of);
    luax_offer(lua, LUAX_WAKEUP, discard_room_of);
    luax_class(lua, BATCH_CLASS, NULL, batch_meta);
    luax_offer(lua, LUAX_BATCH, batch_of);
    luax_offer(lua, LUAX_WAKEUP, batch_done_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
