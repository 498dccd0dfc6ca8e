// Binding "dbobs.core.otlp": requests, plans and series of metrics. A request borrows its sink, batch and series: they
// stand in its environment table, and are looked up at each call, since their owners may close them. A sink without
// room makes the call return false: wait for the sink and call it again. Texts are Lua's and copied before returning.
#include <math.h>
#include <string.h>

#include "bindings.h"
#include "luax.h"
#include "otlp.h"
#include "otlp_number.h"
#include "otlp_plan.h"
#include "series.h"

#define REQUEST_CLASS "dbobs.otlp.request"
#define PLAN_CLASS "dbobs.otlp.plan"
#define SERIES_CLASS "dbobs.otlp.series"

struct request {
    struct otlp_request *otlp;
    bool waits;  // the rows of a chunk, from `row` on, for room
    int row;
};

static struct request *check_request(lua_State *lua) {
    struct request *request = luaL_checkudata(lua, 1, REQUEST_CLASS);
    lua_getfenv(lua, 1);
    lua_getfield(lua, -1, "sink");
    struct sink *sink = luax_interface(lua, lua_gettop(lua), LUAX_SINK);
    if (!sink) luaL_error(lua, "the topic is closed");
    lua_getfield(lua, -2, "batch");
    struct batch *batch = luax_interface(lua, lua_gettop(lua), LUAX_BATCH);
    lua_getfield(lua, -3, "series");
    struct series **series = lua_touserdata(lua, -1);
    otlp_connect(request->otlp, sink, batch, series ? *series : NULL);
    lua_pop(lua, 4);
    return request;
}

static struct otlp_plan *check_plan(lua_State *lua, int index) {
    return *(struct otlp_plan **)luaL_checkudata(lua, index, PLAN_CLASS);
}

// A number would become a text that nothing holds.
static struct otlp_text check_text(lua_State *lua, int index) {
    struct otlp_text text;
    luaL_checktype(lua, index, LUA_TSTRING);
    text.data = lua_tolstring(lua, index, &text.len);
    return text;
}

// Field `name` of the table at index: "" when it is nil. It belongs to the table.
static struct otlp_text field_text(lua_State *lua, int index, const char *name) {
    const char *value = luax_field_string(lua, index, name, "");
    return (struct otlp_text){value, strlen(value)};
}

static void check_metric(lua_State *lua, int index, struct otlp_metric *metric) {
    static const char *const kinds[] = {[OTLP_GAUGE] = "gauge", [OTLP_SUM] = "sum", [OTLP_COUNTER] = "counter", NULL};
    static const char *const types[] = {"int", "double", NULL};
    luaL_checktype(lua, index, LUA_TTABLE);
    metric->name = field_text(lua, index, "name");
    metric->unit = field_text(lua, index, "unit");
    metric->description = field_text(lua, index, "description");
    if (!metric->name.len) luaL_error(lua, "the metric has no name");
    lua_getfield(lua, index, "kind");
    lua_getfield(lua, index, "type");
    metric->kind = (enum otlp_kind)luaL_checkoption(lua, lua_gettop(lua) - 1, "gauge", kinds);
    metric->is_double = luaL_checkoption(lua, lua_gettop(lua), "int", types) == 1;
    lua_pop(lua, 2);
}

// Answers with a sink's result: true; false: no room; or nil and the cause.
static int push_result(lua_State *lua, const char *what, enum sink_result result, const char *error) {
    if (result == SINK_ERROR) return luax_fail(lua, "%s: %s", what, error);
    lua_pushboolean(lua, result == SINK_OK);
    return 1;
}

// ------------------------------------------------------------------------------------------------ plan

// Pushes element `at` of the list at index, a table, and its first two elements, texts; the second may be a number when
// `numbers` says so.
static void push_pair(lua_State *lua, int index, int at, bool numbers) {
    lua_rawgeti(lua, index, at);
    if (lua_istable(lua, -1)) {
        lua_rawgeti(lua, -1, 1);
        lua_rawgeti(lua, -2, 2);
        if (lua_type(lua, -2) == LUA_TSTRING &&
            (lua_type(lua, -1) == LUA_TSTRING || (numbers && lua_type(lua, -1) == LUA_TNUMBER)))
            return;
        luaL_error(lua, "a list of { name, text } is expected, element %d is { %s, %s }", at, luaL_typename(lua, -2),
                   luaL_typename(lua, -1));
    }
    luaL_error(lua, "a list of { name, text } is expected, element %d is a %s", at, luaL_typename(lua, -1));
}

// Field `name` of the table at index, a list or nil; pushes it and returns its length.
static int push_list(lua_State *lua, int index, const char *name) {
    lua_getfield(lua, index, name);
    if (lua_isnil(lua, -1)) return 0;
    luaL_checktype(lua, -1, LUA_TTABLE);
    return (int)lua_objlen(lua, -1);
}

static void plan_add_point(lua_State *lua, struct otlp_plan *plan, int index) {
    struct otlp_metric metric;
    lua_getfield(lua, index, "metric");
    check_metric(lua, lua_gettop(lua), &metric);
    const char *column = luax_field_string(lua, index, "column", NULL);
    if (!column) luaL_error(lua, "metric %s has no column", metric.name.data);
    otlp_plan_point(plan, &metric, column);
    int count = push_list(lua, index, "constants");
    for (int i = 1; i <= count; i++, lua_pop(lua, 3)) {
        push_pair(lua, lua_gettop(lua), i, false);
        otlp_plan_constant(plan, check_text(lua, -2), check_text(lua, -1));
    }
    count = push_list(lua, index, "columns");
    for (int i = 1; i <= count; i++, lua_pop(lua, 3)) {
        push_pair(lua, lua_gettop(lua), i, false);
        otlp_plan_column(plan, check_text(lua, -2), lua_tostring(lua, -1));
    }
    lua_pop(lua, 3);
}

// plan{resource = {{attribute, column}..}, identity = {column..}, reset = column, points = {{metric = {name, unit,
// description, kind, type}, column, constants = {{attribute, text}..}, columns = {{attribute, column}..}}..}} -> plan
static int l_plan(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_settop(lua, 1);
    struct otlp_plan **handle = luax_new(lua, PLAN_CLASS, sizeof *handle);
    struct otlp_plan *plan = *handle = otlp_plan_new();
    int count = push_list(lua, 1, "resource");
    for (int i = 1; i <= count; i++, lua_pop(lua, 3)) {
        push_pair(lua, 3, i, false);
        otlp_plan_resource(plan, check_text(lua, -2), lua_tostring(lua, -1));
    }
    lua_settop(lua, 2);
    count = push_list(lua, 1, "identity");
    for (int i = 1; i <= count; i++, lua_pop(lua, 1)) {
        lua_rawgeti(lua, 3, i);
        if (lua_type(lua, -1) != LUA_TSTRING) luaL_error(lua, "identity: a list of columns is expected");
        otlp_plan_identity(plan, lua_tostring(lua, -1));
    }
    lua_settop(lua, 2);
    const char *reset = luax_field_string(lua, 1, "reset", NULL);
    if (reset) otlp_plan_reset(plan, reset);
    count = push_list(lua, 1, "points");
    for (int i = 1; i <= count; i++, lua_pop(lua, 1)) {
        lua_rawgeti(lua, 3, i);
        luaL_checktype(lua, -1, LUA_TTABLE);
        plan_add_point(lua, plan, lua_gettop(lua));
    }
    lua_settop(lua, 2);
    return 1;
}

static int l_plan_gc(lua_State *lua) {
    struct otlp_plan **handle = luaL_checkudata(lua, 1, PLAN_CLASS);
    otlp_plan_free(*handle);
    *handle = NULL;
    return 0;
}

// ------------------------------------------------------------------------------------------------ series

static struct series *check_series(lua_State *lua) {
    return *(struct series **)luaL_checkudata(lua, 1, SERIES_CLASS);
}

// series() -> an empty store of start times
static int l_series(lua_State *lua) {
    struct series **handle = luax_new(lua, SERIES_CLASS, sizeof *handle);
    *handle = series_new();
    return 1;
}

// series:forget(time_us): drops series that were last observed before
static int l_series_forget(lua_State *lua) {
    series_forget(check_series(lua), (int64_t)luaL_checknumber(lua, 2));
    return 0;
}

// series:count() -> series, bytes
static int l_series_count(lua_State *lua) {
    lua_pushnumber(lua, (double)series_count(check_series(lua)));
    lua_pushnumber(lua, (double)series_memory(check_series(lua)));
    return 2;
}

static int l_series_gc(lua_State *lua) {
    struct series **handle = luaL_checkudata(lua, 1, SERIES_CLASS);
    series_free(*handle);
    *handle = NULL;
    return 0;
}

// ------------------------------------------------------------------------------------------------ request

// The common attributes: {{name, text | integer}..} at field `resource`.
static void add_common(lua_State *lua, struct otlp_request *request) {
    int count = push_list(lua, 1, "resource");
    int list = lua_gettop(lua);
    for (int i = 1; i <= count; i++, lua_pop(lua, 3)) {
        push_pair(lua, list, i, true);
        if (lua_type(lua, -1) == LUA_TNUMBER) {
            double value = lua_tonumber(lua, -1);
            if (!(value >= -0x1p53 && value <= 0x1p53) || (double)(int64_t)value != value)
                luaL_error(lua, "attribute %s: a number there must be an integer", lua_tostring(lua, -2));
            otlp_common_int(request, check_text(lua, -2), (int64_t)value);
        } else {
            otlp_common_text(request, check_text(lua, -2), check_text(lua, -1));
        }
    }
    lua_pop(lua, 1);
}

// request{scope, scope_version, key, time = us, sink, batch | nil, series | nil, resource = {{name, value}..}} ->
// request
static int l_request(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_settop(lua, 1);
    struct otlp_options options = {
        .scope = field_text(lua, 1, "scope"),
        .scope_version = field_text(lua, 1, "scope_version"),
        .time_us = luax_field_int(lua, 1, "time", 0),
    };
    lua_getfield(lua, 1, "key");
    options.key = check_text(lua, 2);
    lua_newtable(lua);
    lua_getfield(lua, 1, "sink");
    luax_check_interface(lua, 4, LUAX_SINK, "option 'sink': a topic");
    lua_setfield(lua, 3, "sink");
    lua_getfield(lua, 1, "batch");
    if (!lua_isnil(lua, 4)) luax_check_interface(lua, 4, LUAX_BATCH, "option 'batch': a batch");
    lua_setfield(lua, 3, "batch");
    lua_getfield(lua, 1, "series");
    if (!lua_isnil(lua, 4)) luaL_checkudata(lua, 4, SERIES_CLASS);
    lua_setfield(lua, 3, "series");
    struct request *request = luax_new(lua, REQUEST_CLASS, sizeof *request);
    request->otlp = otlp_new(&options);
    lua_pushvalue(lua, 3);
    lua_setfenv(lua, -2);
    add_common(lua, request->otlp);
    return 1;
}

static int l_request_gc(lua_State *lua) {
    struct request *request = luaL_checkudata(lua, 1, REQUEST_CLASS);
    otlp_free(request->otlp);
    request->otlp = NULL;
    return 0;
}

static const PGresult *check_chunk(lua_State *lua, struct otlp_plan *plan) {
    const PGresult *result = luax_check_interface(lua, 2, LUAX_PGRESULT, "a result (and not closed)");
    const char *missing = otlp_plan_bind(plan, result);
    if (missing) luaL_error(lua, "the query's result has no column '%s', which the plan names", missing);
    return result;
}

// The rest of a chunk's rows, by one of the functions that take rows. again: the last call answered false.
static int take_rows(lua_State *lua, const char *what, struct request *request, bool again,
                     enum sink_result (*take)(struct otlp_plan *, struct otlp_request *, const PGresult *, int *,
                                              char *, size_t)) {
    struct otlp_plan *plan = check_plan(lua, 3);
    const PGresult *chunk = check_chunk(lua, plan);
    char error[256] = "";
    if (!again) request->row = 0;
    enum sink_result result = take(plan, request->otlp, chunk, &request->row, error, sizeof error);
    request->waits = result == SINK_FULL;
    return push_result(lua, what, result, error);
}

// Rows that waited and were given up are half a chunk.
static bool check_again(lua_State *lua, const struct request *request) {
    bool again = request->waits && lua_toboolean(lua, 4);
    if (request->waits && !again) luaL_error(lua, "rows of another result still wait for room: discard the request");
    return again;
}

// request:rows(chunk, plan, again) -> true | false | nil, error: each row a resource. After false: the same once more,
// with again = true
static int l_rows(lua_State *lua) {
    struct request *request = check_request(lua);
    bool again = check_again(lua, request);
    if (!again && otlp_resource_is_open(request->otlp)) luaL_error(lua, "the resource before has not been ended");
    return take_rows(lua, "otlp.rows", request, again, otlp_plan_rows);
}

// request:begin({{name, text}..} | nil): a resource that points are added to
static int l_begin(lua_State *lua) {
    struct request *request = check_request(lua);
    if (otlp_resource_is_open(request->otlp)) luaL_error(lua, "the resource before has not been ended");
    if (!lua_isnoneornil(lua, 2)) luaL_checktype(lua, 2, LUA_TTABLE);
    int count = lua_istable(lua, 2) ? (int)lua_objlen(lua, 2) : 0;
    for (int i = 1; i <= count; i++, lua_pop(lua, 3)) push_pair(lua, 2, i, false);
    otlp_resource_begin(request->otlp);
    for (int i = 1; i <= count; i++, lua_pop(lua, 3)) {
        push_pair(lua, 2, i, false);
        otlp_resource_text(request->otlp, check_text(lua, -2), check_text(lua, -1));
    }
    return 0;
}

static void check_open(lua_State *lua, const struct request *request) {
    if (!otlp_resource_is_open(request->otlp)) luaL_error(lua, "no resource has been begun");
}

// request:points(chunk, plan, again) -> true | false | nil, error: the points of all rows into the open resource. After
// false as above
static int l_points(lua_State *lua) {
    struct request *request = check_request(lua);
    bool again = check_again(lua, request);
    check_open(lua, request);
    return take_rows(lua, "otlp.points", request, again, otlp_plan_points);
}

static void check_value(lua_State *lua, int index, bool is_double, struct series_value *value) {
    value->is_double = is_double;
    if (lua_type(lua, index) == LUA_TNUMBER && is_double) {
        value->real = lua_tonumber(lua, index);
        luaL_argcheck(lua, isfinite(value->real), index, "a number is expected, not NaN or infinity");
    } else if (lua_type(lua, index) == LUA_TNUMBER) {
        double number = lua_tonumber(lua, index);
        luaL_argcheck(lua, number >= -0x1p63 && number < 0x1p63, index, "does not fit into 64 bits");
        value->integer = (int64_t)number;
        luaL_argcheck(lua, (double)value->integer == number, index, "an integer is expected: the metric's type is int");
    } else if (lua_type(lua, index) != LUA_TSTRING ||
               otlp_parse_number(lua_tostring(lua, index), is_double, value) < 0) {
        luaL_argerror(lua, index, "a number is expected, or a text that is one");
    }
}

// request:point(metric, value[, {{name, text}..}]) -> whether request:flush is due. value is a number, or a text for
// integers beyond 2^53
static int l_point(lua_State *lua) {
    enum { MAX_ATTRIBUTES = 16 };
    struct request *request = check_request(lua);
    struct otlp_attribute attributes[MAX_ATTRIBUTES];
    struct otlp_metric metric;
    struct series_value value;
    check_metric(lua, 2, &metric);
    check_value(lua, 3, metric.is_double, &value);
    check_open(lua, request);
    check_again(lua, request);
    if (!lua_isnoneornil(lua, 4)) luaL_checktype(lua, 4, LUA_TTABLE);
    int count = lua_istable(lua, 4) ? (int)lua_objlen(lua, 4) : 0;
    luaL_argcheck(lua, count <= MAX_ATTRIBUTES, 4, "too many attributes");
    for (int i = 1; i <= count; i++, lua_pop(lua, 3)) {
        push_pair(lua, 4, i, false);
        attributes[i - 1] = (struct otlp_attribute){check_text(lua, -2), check_text(lua, -1)};
    }
    otlp_point(request->otlp, &metric, value, attributes, (size_t)count);
    lua_pushboolean(lua, otlp_is_large(request->otlp));
    return 1;
}

// request:flush() -> true | false | nil, error: the open resource's points into records; more may follow
static int l_flush(lua_State *lua) {
    struct request *request = check_request(lua);
    char error[256] = "";
    return push_result(lua, "otlp", otlp_flush(request->otlp, error, sizeof error), error);
}

// request:end_resource() -> true | false | nil, error
static int l_end_resource(lua_State *lua) {
    struct request *request = check_request(lua);
    char error[256] = "";
    if (!otlp_resource_is_open(request->otlp)) {
        lua_pushboolean(lua, 1);
        return 1;
    }
    return push_result(lua, "otlp", otlp_resource_end(request->otlp, error, sizeof error), error);
}

// request:finish() -> true | false | nil, error: puts what has not been put
static int l_finish(lua_State *lua) {
    struct request *request = check_request(lua);
    char error[256] = "";
    if (otlp_resource_is_open(request->otlp)) luaL_error(lua, "a resource has not been ended");
    return push_result(lua, "otlp.finish", otlp_finish(request->otlp, error, sizeof error), error);
}

// request:discard(): drops what has not been put
static int l_discard(lua_State *lua) {
    struct request *request = luaL_checkudata(lua, 1, REQUEST_CLASS);
    otlp_discard(request->otlp);
    request->waits = false;
    return 0;
}

// request:counts() -> resources, points, records, values that were no numbers, and the first one's metric
static int l_counts(lua_State *lua) {
    const struct request *request = luaL_checkudata(lua, 1, REQUEST_CLASS);
    struct otlp_counts counts = otlp_counts(request->otlp);
    lua_pushnumber(lua, (double)counts.resources);
    lua_pushnumber(lua, (double)counts.points);
    lua_pushnumber(lua, (double)counts.records);
    lua_pushnumber(lua, (double)counts.unreadable);
    if (!counts.unreadable) return 4;
    lua_pushlstring(lua, counts.unreadable_metric.data, counts.unreadable_metric.len);
    return 5;
}

static const luaL_Reg plan_meta[] = {{"__gc", l_plan_gc}, {NULL, NULL}};
static const luaL_Reg series_meta[] = {{"__gc", l_series_gc}, {NULL, NULL}};
static const luaL_Reg request_meta[] = {{"__gc", l_request_gc}, {NULL, NULL}};

static const luaL_Reg series_methods[] = {{"forget", l_series_forget}, {"count", l_series_count}, {NULL, NULL}};
static const luaL_Reg request_methods[] = {
    {"rows", l_rows},     {"begin", l_begin},     {"points", l_points},
    {"point", l_point},   {"flush", l_flush},     {"end_resource", l_end_resource},
    {"finish", l_finish}, {"discard", l_discard}, {"counts", l_counts},
    {NULL, NULL},
};
static const luaL_Reg functions[] = {
    {"request", l_request},
    {"plan", l_plan},
    {"series", l_series},
    {NULL, NULL},
};

int luaopen_dbobs_otlp(lua_State *lua) {
    luax_class(lua, PLAN_CLASS, NULL, plan_meta);
    luax_class(lua, SERIES_CLASS, series_methods, series_meta);
    luax_class(lua, REQUEST_CLASS, request_methods, request_meta);
    lua_settop(lua, 0);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
