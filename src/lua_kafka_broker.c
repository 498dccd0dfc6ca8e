// Binding "dbobs.core.kafka_broker": the embedded broker, for trying and testing. Starting it fails without a loopback
// network; closing it, or its collection, ends it behind the caller's back. One that is shared belongs to the process,
// so that a pipeline that is read again finds the records of before.
#include "app.h"
#include "bindings.h"
#include "kafka.h"
#include "luax.h"
#include "vm.h"

#define BROKER_CLASS "dbobs.kafka_broker"
#define MAX_CODES 64

struct broker {
    struct kafka_mock *mock;
    uv_loop_t *loop;
};

static struct kafka_mock *check(lua_State *lua) {
    struct broker *broker = luaL_checkudata(lua, 1, BROKER_CLASS);
    if (!broker->mock) luaL_error(lua, "the broker is closed");
    return broker->mock;
}

// broker(shared) -> broker, whether it was started for this | nil, error. shared (on main's thread): that of the
// process.
static int l_broker(lua_State *lua) {
    char error[512];
    bool started = true;
    struct vm *vm = vm_of(lua);
    struct kafka_mock *mock = lua_toboolean(lua, 1) ? kafka_mock_share(&vm->app->broker, &started, error, sizeof error)
                                                    : kafka_mock_new(error, sizeof error);
    if (!mock) return luax_fail(lua, "%s", error);
    struct broker *broker = luax_new(lua, BROKER_CLASS, sizeof *broker);
    *broker = (struct broker){mock, &vm->loop};
    lua_pushboolean(lua, started);
    return 2;
}

// :address() -> "127.0.0.1:port"
static int l_address(lua_State *lua) {
    lua_pushstring(lua, kafka_mock_address(check(lua)));
    return 1;
}

// :topic(name, partitions) -> true | nil, error
static int l_topic(lua_State *lua) {
    char error[256];
    struct kafka_mock *mock = check(lua);
    if (kafka_mock_topic(mock, luaL_checkstring(lua, 2), (int)luaL_checkinteger(lua, 3), error, sizeof error))
        return luax_fail(lua, "%s", error);
    lua_pushboolean(lua, 1);
    return 1;
}

// :fail(api number, code, ...): the next requests of that kind are answered with these errors, for tests
static int l_fail(lua_State *lua) {
    struct kafka_mock *mock = check(lua);
    int codes[MAX_CODES], api = (int)luaL_checkinteger(lua, 2);
    size_t count = 0;
    for (int i = 3; i <= lua_gettop(lua) && count < MAX_CODES; i++) codes[count++] = (int)luaL_checkinteger(lua, i);
    kafka_mock_fail(mock, api, codes, count);
    return 0;
}

// :reachable(boolean): off the network, or back, for tests
static int l_reachable(lua_State *lua) {
    kafka_mock_reachable(check(lua), lua_toboolean(lua, 2));
    return 0;
}

static int l_broker_close(lua_State *lua) {
    struct broker *broker = luaL_checkudata(lua, 1, BROKER_CLASS);
    if (broker->mock) kafka_mock_close(broker->mock, broker->loop);
    broker->mock = NULL;
    return 0;
}

static const luaL_Reg methods[] = {
    {"address", l_address},     {"topic", l_topic},        {"fail", l_fail},
    {"reachable", l_reachable}, {"close", l_broker_close}, {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__gc", l_broker_close}, {NULL, NULL}};

int luaopen_dbobs_kafka_broker(lua_State *lua) {
    luax_class(lua, BROKER_CLASS, methods, meta);
    lua_pushcfunction(lua, l_broker);
    return 1;
}
