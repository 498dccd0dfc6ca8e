// Binding "dbobs.core.histogram": HdrHistogram of times. Lua's values are seconds; inside they are nanoseconds from 64
// up to an hour, three digits exact. A histogram belongs to one thread; as text it goes to another one, which adds it.
#include <hdr/hdr_histogram.h>
#include <stdint.h>
#include <stdlib.h>

#include "buf.h"
#include "clock.h"
#include "luax.h"

#define HISTOGRAM_CLASS "dbobs.histogram"
#define LOWEST_NS 64
#define HIGHEST_NS 3600000000000
#define DIGITS 3

static struct hdr_histogram *check_histogram(lua_State *lua, int index) {
    return *(struct hdr_histogram **)luaL_checkudata(lua, index, HISTOGRAM_CLASS);
}

static int push_ns(lua_State *lua, double ns) {
    lua_pushnumber(lua, ns / 1e9);
    return 1;
}

static int64_t within(double ns) {
    return ns < 0 ? 0 : ns > (double)HIGHEST_NS ? HIGHEST_NS : (int64_t)ns;
}

// new() -> histogram
static int l_new(lua_State *lua) {
    struct hdr_histogram **slot = luax_new(lua, HISTOGRAM_CLASS, sizeof(struct hdr_histogram *));
    if (hdr_init(LOWEST_NS, HIGHEST_NS, DIGITS, slot)) return luaL_error(lua, "histogram: out of memory");
    return 1;
}

// pointer() -> its address, for calls that must cost little: record_since, and the statements of dbobs.core.pgrun.
// Whoever uses it keeps the histogram.
static int l_pointer(lua_State *lua) {
    lua_pushlightuserdata(lua, check_histogram(lua, 1));
    return 1;
}

// record_since(seconds of the monotonic clock, pointer, ...) -> now: the time since then, into each of them
static int l_record_since(lua_State *lua) {
    int64_t now = clock_monotonic_ns();
    int64_t value = within((double)now - luaL_checknumber(lua, 1) * 1e9);
    for (int i = lua_gettop(lua); i > 1; i--) {
        luaL_checktype(lua, i, LUA_TLIGHTUSERDATA);
        hdr_record_value(lua_touserdata(lua, i), value);
    }
    lua_pushnumber(lua, (double)now / 1e9);
    return 1;
}

// record(seconds): longer than an hour counts as an hour
static int l_record(lua_State *lua) {
    hdr_record_value(check_histogram(lua, 1), within(luaL_checknumber(lua, 2) * 1e9));
    return 0;
}

static void put_hex(struct buf *text, uint64_t value, char behind) {
    char digits[17];
    int at = sizeof digits;
    digits[--at] = behind;
    do digits[--at] = "0123456789abcdef"[value & 15];
    while (value >>= 4);
    buf_put(text, digits + at, sizeof digits - (size_t)at);
}

// encode() -> text for add: pairs of bucket (as distance from the one before) and count, in hexadecimal, then the
// smallest and largest value
static int l_encode(lua_State *lua) {
    struct hdr_histogram *histogram = check_histogram(lua, 1);
    struct buf text = {0};
    int32_t last = 0;
    for (int32_t i = 0; i < histogram->counts_len; i++) {
        if (!histogram->counts[i]) continue;
        put_hex(&text, (uint64_t)(i - last), ':');
        put_hex(&text, (uint64_t)histogram->counts[i], ' ');
        last = i;
    }
    put_hex(&text, (uint64_t)(histogram->total_count ? hdr_min(histogram) : 0), '-');
    put_hex(&text, (uint64_t)histogram->max_value, '\n');
    lua_pushlstring(lua, text.data, text.len - 1);
    buf_free(&text);
    return 1;
}

// Adds what encode wrote. -1 for anything else.
static int add_text(struct hdr_histogram *histogram, const char *text) {
    int64_t at = 0;
    while (true) {
        char *end;
        uint64_t first = strtoull(text, &end, 16);
        if (end == text || (*end != ':' && *end != '-')) return -1;
        char kind = *end;
        text = end + 1;
        uint64_t second = strtoull(text, &end, 16);
        if (end == text || first > INT64_MAX || second > INT64_MAX / 1024) return -1;
        if (kind == '-') {
            // The buckets know values to three digits; the extremes are known exactly.
            if (first && (int64_t)first < histogram->min_value) histogram->min_value = (int64_t)first;
            if ((int64_t)second > histogram->max_value) histogram->max_value = (int64_t)second;
            return *end == '\0' ? 0 : -1;
        }
        if (*end != ' ' || first >= (uint64_t)histogram->counts_len) return -1;
        text = end + 1;
        at += (int64_t)first;
        if (at >= histogram->counts_len) return -1;
        histogram->counts[at] += (int64_t)second;
        histogram->total_count += (int64_t)second;
    }
}

// add(histogram | text of encode)
static int l_add(lua_State *lua) {
    struct hdr_histogram *histogram = check_histogram(lua, 1);
    if (lua_type(lua, 2) != LUA_TSTRING) hdr_add(histogram, check_histogram(lua, 2));
    else if (add_text(histogram, lua_tostring(lua, 2))) return luaL_argerror(lua, 2, "not the text of a histogram");
    return 0;
}

static int l_reset(lua_State *lua) {
    hdr_reset(check_histogram(lua, 1));
    return 0;
}

// count() -> number of values
static int l_count(lua_State *lua) {
    lua_pushnumber(lua, (double)check_histogram(lua, 1)->total_count);
    return 1;
}

// mean(), stddev(), min(), max() -> seconds; 0 when it is empty
static int l_mean(lua_State *lua) {
    struct hdr_histogram *histogram = check_histogram(lua, 1);
    return push_ns(lua, histogram->total_count ? hdr_mean(histogram) : 0);
}

static int l_stddev(lua_State *lua) {
    struct hdr_histogram *histogram = check_histogram(lua, 1);
    return push_ns(lua, histogram->total_count ? hdr_stddev(histogram) : 0);
}

static int l_min(lua_State *lua) {
    struct hdr_histogram *histogram = check_histogram(lua, 1);
    return push_ns(lua, histogram->total_count ? (double)hdr_min(histogram) : 0);
}

static int l_max(lua_State *lua) {
    struct hdr_histogram *histogram = check_histogram(lua, 1);
    return push_ns(lua, histogram->total_count ? (double)histogram->max_value : 0);
}

// percentile(0..100) -> seconds; 0 when it is empty
static int l_percentile(lua_State *lua) {
    struct hdr_histogram *histogram = check_histogram(lua, 1);
    double percentile = luaL_checknumber(lua, 2);
    if (!histogram->total_count) return push_ns(lua, 0);
    double value = (double)hdr_value_at_percentile(histogram, percentile);
    return push_ns(lua, value > (double)histogram->max_value ? (double)histogram->max_value : value);
}

// recorded() -> array of {seconds, count}, ascending
static int l_recorded(lua_State *lua) {
    struct hdr_iter iter;
    hdr_iter_recorded_init(&iter, check_histogram(lua, 1));
    lua_newtable(lua);
    for (int n = 1; hdr_iter_next(&iter); n++) {
        lua_createtable(lua, 2, 0);
        push_ns(lua, (double)iter.highest_equivalent_value);
        lua_rawseti(lua, -2, 1);
        lua_pushnumber(lua, (double)iter.count);
        lua_rawseti(lua, -2, 2);
        lua_rawseti(lua, -2, n);
    }
    return 1;
}

// percentiles(ticks) -> array of {seconds, percentile, values up to it}: so many steps for each halving of what is left
static int l_percentiles(lua_State *lua) {
    struct hdr_iter iter;
    hdr_iter_percentile_init(&iter, check_histogram(lua, 1), (int32_t)luaL_checkinteger(lua, 2));
    lua_newtable(lua);
    for (int n = 1; hdr_iter_next(&iter); n++) {
        lua_createtable(lua, 3, 0);
        push_ns(lua, (double)iter.highest_equivalent_value);
        lua_rawseti(lua, -2, 1);
        lua_pushnumber(lua, iter.specifics.percentiles.percentile);
        lua_rawseti(lua, -2, 2);
        lua_pushnumber(lua, (double)iter.cumulative_count);
        lua_rawseti(lua, -2, 3);
        lua_rawseti(lua, -2, n);
    }
    return 1;
}

static int l_gc(lua_State *lua) {
    struct hdr_histogram **slot = luaL_checkudata(lua, 1, HISTOGRAM_CLASS);
    if (*slot) hdr_close(*slot);
    *slot = NULL;
    return 0;
}

static const luaL_Reg methods[] = {
    {"pointer", l_pointer},
    {"record", l_record},
    {"add", l_add},
    {"encode", l_encode},
    {"reset", l_reset},
    {"count", l_count},
    {"mean", l_mean},
    {"stddev", l_stddev},
    {"min", l_min},
    {"max", l_max},
    {"percentile", l_percentile},
    {"recorded", l_recorded},
    {"percentiles", l_percentiles},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__gc", l_gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new", l_new}, {"record_since", l_record_since}, {NULL, NULL}};

int luaopen_dbobs_histogram(lua_State *lua) {
    luax_class(lua, HISTOGRAM_CLASS, methods, meta);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
