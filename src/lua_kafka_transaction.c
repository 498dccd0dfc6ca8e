// Binding "dbobs.core.kafka_transaction": transactional producers, each the sink of one topic. Nothing here waits: what
// is under way is `false`, and the object can be waited for. The userdata holds a counted struct of kafka.h.
#include <string.h>

#include "bindings.h"
#include "clock.h"
#include "kafka.h"
#include "luax.h"
#include "vm.h"

#define TRANSACTION_CLASS "dbobs.kafka_transaction"
#define REPORT_CLASS "dbobs.kafka_report"  // of dbobs.core.kafka, which the library opens before

// transaction({name = text}, topic, max.message.bytes of the topic) -> transaction | nil, error, whether it is an
// unknown property, which the error names
static int l_transaction(lua_State *lua) {
    const char *topic = luaL_checkstring(lua, 2);
    size_t limit = (size_t)luaL_checknumber(lua, 3);
    luaL_argcheck(lua, limit >= 1024, 3, "at least 1024 expected");
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
    struct vm *vm = vm_of(lua);
    struct kafka_transaction *transaction =
        kafka_transaction_new(&vm->loop, vm->workers, conf, topic, limit, error, sizeof error);
    if (!transaction) return luax_fail(lua, "%s", error);
    luax_box(lua, TRANSACTION_CLASS, transaction);
    return 1;
}

// :work("init"|"commit"|"abort") -> true | nil, error: see result
static int l_work(lua_State *lua) {
    static const char *const names[] = {"init", "commit", "abort", NULL};
    struct kafka_transaction *transaction = luax_boxed(lua, TRANSACTION_CLASS);
    enum kafka_work work = (enum kafka_work)luaL_checkoption(lua, 2, NULL, names);
    if (transaction->working || !transaction->kafka)
        return luaL_error(lua, "the producer works already, or is stopped");
    if (kafka_transaction_work(transaction, work)) return luax_fail(lua, "no worker thread can be started");
    lua_pushboolean(lua, 1);
    return 1;
}

// :result() -> false while it works | "done", after an abort why it had to be | "abort"|"failed"|"fenced"|"closed",
// error
static int l_result(lua_State *lua) {
    static const char *const names[] = {"done", "abort", "failed", "fenced", "closed"};
    struct kafka_transaction *transaction = luax_boxed(lua, TRANSACTION_CLASS);
    if (transaction->working) {
        lua_pushboolean(lua, 0);
        return 1;
    }
    lua_pushstring(lua, names[transaction->outcome]);
    if (transaction->outcome == KAFKA_DONE && !*transaction->error) return 1;
    lua_pushstring(lua, transaction->error);
    return 2;
}

// :status() -> records and bytes of the open transaction, its age in seconds, why it can only be aborted | nil, whether
// the topic's limit was lowered
static int l_status(lua_State *lua) {
    const struct kafka_transaction *transaction = luax_boxed(lua, TRANSACTION_CLASS);
    double age = transaction->records ? (double)(clock_monotonic_ns() - transaction->begun_ns) / 1e9 : 0;
    lua_pushnumber(lua, (double)transaction->records);
    lua_pushnumber(lua, (double)transaction->bytes);
    lua_pushnumber(lua, age);
    if (transaction->broken) lua_pushstring(lua, transaction->cause);
    else lua_pushnil(lua);
    lua_pushboolean(lua, transaction->outgrown);
    return 5;
}

static rd_kafka_headers_t *make_headers(lua_State *lua, int index) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(4);
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1)) {
        if (lua_type(lua, -2) != LUA_TSTRING || lua_type(lua, -1) != LUA_TSTRING) continue;
        size_t len;
        const char *value = lua_tolstring(lua, -1, &len);
        rd_kafka_header_add(headers, lua_tostring(lua, -2), -1, value, (ssize_t)len);
    }
    return headers;
}

// :note(topic, partition, key, value, {name = text}) -> true | false: not now | nil, error: a record beside the topic's
static int l_note(lua_State *lua) {
    struct kafka_transaction *transaction = luax_boxed(lua, TRANSACTION_CLASS);
    const char *topic = luaL_checkstring(lua, 2);
    int partition = (int)luaL_checkinteger(lua, 3);
    struct sink_record record = {0};
    record.key = luaL_checklstring(lua, 4, &record.key_len);
    record.value = luaL_checklstring(lua, 5, &record.value_len);
    luaL_checktype(lua, 6, LUA_TTABLE);
    rd_kafka_headers_t *headers = make_headers(lua, 6);
    char error[512];
    enum sink_result result =
        kafka_transaction_note(transaction, topic, partition, &record, headers, error, sizeof error);
    if (result != SINK_OK) rd_kafka_headers_destroy(headers);
    if (result == SINK_ERROR) return luax_fail(lua, "%s", error);
    lua_pushboolean(lua, result == SINK_OK);
    return 1;
}

// :settle(error|nil): how the transaction ended, which is known from elsewhere; nil: it was committed
static int l_settle(lua_State *lua) {
    kafka_transaction_settle(luax_boxed(lua, TRANSACTION_CLASS), luaL_optstring(lua, 2, NULL));
    return 0;
}

// :stop(): lets go of the brokers; what was not settled can still be
static int l_stop(lua_State *lua) {
    kafka_transaction_stop(luax_boxed(lua, TRANSACTION_CLASS));
    return 0;
}

// :is_embedded() -> whether the broker is the embedded one, as far as it is known
static int l_is_embedded(lua_State *lua) {
    const struct kafka_transaction *transaction = luax_boxed(lua, TRANSACTION_CLASS);
    lua_pushboolean(lua, transaction->kafka && kafka_is_mock(transaction->kafka->rk, 0));
    return 1;
}

static int l_report(lua_State *lua) {
    struct kafka_transaction *transaction = luax_boxed(lua, TRANSACTION_CLASS);
    kafka_report_ref(transaction->report);
    luax_box(lua, REPORT_CLASS, transaction->report);
    return 1;
}

static int l_close(lua_State *lua) {
    struct kafka_transaction *transaction = luax_take(lua, TRANSACTION_CLASS);
    if (transaction) kafka_transaction_close(transaction);
    return 0;
}

static void *sink_of(void *userdata) {
    struct kafka_transaction *transaction = *(struct kafka_transaction **)userdata;
    return transaction ? &transaction->sink : NULL;
}

static void *changed_of(void *userdata) {
    struct kafka_transaction *transaction = *(struct kafka_transaction **)userdata;
    return transaction ? &transaction->changed : NULL;
}

static const luaL_Reg methods[] = {
    {"work", l_work}, {"result", l_result},           {"status", l_status}, {"note", l_note},   {"settle", l_settle},
    {"stop", l_stop}, {"is_embedded", l_is_embedded}, {"report", l_report}, {"close", l_close}, {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__gc", l_close}, {NULL, NULL}};

int luaopen_dbobs_kafka_transaction(lua_State *lua) {
    luax_class(lua, TRANSACTION_CLASS, methods, meta);
    luax_offer(lua, LUAX_SINK, sink_of);
    luax_offer(lua, LUAX_WAKEUP, changed_of);
    lua_pushcfunction(lua, l_transaction);
    return 1;
}
