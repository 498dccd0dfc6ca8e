// The binding table. A new primitive is one line here, one C file (src/lua_<name>.c) and one Lua file
// (lua/dbobs/<name>.lua); `require "dbobs.core.<name>"` opens it.
#ifndef DBOBS_BINDINGS_H
#define DBOBS_BINDINGS_H

#include <lua.h>

// clang-format off
#define BINDINGS(X) \
    X(task) \
    X(sys) \
    X(sink) \
    X(pg) \
    X(pgresult) \
    X(pgparams) \
    X(pgrun) \
    X(latch) \
    X(kafka) \
    X(kafka_consumer) \
    X(kafka_transaction) \
    X(kafka_broker) \
    X(kafka_survey) \
    X(tail) \
    X(tail_remote) \
    X(record) \
    X(statements) \
    X(otlp) \
    X(decode) \
    X(http) \
    X(random) \
    X(histogram) \
    X(thread) \
    X(pacer) \
    X(memory) \
    X(prompt)
// clang-format on

#define DECLARE_BINDING(name) int luaopen_dbobs_##name(lua_State *lua);
BINDINGS(DECLARE_BINDING)

#endif
