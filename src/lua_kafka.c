// Binding "dbobs.core.kafka": producers, topics as sinks, requests to the cluster, and what a client reports, for Lua.
// Nothing here waits: what is not there yet is `false`, and the object can be waited for. Userdata hold counted structs
// of kafka.h, so that what is collected while something is in flight is freed behind it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings.h"
#include "kafka.h"
#include "luax.h"
#include "vm.h"

#define MAX_TIMEOUT_MS 3600000  // as librdkafka has it
#define PRODUCER_CLASS "dbobs.kafka_producer"
#define SINK_CLASS "dbobs.kafka_topic"
#define REQUEST_CLASS "dbobs.kafka_request"
#define REPORT_CLASS "dbobs.kafka_report"

// ---- properties ------------------------------------------------------------

// properties() -> array of the names of all properties, second names among them
static int l_properties(lua_State *lua) {
    char *table = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&table, &size);
    if (!file) return luaL_error(lua, "out of memory");
    rd_kafka_conf_properties_show(file);
    fclose(file);
    lua_newtable(lua);
    int count = 0;
    // "name     | C | range | ..." a property.
    for (const char *line = table; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        size_t len = strcspn(line, " |\n");
        if (len == 0 || !strchr("abcdefghijklmnopqrstuvwxyz", *line)) continue;
        lua_pushlstring(lua, line, len);
        lua_rawseti(lua, -2, ++count);
    }
    free(table);
    return 1;
}

// ---- producer --------------------------------------------------------------

// producer({name = text}, bounded) -> producer | nil, error, whether it is an unknown property, which the error names.
// bounded: message.max.bytes is the caller's.
static int l_producer(lua_State *lua) {
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
    struct kafka_producer *producer =
        kafka_producer_new(&vm_of(lua)->loop, conf, lua_toboolean(lua, 2), error, sizeof error);
    if (!producer) return luax_fail(lua, "%s", error);
    luax_box(lua, PRODUCER_CLASS, producer);
    return 1;
}

// :sink(topic, drop_oldest, max_bytes) -> sink
static int l_sink(lua_State *lua) {
    struct kafka_producer *producer = luax_boxed(lua, PRODUCER_CLASS);
    const char *topic = luaL_checkstring(lua, 2);
    struct kafka_sink *sink =
        kafka_producer_sink(producer, topic, lua_toboolean(lua, 3), (size_t)luaL_checknumber(lua, 4));
    kafka_producer_ref(producer);
    luax_box(lua, SINK_CLASS, sink);
    return 1;
}

// :hold(topic, boolean): records for it wait as long as it is held
static int l_hold(lua_State *lua) {
    struct kafka_producer *producer = luax_boxed(lua, PRODUCER_CLASS);
    kafka_producer_hold(producer, luaL_checkstring(lua, 2), lua_toboolean(lua, 3));
    return 0;
}

// :pending() -> records that were taken and not reported yet
static int l_pending(lua_State *lua) {
    lua_pushnumber(lua, (double)kafka_producer_pending(luax_boxed(lua, PRODUCER_CLASS)));
    return 1;
}

static int push_report(lua_State *lua, struct kafka_report *report) {
    kafka_report_ref(report);
    luax_box(lua, REPORT_CLASS, report);
    return 1;
}

static int l_producer_report(lua_State *lua) {
    struct kafka_producer *producer = luax_boxed(lua, PRODUCER_CLASS);
    return push_report(lua, producer->report);
}

static int l_producer_close(lua_State *lua) {
    struct kafka_producer *producer = luax_take(lua, PRODUCER_CLASS);
    if (producer) kafka_producer_close(producer);
    return 0;
}

static void *idle_of(void *userdata) {
    struct kafka_producer *producer = *(struct kafka_producer **)userdata;
    return producer ? &producer->idle : NULL;
}

// ---- sink ------------------------------------------------------------------

// The table at index, name = text, as headers; NULL when it is nil. Raises before anything is allocated.
static rd_kafka_headers_t *make_headers(lua_State *lua, int index) {
    if (lua_isnoneornil(lua, index)) return NULL;
    luaL_checktype(lua, index, LUA_TTABLE);
    size_t count = 0;
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1), count++)
        if (lua_type(lua, -2) != LUA_TSTRING || lua_type(lua, -1) != LUA_TSTRING)
            luaL_argerror(lua, index, "headers expected: a table of name = text");
    rd_kafka_headers_t *headers = rd_kafka_headers_new(count);
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1)) {
        size_t name_len, len;
        const char *name = lua_tolstring(lua, -2, &name_len);
        const char *value = lua_tolstring(lua, -1, &len);
        rd_kafka_header_add(headers, name, (ssize_t)name_len, value, (ssize_t)len);
    }
    return headers;
}

// :put(key|nil, value, headers|nil, batch|nil) -> true | false when full | nil, error
static int l_put(lua_State *lua) {
    struct kafka_sink *sink = luax_boxed(lua, SINK_CLASS);
    struct sink_record record = {0};
    if (!lua_isnil(lua, 2)) record.key = luaL_checklstring(lua, 2, &record.key_len);
    record.value = luaL_checklstring(lua, 3, &record.value_len);
    if (!lua_isnoneornil(lua, 5)) record.batch = luax_check_interface(lua, 5, LUAX_BATCH, "a batch");
    rd_kafka_headers_t *headers = make_headers(lua, 4);
    char error[512];
    enum sink_result result = kafka_sink_put(sink, &record, headers, error, sizeof error);
    if (headers && result != SINK_OK) rd_kafka_headers_destroy(headers);
    if (result == SINK_ERROR) return luax_fail(lua, "%s", error);
    lua_pushboolean(lua, result == SINK_OK);
    return 1;
}

// :like(drop_oldest, max_bytes) -> sink: the same topic, taken otherwise
static int l_like(lua_State *lua) {
    struct kafka_sink *sink = luax_boxed(lua, SINK_CLASS);
    struct kafka_producer *producer = sink->topic->producer;
    if (producer->closed) return luaL_error(lua, "the producer is closed");
    size_t max_bytes = (size_t)luaL_checknumber(lua, 3);
    struct kafka_sink *other = kafka_producer_sink(producer, sink->topic->name, lua_toboolean(lua, 2), max_bytes);
    kafka_producer_ref(producer);
    luax_box(lua, SINK_CLASS, other);
    return 1;
}

// :status() -> {topic, limit, queued, queued_bytes, dropped, delivered, failed}
static int l_status(lua_State *lua) {
    struct kafka_sink *sink = luax_boxed(lua, SINK_CLASS);
    lua_newtable(lua);
    lua_pushstring(lua, sink->topic->name);
    lua_setfield(lua, -2, "topic");
    luax_set_number(lua, "limit", (double)sink->sink.limit);
    luax_set_number(lua, "queued", (double)sink->count);
    luax_set_number(lua, "queued_bytes", (double)sink->bytes);
    luax_set_number(lua, "dropped", (double)sink->dropped);
    luax_set_number(lua, "delivered", (double)sink->topic->delivered);
    luax_set_number(lua, "failed", (double)sink->topic->failed);
    return 1;
}

static int l_sink_gc(lua_State *lua) {
    struct kafka_sink *sink = luax_boxed(lua, SINK_CLASS);
    kafka_producer_unref(sink->topic->producer);
    return 0;
}

static void *sink_of(void *userdata) {
    return &(*(struct kafka_sink **)userdata)->sink;
}

static void *room_of(void *userdata) {
    return &(*(struct kafka_sink **)userdata)->room;
}

// ---- report ----------------------------------------------------------------

// :take() -> level, text | nil
static int l_take(lua_State *lua) {
    struct kafka_report *report = luax_boxed(lua, REPORT_CLASS);
    if (!report->first) return 0;
    lua_pushinteger(lua, report->first->level);
    lua_pushstring(lua, report->first->text);
    free(kafka_report_take(report));
    return 2;
}

static void push_text_if(lua_State *lua, bool active, const char *text) {
    if (active) lua_pushstring(lua, text);
    else lua_pushnil(lua);
}

// :state() -> closed, why no broker is reached | nil, why records fail | nil, topic that drops records | nil
static int l_state(lua_State *lua) {
    struct kafka_report *report = luax_boxed(lua, REPORT_CLASS);
    lua_pushboolean(lua, report->closed);
    push_text_if(lua, report->down > 0, report->cause);
    push_text_if(lua, report->failing, report->failure);
    push_text_if(lua, report->dropping, report->dropped);
    return 4;
}

static int l_report_gc(lua_State *lua) {
    kafka_report_unref(luax_boxed(lua, REPORT_CLASS));
    return 0;
}

static void *changed_of(void *userdata) {
    return &(*(struct kafka_report **)userdata)->changed;
}

// ---- requests --------------------------------------------------------------

// The instance for a request and its time limit at index; NULL with nil and a message pushed while there is none.
static struct kafka *check_instance(lua_State *lua, int index, int *timeout_ms) {
    struct kafka_producer *producer = luax_boxed(lua, PRODUCER_CLASS);
    double ms = luaL_checknumber(lua, index) * 1000;
    *timeout_ms = ms < MAX_TIMEOUT_MS ? (int)ms : MAX_TIMEOUT_MS;
    struct kafka *kafka = kafka_producer_instance(producer);
    if (!kafka) luax_fail(lua, "the producer failed; unless it was fenced, a new one starts in a moment");
    return kafka;
}

// :list(seconds) -> request
static int l_list(lua_State *lua) {
    int timeout_ms;
    struct kafka *kafka = check_instance(lua, 2, &timeout_ms);
    if (!kafka) return 2;
    luax_box(lua, REQUEST_CLASS, kafka_list(kafka, timeout_ms));
    return 1;
}

// :describe(topic, seconds) -> request
static int l_describe(lua_State *lua) {
    const char *topic = luaL_checkstring(lua, 2);
    int timeout_ms;
    struct kafka *kafka = check_instance(lua, 3, &timeout_ms);
    if (!kafka) return 2;
    luax_box(lua, REQUEST_CLASS, kafka_describe(kafka, topic, timeout_ms, NULL, NULL));
    return 1;
}

// :create(topic, partitions, replication, {name = text}, seconds) -> request | nil, error; -1 for the broker's defaults
static int l_create(lua_State *lua) {
    const char *topic = luaL_checkstring(lua, 2);
    int partitions = (int)luaL_checkinteger(lua, 3), replication = (int)luaL_checkinteger(lua, 4);
    int timeout_ms;
    struct kafka *kafka = check_instance(lua, 6, &timeout_ms);
    if (!kafka) return 2;
    const char *config[LUAX_PAIRS];
    luax_check_pairs(lua, 5, config);
    char error[256];
    struct kafka_request *request =
        kafka_create(kafka, topic, partitions, replication, config, timeout_ms, error, sizeof error);
    if (!request) return luax_fail(lua, "%s", error);
    luax_box(lua, REQUEST_CLASS, request);
    return 1;
}

static void push_listed(lua_State *lua, const struct rd_kafka_metadata *listed) {
    lua_createtable(lua, listed->topic_cnt, 0);
    for (int i = 0; i < listed->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *topic = &listed->topics[i];
        lua_createtable(lua, 0, 3);
        lua_pushstring(lua, topic->topic);
        lua_setfield(lua, -2, "name");
        luax_set_number(lua, "partitions", topic->partition_cnt);
        luax_set_number(lua, "replication", topic->partition_cnt ? topic->partitions[0].replica_cnt : 0);
        lua_rawseti(lua, -2, i + 1);
    }
}

static void push_config(lua_State *lua, const struct kafka_request *request) {
    lua_newtable(lua);
    for (size_t i = 0; i < request->config_count; i++) {
        if (!request->config[i].value) continue;
        lua_pushstring(lua, request->config[i].value);
        lua_setfield(lua, -2, request->config[i].name);
    }
}

// :result() -> false while it runs | nil, error, code's name | list: topics; describe: {name = value}; create: true and
// whether only a metadata request made it, so that partitions and configuration are the broker's own
static int l_result(lua_State *lua) {
    struct kafka_request *request = luax_boxed(lua, REQUEST_CLASS);
    if (!request->finished) {
        lua_pushboolean(lua, 0);
        return 1;
    }
    if (request->code) {
        luax_fail(lua, "%s", request->error);
        lua_pushstring(lua, rd_kafka_err2name(request->code));
        return 3;
    }
    switch (request->kind) {
    case KAFKA_LIST:
        push_listed(lua, request->listed);
        return 1;
    case KAFKA_DESCRIBE:
        push_config(lua, request);
        return 1;
    default:
        lua_pushboolean(lua, 1);
        lua_pushboolean(lua, request->fallback);
        return 2;
    }
}

static int l_request_gc(lua_State *lua) {
    kafka_request_unref(luax_boxed(lua, REQUEST_CLASS));
    return 0;
}

static void *done_of(void *userdata) {
    return &(*(struct kafka_request **)userdata)->done;
}

// ---- registration ----------------------------------------------------------

static const luaL_Reg producer_methods[] = {
    {"sink", l_sink}, {"hold", l_hold},         {"pending", l_pending}, {"report", l_producer_report},
    {"list", l_list}, {"describe", l_describe}, {"create", l_create},   {"close", l_producer_close},
    {NULL, NULL},
};
static const luaL_Reg producer_meta[] = {{"__gc", l_producer_close}, {NULL, NULL}};

static const luaL_Reg sink_methods[] = {{"put", l_put}, {"like", l_like}, {"status", l_status}, {NULL, NULL}};
static const luaL_Reg sink_meta[] = {{"__gc", l_sink_gc}, {NULL, NULL}};

static const luaL_Reg report_methods[] = {{"take", l_take}, {"state", l_state}, {NULL, NULL}};
static const luaL_Reg report_meta[] = {{"__gc", l_report_gc}, {NULL, NULL}};

static const luaL_Reg request_methods[] = {{"result", l_result}, {NULL, NULL}};
static const luaL_Reg request_meta[] = {{"__gc", l_request_gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"producer", l_producer},
    {"properties", l_properties},
    {NULL, NULL},
};

int luaopen_dbobs_kafka(lua_State *lua) {
    luax_class(lua, PRODUCER_CLASS, producer_methods, producer_meta);
    luax_offer(lua, LUAX_WAKEUP, idle_of);
    luax_class(lua, SINK_CLASS, sink_methods, sink_meta);
    luax_offer(lua, LUAX_SINK, sink_of);
    luax_offer(lua, LUAX_WAKEUP, room_of);
    luax_class(lua, REPORT_CLASS, report_methods, report_meta);
    luax_offer(lua, LUAX_WAKEUP, changed_of);
    luax_class(lua, REQUEST_CLASS, request_methods, request_meta);
    luax_offer(lua, LUAX_WAKEUP, done_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    // The Lua library adds `send` and what else is better written there.
    luaL_getmetatable(lua, SINK_CLASS);
    lua_getfield(lua, -1, "__index");
    lua_setfield(lua, -3, "topic_methods");
    lua_pop(lua, 1);
    return 1;
}
