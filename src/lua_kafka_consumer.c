// Binding "dbobs.core.kafka_consumer": reading topics. poll never waits: what is not there yet is `false`, and the
// consumer can be waited for. The userdata holds a struct of kafka.h, which lets go of librdkafka behind it.
#include <string.h>

#include "bindings.h"
#include "kafka.h"
#include "luax.h"
#include "vm.h"

#define CONSUMER_CLASS "dbobs.kafka_consumer"
#define REPORT_CLASS "dbobs.kafka_report"  // of dbobs.core.kafka, which the library opens before
#define MAX_STARTS 1024

// starts at index: array of {topic, partition, "beginning"|"end"|"offset"|"time", value}; the strings are the table's
static size_t read_starts(lua_State *lua, int index, struct kafka_start *starts) {
    static const char *const names[] = {"beginning", "end", "offset", "time", NULL};
    size_t count = lua_objlen(lua, index);
    luaL_argcheck(lua, count > 0 && count <= MAX_STARTS, index, "1 to 1024 topics or partitions expected");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(lua, index, (int)i + 1);
        luaL_checktype(lua, -1, LUA_TTABLE);
        for (int field = 1; field <= 4; field++) lua_rawgeti(lua, -field, field);
        starts[i].topic = (char *)luaL_checkstring(lua, -4);
        starts[i].partition = (int)luaL_checkinteger(lua, -3);
        starts[i].from = (enum kafka_from)luaL_checkoption(lua, lua_gettop(lua) - 1, NULL, names);
        starts[i].value = (int64_t)luaL_checknumber(lua, -1);
        lua_pop(lua, 5);
    }
    return count;
}

// consumer({name = text}, starts, group) -> consumer | nil, error, whether it is an unknown property, which the error
// names. group: subscribe instead of assign
static int l_consumer(lua_State *lua) {
    luaL_checktype(lua, 2, LUA_TTABLE);
    struct kafka_start starts[MAX_STARTS];
    size_t count = read_starts(lua, 2, starts);
    const char *pairs[LUAX_PAIRS];
    luax_check_pairs(lua, 1, pairs);
    char error[512];
    bool unknown;
    rd_kafka_conf_t *conf = kafka_conf_new(pairs, error, sizeof error, &unknown);
    if (!conf) {
        luax_fail(lua, "%s", error);
        lua_pushboolean(lua, unknown);
        return 3;
    }
    struct kafka_consumer *consumer =
        kafka_consumer_new(&vm_of(lua)->loop, conf, starts, count, lua_toboolean(lua, 3), error, sizeof error);
    if (!consumer) return luax_fail(lua, "%s", error);
    luax_box(lua, CONSUMER_CLASS, consumer);
    return 1;
}

static void push_place(lua_State *lua, const char *topic, int partition, int64_t offset) {
    lua_createtable(lua, 0, 7);
    lua_pushstring(lua, topic);
    lua_setfield(lua, -2, "topic");
    luax_set_number(lua, "partition", partition);
    luax_set_number(lua, "offset", (double)offset);
}

static void push_headers(lua_State *lua, const rd_kafka_message_t *message) {
    rd_kafka_headers_t *headers;
    if (rd_kafka_message_headers(message, &headers)) return;
    lua_newtable(lua);
    const char *name;
    const void *value;
    size_t len;
    for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &len); i++) {
        lua_pushlstring(lua, value ? value : "", value ? len : 0);
        lua_setfield(lua, -2, name);
    }
    lua_setfield(lua, -2, "headers");
}

static void push_message(lua_State *lua, const rd_kafka_message_t *message) {
    push_place(lua, rd_kafka_topic_name(message->rkt), message->partition, message->offset);
    rd_kafka_timestamp_type_t type;
    int64_t timestamp = rd_kafka_message_timestamp(message, &type);
    if (timestamp >= 0) luax_set_number(lua, "timestamp", (double)timestamp * 1000);
    if (message->key) {
        lua_pushlstring(lua, message->key, message->key_len);
        lua_setfield(lua, -2, "key");
    }
    if (message->payload) {
        lua_pushlstring(lua, message->payload, message->len);
        lua_setfield(lua, -2, "value");
    }
    push_headers(lua, message);
}

// :poll() -> false when there is nothing yet | message | {topic, partition, offset, eof = true} | nil, error, final
static int l_poll(lua_State *lua) {
    struct kafka_consumer *consumer = luax_boxed(lua, CONSUMER_CLASS);
    struct kafka_item item;
    switch (kafka_consumer_next(consumer, &item)) {
    case KAFKA_NOTHING:
        if (!consumer->assigning && *consumer->error) {
            luax_fail(lua, "%s", consumer->error);
            lua_pushboolean(lua, 1);
            return 3;
        }
        lua_pushboolean(lua, 0);
        return 1;
    case KAFKA_MESSAGE:
        push_message(lua, item.message);
        break;
    case KAFKA_EOF:
        push_place(lua, item.topic, item.partition, item.offset);
        lua_pushboolean(lua, 1);
        lua_setfield(lua, -2, "eof");
        break;
    case KAFKA_ERROR:
        luax_fail(lua, "%s", item.error);
        break;
    }
    kafka_item_free(&item);
    return lua_istable(lua, -1) ? 1 : 2;
}

// :partitions() -> how many are assigned; 0 until they are known, and for a member of a group
static int l_partitions(lua_State *lua) {
    struct kafka_consumer *consumer = luax_boxed(lua, CONSUMER_CLASS);
    lua_pushinteger(lua, consumer->assigning ? 0 : (lua_Integer)consumer->partitions);
    return 1;
}

// :end_offset(topic, partition) -> the end of the partition, records of open transactions among it, as of the last
// fetch; nil before the first
static int l_end_offset(lua_State *lua) {
    struct kafka_consumer *consumer = luax_boxed(lua, CONSUMER_CLASS);
    int64_t first = -1, end = -1;
    const char *topic = luaL_checkstring(lua, 2);
    if (rd_kafka_get_watermark_offsets(consumer->kafka->rk, topic, (int32_t)luaL_checkinteger(lua, 3), &first, &end) ||
        end < 0)
        return 0;
    lua_pushnumber(lua, (double)end);
    return 1;
}

// :commit() -> true | nil, error: what was polled so far, in the background
static int l_commit(lua_State *lua) {
    struct kafka_consumer *consumer = luax_boxed(lua, CONSUMER_CLASS);
    rd_kafka_resp_err_t code = rd_kafka_commit(consumer->kafka->rk, NULL, 1);
    if (code && code != RD_KAFKA_RESP_ERR__NO_OFFSET) return luax_fail(lua, "%s", rd_kafka_err2str(code));
    lua_pushboolean(lua, 1);
    return 1;
}

static int l_consumer_report(lua_State *lua) {
    struct kafka_consumer *consumer = luax_boxed(lua, CONSUMER_CLASS);
    kafka_report_ref(consumer->report);
    luax_box(lua, REPORT_CLASS, consumer->report);
    return 1;
}

static int l_consumer_close(lua_State *lua) {
    struct kafka_consumer *consumer = luax_take(lua, CONSUMER_CLASS);
    if (consumer) kafka_consumer_close(consumer);
    return 0;
}

static void *readable_of(void *userdata) {
    struct kafka_consumer *consumer = *(struct kafka_consumer **)userdata;
    return consumer ? &consumer->readable : NULL;
}

static const luaL_Reg methods[] = {
    {"poll", l_poll},     {"partitions", l_partitions},  {"end_offset", l_end_offset},
    {"commit", l_commit}, {"report", l_consumer_report}, {"close", l_consumer_close},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__gc", l_consumer_close}, {NULL, NULL}};

int luaopen_dbobs_kafka_consumer(lua_State *lua) {
    luax_class(lua, CONSUMER_CLASS, methods, meta);
    luax_offer(lua, LUAX_WAKEUP, readable_of);
    lua_pushcfunction(lua, l_consumer);
    return 1;
}
