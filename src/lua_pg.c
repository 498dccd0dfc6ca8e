// Binding "dbobs.core.pg": connections of the primitive pg.c. A connection's userdata owns its struct pg; the results
// it gives are the objects of dbobs.core.pgresult. Nothing here blocks or yields: what is not there yet is false, and
// the caller waits for the connection (LUAX_WAKEUP) and tries again. lua/dbobs/postgres.lua does that.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings.h"
#include "luax.h"
#include "pg.h"
#include "pg_params.h"
#include "vm.h"

#define PG_CLASS "dbobs.pg"
#define RESULT_CLASS "dbobs.pgresult"

static struct pg *check_pg(lua_State *lua) {
    return *(struct pg **)luaL_checkudata(lua, 1, PG_CLASS);
}

static void set_field(lua_State *lua, const char *name, const char *text) {
    if (!text) return;
    lua_pushstring(lua, text);
    lua_setfield(lua, -2, name);
}

// Connections: state.

static int push_lost(lua_State *lua, const struct pg *pg) {
    lua_pushnil(lua);
    lua_pushstring(lua, pg->state == PG_CLOSED ? "the connection is closed" : pg->error);
    lua_pushstring(lua, pg->sqlstate);
    lua_pushboolean(lua, pg->timed_out);
    return 4;
}

// connected() -> true | false: wait | nil, cause, sqlstate | nil, timed out?
static int l_connected(lua_State *lua) {
    struct pg *pg = check_pg(lua);
    if (pg->state == PG_LOST || pg->state == PG_CLOSED) return push_lost(lua, pg);
    lua_pushboolean(lua, pg->state == PG_READY);
    return 1;
}

// alive() -> whether it can still be used; looks at the socket without waiting
static int l_alive(lua_State *lua) {
    lua_pushboolean(lua, pg_alive(check_pg(lua)));
    return 1;
}

static int l_in_flight(lua_State *lua) {
    lua_pushboolean(lua, check_pg(lua)->in_flight);
    return 1;
}

// timed_out() -> whether the last statement was cancelled by its deadline
static int l_timed_out(lua_State *lua) {
    lua_pushboolean(lua, check_pg(lua)->timed_out);
    return 1;
}

static int l_close(lua_State *lua) {
    pg_close(check_pg(lua));
    return 0;
}

static int l_gc(lua_State *lua) {
    struct pg **slot = luaL_checkudata(lua, 1, PG_CLASS);
    if (*slot) pg_free(*slot);
    *slot = NULL;
    return 0;
}

// info() -> {host, port, user, dbname, server_version, pid, ssl} of a ready connection
static int l_info(lua_State *lua) {
    struct pg *pg = check_pg(lua);
    if (pg->state != PG_READY) return push_lost(lua, pg);
    lua_newtable(lua);
    set_field(lua, "host", PQhost(pg->conn));
    set_field(lua, "port", PQport(pg->conn));
    set_field(lua, "user", PQuser(pg->conn));
    set_field(lua, "dbname", PQdb(pg->conn));
    lua_pushinteger(lua, PQserverVersion(pg->conn));
    lua_setfield(lua, -2, "server_version");
    lua_pushinteger(lua, PQbackendPID(pg->conn));
    lua_setfield(lua, -2, "pid");
    lua_pushboolean(lua, PQsslInUse(pg->conn));
    lua_setfield(lua, -2, "ssl");
    return 1;
}

// parameter(name) -> what the server reports of itself, like TimeZone, or nil
static int l_parameter(lua_State *lua) {
    struct pg *pg = check_pg(lua);
    const char *name = luaL_checkstring(lua, 2);
    lua_pushstring(lua, pg->state == PG_READY ? PQparameterStatus(pg->conn, name) : NULL);
    return 1;
}

// transaction() -> "idle" | "active" | "open" | "failed" | "unknown"
static int l_transaction(lua_State *lua) {
    static const char *const names[] = {"idle", "active", "open", "failed", "unknown"};
    struct pg *pg = check_pg(lua);
    lua_pushstring(lua, names[pg->state == PG_READY ? PQtransactionStatus(pg->conn) : PQTRANS_UNKNOWN]);
    return 1;
}

// Connections: sending.

static const char *argument(lua_State *lua, int index) {
    size_t len;
    char number[PG_NUMBER_SIZE];
    switch (lua_type(lua, index)) {
    case LUA_TNIL:
        return NULL;
    case LUA_TBOOLEAN:
        return lua_toboolean(lua, index) ? "t" : "f";
    case LUA_TNUMBER:
        pg_number_text(lua_tonumber(lua, index), number);
        lua_pushstring(lua, number);
        lua_replace(lua, index);
        return lua_tostring(lua, index);
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(lua, index)) return NULL;
        break;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(lua, index, &len);
        if (strlen(text) == len) return text;
        luaL_argerror(lua, index, "a text cannot hold a zero byte: for bytea pass postgres.bytea(text)");
    }
    }
    luaL_argerror(lua, index,
                  lua_pushfstring(lua, "nil, boolean, number or string expected as a statement's argument, got %s",
                                  luaL_typename(lua, index)));
    return NULL;
}

// The arguments from index 3 on, in memory that the stack holds.
static const char *const *arguments(lua_State *lua, int *count) {
    *count = lua_gettop(lua) - 2;
    const char **values = lua_newuserdata(lua, ((size_t)*count + 1) * sizeof *values);
    for (int i = 0; i < *count; i++) values[i] = argument(lua, i + 3);
    return values;
}

static const char *check_text(lua_State *lua, int index) {
    size_t len;
    const char *text = luaL_checklstring(lua, index, &len);
    luaL_argcheck(lua, strlen(text) == len, index, "a statement cannot hold a zero byte");
    return text;
}

static struct pg *check_ready(lua_State *lua) {
    struct pg *pg = check_pg(lua);
    return pg->state == PG_READY ? pg : NULL;
}

static int push_sent(lua_State *lua, struct pg *pg, int failed) {
    if (pg->state != PG_READY) return push_lost(lua, pg);
    if (failed) return luax_fail(lua, "%s", PQerrorMessage(pg->conn));
    lua_pushboolean(lua, 1);
    return 1;
}

// query(sql, ...) -> true | nil, cause. Without arguments, outside of a pipeline, sql may hold several statements.
static int l_query(lua_State *lua) {
    struct pg *pg = check_ready(lua);
    if (!pg) return push_lost(lua, check_pg(lua));
    int count;
    const char *sql = check_text(lua, 2);
    const char *const *values = arguments(lua, &count);
    return push_sent(lua, pg, pg_send_query(pg, sql, count ? count : -1, values));
}

// prepare(name, sql) -> true | nil, cause
static int l_prepare(lua_State *lua) {
    struct pg *pg = check_ready(lua);
    if (!pg) return push_lost(lua, check_pg(lua));
    return push_sent(lua, pg, pg_send_prepare(pg, check_text(lua, 2), check_text(lua, 3)));
}

// execute(name, ...) -> true | nil, cause
static int l_execute(lua_State *lua) {
    struct pg *pg = check_ready(lua);
    if (!pg) return push_lost(lua, check_pg(lua));
    int count;
    const char *name = check_text(lua, 2);
    const char *const *values = arguments(lua, &count);
    return push_sent(lua, pg, pg_send_execute(pg, name, count, values));
}

// deallocate(name) -> true | nil, cause: forgets what was prepared; no error when there is nothing of that name
static int l_deallocate(lua_State *lua) {
    struct pg *pg = check_ready(lua);
    if (!pg) return push_lost(lua, check_pg(lua));
    return push_sent(lua, pg, pg_send_deallocate(pg, check_text(lua, 2)));
}

// pipeline(on) -> true | nil, cause
static int l_pipeline(lua_State *lua) {
    struct pg *pg = check_ready(lua);
    if (!pg) return push_lost(lua, check_pg(lua));
    return push_sent(lua, pg, pg_set_pipeline(pg, lua_toboolean(lua, 2)));
}

// sync() -> true | nil, cause: sends what the pipeline holds; a statement that fails ends the others before this point
static int l_sync(lua_State *lua) {
    struct pg *pg = check_ready(lua);
    if (!pg) return push_lost(lua, check_pg(lua));
    return push_sent(lua, pg, pg_sync(pg));
}

// stream(rows, binary): results come in chunks of so many rows from the next statement on; 0 ends that
static int l_stream(lua_State *lua) {
    struct pg *pg = check_pg(lua);
    pg->chunk_rows = (int)luaL_checkinteger(lua, 2);
    pg->binary = lua_toboolean(lua, 3);
    return 0;
}

static void set_deadline(struct pg *pg, double seconds) {
    pg_set_deadline(pg, seconds <= 0 ? 0 : seconds < 0.001 ? 1 : (uint64_t)(seconds * 1e3));
}

// end_deadline(): the time until the next take is the caller's
static int l_end_deadline(lua_State *lua) {
    set_deadline(check_pg(lua), 0);
    return 0;
}

static int l_cancel(lua_State *lua) {
    pg_cancel_statement(check_pg(lua));
    return 0;
}

// Connections: taking.

static void push_error(lua_State *lua, const PGresult *result) {
    static const struct {
        const char *name;
        int field;
    } fields[] = {
        {"sqlstate", PG_DIAG_SQLSTATE},
        {"severity", PG_DIAG_SEVERITY_NONLOCALIZED},
        {"message", PG_DIAG_MESSAGE_PRIMARY},
        {"detail", PG_DIAG_MESSAGE_DETAIL},
        {"hint", PG_DIAG_MESSAGE_HINT},
        {"position", PG_DIAG_STATEMENT_POSITION},
        {"context", PG_DIAG_CONTEXT},
        {"schema", PG_DIAG_SCHEMA_NAME},
        {"table", PG_DIAG_TABLE_NAME},
        {"column", PG_DIAG_COLUMN_NAME},
        {"constraint", PG_DIAG_CONSTRAINT_NAME},
    };
    lua_pushliteral(lua, "error");
    lua_newtable(lua);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        set_field(lua, fields[i].name, PQresultErrorField(result, fields[i].field));
    if (!PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)) set_field(lua, "message", PQresultErrorMessage(result));
    lua_pushnil(lua);
}

static bool is_rows(const PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_TUPLES_CHUNK;
}

// Pushes the name of its kind and two values that belong to it; `slot` keeps rows and is cleared of anything else.
static void push_result(lua_State *lua, PGresult **slot) {
    static const char *const kinds[] = {
        [PGRES_TUPLES_OK] = "rows",   [PGRES_TUPLES_CHUNK] = "chunk", [PGRES_COMMAND_OK] = "done",
        [PGRES_EMPTY_QUERY] = "done", [PGRES_PIPELINE_SYNC] = "sync", [PGRES_COPY_IN] = "copy",
        [PGRES_COPY_OUT] = "copy",    [PGRES_COPY_BOTH] = "copy",     [PGRES_PIPELINE_ABORTED] = "aborted",
        [PGRES_BAD_RESPONSE] = NULL,  [PGRES_NONFATAL_ERROR] = NULL,  [PGRES_FATAL_ERROR] = NULL,
    };
    PGresult *result = *slot;
    ExecStatusType status = PQresultStatus(result);
    const char *kind = (size_t)status < sizeof kinds / sizeof *kinds ? kinds[status] : NULL;
    bool rows = is_rows(result);
    if (kind) {
        lua_pushstring(lua, kind);
        if (rows) lua_pushvalue(lua, -2);
        else lua_pushnil(lua);
        lua_pushstring(lua, PQcmdStatus(result));
    } else {
        push_error(lua, result);
    }
    if (rows) return;
    PQclear(result);
    *slot = NULL;
}

// Pushes the object for the next result, which is there before libpq gives one, so that it has an owner. What the
// connection's environment keeps is used again until rows are in it.
static PGresult **push_slot(lua_State *lua) {
    lua_getfenv(lua, 1);
    lua_rawgeti(lua, -1, 1);
    if (lua_isnil(lua, -1) || *(PGresult **)lua_touserdata(lua, -1)) {
        lua_pop(lua, 1);
        luax_new(lua, RESULT_CLASS, sizeof(PGresult *));
        lua_pushvalue(lua, -1);
        lua_rawseti(lua, -3, 1);
    }
    lua_remove(lua, -2);
    return lua_touserdata(lua, -1);
}

static void forget_slot(lua_State *lua) {
    lua_getfenv(lua, 1);
    lua_pushnil(lua);
    lua_rawseti(lua, -2, 1);
    lua_pop(lua, 1);
}

// take(seconds, rows_only) -> false: wait | "rows" or "chunk", result, command, n | "done", nil, command | "error",
// fields, nil, n | "end" | "sync" | "aborted" | "copy" | nil, cause, sqlstate | nil: the connection is lost. From the
// first wait for something on it must come within so many seconds, see pg_set_deadline. Of a pipeline n says which
// statement it is; rows_only leaves out what brings neither rows nor an error.
static int l_take(lua_State *lua) {
    struct pg *pg = check_pg(lua);
    double seconds = luaL_optnumber(lua, 2, 0);
    bool rows_only = lua_toboolean(lua, 3);
    PGresult **slot = push_slot(lua);
    enum pg_take taken = rows_only ? pg_take_rows(pg, slot) : pg_take(pg, slot);
    if (*slot && is_rows(*slot)) forget_slot(lua);
    switch (taken) {
    case PG_TAKE_WAIT:
        if (!pg->waited) set_deadline(pg, seconds);
        pg->waited = true;
        lua_pushboolean(lua, 0);
        return 1;
    case PG_TAKE_END:
        lua_pushliteral(lua, "end");
        return 1;
    case PG_TAKE_RESULT:
        push_result(lua, slot);
        lua_pushinteger(lua, (lua_Integer)pg->statement);
        return 4;
    case PG_TAKE_LOST:
        break;
    }
    return push_lost(lua, pg);
}

// notification() -> false: wait | {channel, payload, pid} | nil, cause
static int l_notification(lua_State *lua) {
    struct pg *pg = check_pg(lua);
    PGnotify *notification = pg_notification(pg);
    if (!notification && pg->state != PG_READY) return push_lost(lua, pg);
    if (!notification) {
        lua_pushboolean(lua, 0);
        return 1;
    }
    lua_newtable(lua);
    set_field(lua, "channel", notification->relname);
    set_field(lua, "payload", notification->extra);
    lua_pushinteger(lua, notification->be_pid);
    lua_setfield(lua, -2, "pid");
    PQfreemem(notification);
    return 1;
}

// keep_notices(on): notices are dropped until somebody wants them
static int l_keep_notices(lua_State *lua) {
    check_pg(lua)->keep_notices = lua_toboolean(lua, 2);
    return 0;
}

// notice() -> {severity, sqlstate, message, detail, hint} | nil
static int l_notice(lua_State *lua) {
    struct pg_notice *notice = pg_take_notice(check_pg(lua));
    if (!notice) return 0;
    lua_newtable(lua);
    set_field(lua, "severity", notice->severity);
    set_field(lua, "sqlstate", notice->sqlstate);
    set_field(lua, "message", notice->message);
    set_field(lua, "detail", notice->detail);
    set_field(lua, "hint", notice->hint);
    pg_notice_free(notice);
    return 1;
}

static void *wakeup_of(void *userdata) {
    struct pg *pg = *(struct pg **)userdata;
    return pg ? &pg->wakeup : NULL;
}

static void *pg_of(void *userdata) {
    return *(struct pg **)userdata;
}

// The module.

// Copies a table of texts into lists that the stack keeps alive together with the table.
static void check_params(lua_State *lua, int index, struct pg_params *params) {
    luaL_checktype(lua, index, LUA_TTABLE);
    size_t count = 0;
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1)) {
        if (lua_type(lua, -1) != LUA_TSTRING || lua_type(lua, -2) != LUA_TSTRING)
            luaL_argerror(lua, index, "table of texts expected");
        count++;
    }
    params->keywords = lua_newuserdata(lua, 2 * (count + 1) * sizeof *params->keywords);
    params->values = params->keywords + count + 1;
    params->count = params->capacity = count;
    size_t i = 0;
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1), i++) {
        params->keywords[i] = (char *)lua_tostring(lua, -2);
        params->values[i] = (char *)lua_tostring(lua, -1);
    }
    params->keywords[count] = params->values[count] = NULL;
}

// connect(params, seconds, password_command | nil) -> connection, which is connecting. params: libpq's, all texts
static int l_connect(lua_State *lua) {
    struct pg_params params;
    double seconds = luaL_checknumber(lua, 2);
    const char *command = luaL_optstring(lua, 3, NULL);
    check_params(lua, 1, &params);
    struct pg **slot = luax_new(lua, PG_CLASS, sizeof *slot);
    struct pg_options options = {
        .keywords = (const char *const *)params.keywords,
        .values = (const char *const *)params.values,
        .password_command = command,
        .workers = vm_of(lua)->workers,
        .timeout_ms = (uint64_t)(seconds * 1e3),
    };
    *slot = pg_connect(&vm_of(lua)->loop, &options);
    lua_newtable(lua);
    lua_setfenv(lua, -2);
    return 1;
}

// effective(params) -> {host, hostaddr, port, user, dbname, connect_timeout, ...} | nil, cause: every parameter that
// has a value after defaults, environment and service file, but for secrets. Opens nothing but files.
static int l_effective(lua_State *lua) {
    struct pg_params params;
    char error[512];
    check_params(lua, 1, &params);
    PGconn *conn = pg_params_resolve(&params, error, sizeof error);
    if (!conn) return luax_fail(lua, "%s", error);
    PQconninfoOption *options = PQconninfo(conn);
    lua_newtable(lua);
    for (PQconninfoOption *option = options; option && option->keyword; option++) {
        bool secret = *option->dispchar == '*' || strstr(option->keyword, "password");
        if (!secret && strcmp(option->keyword, PG_PARAMS_REFUSED) != 0) set_field(lua, option->keyword, option->val);
    }
    // Without any host it is the default one, the directory of the local socket.
    lua_getfield(lua, -1, "host");
    bool named = !lua_isnil(lua, -1);
    lua_pop(lua, 1);
    if (!named) set_field(lua, "host", PQhost(conn));
    PQconninfoFree(options);
    PQfinish(conn);
    return 1;
}

static const luaL_Reg methods[] = {
    {"connected", l_connected},
    {"alive", l_alive},
    {"in_flight", l_in_flight},
    {"timed_out", l_timed_out},
    {"close", l_close},
    {"info", l_info},
    {"parameter", l_parameter},
    {"transaction", l_transaction},
    {"query", l_query},
    {"prepare", l_prepare},
    {"execute", l_execute},
    {"deallocate", l_deallocate},
    {"pipeline", l_pipeline},
    {"sync", l_sync},
    {"stream", l_stream},
    {"end_deadline", l_end_deadline},
    {"cancel", l_cancel},
    {"take", l_take},
    {"notification", l_notification},
    {"keep_notices", l_keep_notices},
    {"notice", l_notice},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__gc", l_gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"connect", l_connect},
    {"effective", l_effective},
    {NULL, NULL},
};

int luaopen_dbobs_pg(lua_State *lua) {
    lua_getglobal(lua, "require");
    lua_pushliteral(lua, "dbobs.core.pgresult");
    lua_call(lua, 1, 0);
    luax_class(lua, PG_CLASS, methods, meta);
    luax_offer(lua, LUAX_WAKEUP, wakeup_of);
    luax_offer(lua, LUAX_PG, pg_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    lua_pushlightuserdata(lua, NULL);
    lua_setfield(lua, -2, "null");
    return 1;
}
