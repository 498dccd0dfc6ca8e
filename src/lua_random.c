// Binding "dbobs.core.random": seeded generators, see random.h. Numbers are exact up to 2^53.
#include <string.h>

#include "luax.h"
#include "random.h"

#define RANDOM_CLASS "dbobs.random"
#define LARGEST 9007199254740992.0

// A connection's generator; `unique` counts what it gave.
struct generator {
    struct random random;
    double unique, number, connections;
};

static struct random *check_random(lua_State *lua) {
    struct generator *generator = luax_self(lua, RANDOM_CLASS);
    return &generator->random;
}

static void check_range(lua_State *lua, int64_t *low, int64_t *high) {
    double a = luaL_checknumber(lua, 2), b = luaL_checknumber(lua, 3);
    if (!(a >= -LARGEST && b <= LARGEST && a <= b))
        luaL_error(lua, "random: a range from low to high expected, got %f to %f", a, b);
    *low = (int64_t)a;
    *high = (int64_t)b;
}

static int push(lua_State *lua, int64_t value) {
    lua_pushnumber(lua, (double)value);
    return 1;
}

// new(seed, number, connections) -> generator number 1 to `connections`; each has its own sequence
static int l_new(lua_State *lua) {
    double seed = luaL_checknumber(lua, 1), number = luaL_checknumber(lua, 2), connections = luaL_checknumber(lua, 3);
    struct generator *generator = luax_new(lua, RANDOM_CLASS, sizeof *generator);
    random_seed(&generator->random, (uint64_t)(int64_t)seed, (uint64_t)(int64_t)number);
    generator->unique = generator->number = number;
    generator->connections = connections;
    return 1;
}

// unique() -> integer that no other call gives, of none of these generators
static int l_unique(lua_State *lua) {
    struct generator *generator = luax_self(lua, RANDOM_CLASS);
    lua_pushnumber(lua, generator->unique);
    generator->unique += generator->connections;
    return 1;
}

// choice(list) -> one of its values
static int l_choice(lua_State *lua) {
    luaL_checktype(lua, 2, LUA_TTABLE);
    int count = (int)lua_objlen(lua, 2);
    luaL_argcheck(lua, count > 0, 2, "choice: the list is empty");
    lua_rawgeti(lua, 2, (int)random_uniform(check_random(lua), 1, count));
    return 1;
}

// text(length) -> letters a to z
static int l_text(lua_State *lua) {
    struct random *random = check_random(lua);
    lua_Integer left = luaL_checkinteger(lua, 2);
    luaL_Buffer buffer;
    luaL_buffinit(lua, &buffer);
    for (; left > 0; left--) luaL_addchar(&buffer, (char)('a' + random_uniform(random, 0, 25)));
    luaL_pushresult(&buffer);
    return 1;
}

// real() -> number in [0, 1)
static int l_real(lua_State *lua) {
    lua_pushnumber(lua, random_real(check_random(lua)));
    return 1;
}

// uniform(low, high) -> integer
static int l_uniform(lua_State *lua) {
    int64_t low, high;
    struct random *random = check_random(lua);
    check_range(lua, &low, &high);
    return push(lua, random_uniform(random, low, high));
}

// gaussian(low, high, parameter = 2.5) -> integer; parameter: at least 2
static int l_gaussian(lua_State *lua) {
    int64_t low, high;
    struct random *random = check_random(lua);
    check_range(lua, &low, &high);
    double parameter = luaL_optnumber(lua, 4, 2.5);
    luaL_argcheck(lua, parameter >= 2, 4, "gaussian: the parameter is at least 2");
    return push(lua, random_gaussian(random, low, high, parameter));
}

// exponential(low, high, parameter = 5) -> integer; parameter: above 0
static int l_exponential(lua_State *lua) {
    int64_t low, high;
    struct random *random = check_random(lua);
    check_range(lua, &low, &high);
    double parameter = luaL_optnumber(lua, 4, 5);
    luaL_argcheck(lua, parameter > 0, 4, "exponential: the parameter is above 0");
    return push(lua, random_exponential(random, low, high, parameter));
}

// zipfian(low, high, parameter = 1.1) -> integer; parameter: 0.001 to 1000, not 1
static int l_zipfian(lua_State *lua) {
    int64_t low, high;
    struct random *random = check_random(lua);
    check_range(lua, &low, &high);
    double parameter = luaL_optnumber(lua, 4, 1.1);
    luaL_argcheck(lua, parameter >= 0.001 && parameter <= 1000 && parameter != 1, 4,
                  "zipfian: the parameter is 0.001 to 1000, and not 1");
    return push(lua, random_zipfian(random, low, high, parameter));
}

// special(low, high) -> integer
static int l_special(lua_State *lua) {
    int64_t low, high;
    struct random *random = check_random(lua);
    check_range(lua, &low, &high);
    return push(lua, random_special(random, low, high));
}

// interval(mean) -> number: exponentially distributed
static int l_interval(lua_State *lua) {
    struct random *random = check_random(lua);
    lua_pushnumber(lua, random_interval(random, luaL_checknumber(lua, 2)));
    return 1;
}

// pattern(text) -> text with a digit for each # and a letter for each @
static int l_pattern(lua_State *lua) {
    struct random *random = check_random(lua);
    size_t len;
    const char *text = luaL_checklstring(lua, 2, &len);
    luaL_Buffer buffer;
    luaL_buffinit(lua, &buffer);
    while (len > 0) {
        size_t part = len < LUAL_BUFFERSIZE ? len : LUAL_BUFFERSIZE;
        char *at = luaL_prepbuffer(&buffer);
        memcpy(at, text, part);
        random_pattern(random, at, part);
        luaL_addsize(&buffer, part);
        text += part;
        len -= part;
    }
    luaL_pushresult(&buffer);
    return 1;
}

static const luaL_Reg methods[] = {
    {"real", l_real},       {"uniform", l_uniform},   {"gaussian", l_gaussian}, {"exponential", l_exponential},
    {"unique", l_unique},   {"choice", l_choice},     {"text", l_text},         {"zipfian", l_zipfian},
    {"special", l_special}, {"interval", l_interval}, {"pattern", l_pattern},   {NULL, NULL},
};

static const luaL_Reg functions[] = {{"new", l_new}, {NULL, NULL}};

int luaopen_dbobs_random(lua_State *lua) {
    luax_class(lua, RANDOM_CLASS, methods, NULL);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
