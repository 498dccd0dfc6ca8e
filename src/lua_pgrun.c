// Binding "dbobs.core.pgrun": the statements of a load test over a connection of dbobs.core.pg, with few calls and no
// garbage for each: arguments go out from the C stack, rows are counted and dropped, times go into a histogram. What
// sends a statement also waits for its result, as a task does (task_wait); nothing here blocks.
#include <hdr/hdr_histogram.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "buf.h"
#include "clock.h"
#include "luax.h"
#include "pg.h"
#include "pg_inline.h"
#include "pg_params.h"
#include "task.h"

#define RUN_CLASS "dbobs.pgrun"
#define MAX_ARGUMENTS 100

// One connection's statement in flight. `pg` lives as long as its userdata, which the environment holds.
struct run {
    struct pg *pg;
    int64_t sent_ns;
    struct hdr_histogram *times;  // takes the statement's time; NULL: none. The caller keeps it
    double rows;
    char sqlstate[6];
    char *message, *detail;  // of the first statement that failed
    unsigned failed;         // which one of a pipeline it was; 0: none
    struct buf text;
};

struct arguments {
    int count;
    const char *values[MAX_ARGUMENTS];
    bool quoted[MAX_ARGUMENTS];
    char numbers[MAX_ARGUMENTS][PG_NUMBER_SIZE];
};

static struct run *check_run(lua_State *lua) {
    return luax_self(lua, RUN_CLASS);
}

// Digits of an integral number, much faster than printf; -1 when it is none.
static int put_integer(double number, char *text) {
    if (!(number > -9e15 && number < 9e15)) return -1;
    int64_t value = (int64_t)number;
    if ((double)value != number) return -1;
    char digits[20];
    int n = 0;
    uint64_t left = value < 0 ? (uint64_t)-value : (uint64_t)value;
    do digits[n++] = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0) *text++ = '-';
    while (n) *text++ = digits[--n];
    *text = '\0';
    return 0;
}

static void take_argument(lua_State *lua, int index, struct arguments *arguments, int i) {
    const char **value = &arguments->values[i];
    arguments->quoted[i] = false;
    switch (lua_type(lua, index)) {
    case LUA_TNUMBER:
        *value = arguments->numbers[i];
        if (put_integer(lua_tonumber(lua, index), arguments->numbers[i]))
            pg_number_text(lua_tonumber(lua, index), arguments->numbers[i]);
        return;
    case LUA_TSTRING: {
        size_t len;
        *value = lua_tolstring(lua, index, &len);
        arguments->quoted[i] = true;
        if (strlen(*value) != len) luaL_argerror(lua, index, "a text cannot hold a zero byte");
        return;
    }
    case LUA_TBOOLEAN:
        *value = lua_toboolean(lua, index) ? "true" : "false";
        return;
    case LUA_TNIL:
    case LUA_TNONE:
        *value = NULL;
        return;
    default:
        luaL_argerror(lua, index, "nil, boolean, number or string expected as a statement's argument");
    }
}

static void take_arguments(lua_State *lua, int first, struct arguments *arguments) {
    arguments->count = lua_gettop(lua) - first + 1;
    if (arguments->count > MAX_ARGUMENTS)
        luaL_error(lua, "a statement has %d arguments, at most %d are possible", arguments->count, MAX_ARGUMENTS);
    for (int i = 0; i < arguments->count; i++) take_argument(lua, first + i, arguments, i);
}

static void forget_failure(struct run *run) {
    free(run->message);
    free(run->detail);
    run->message = run->detail = NULL;
    run->failed = 0;
}

// A first statement begins the time.
static void begin(struct run *run, struct hdr_histogram *times) {
    run->times = times;
    if (run->pg->in_flight) return;
    run->sent_ns = clock_monotonic_ns();
    run->rows = 0;
    if (run->failed) forget_failure(run);
}

static int push_lost(lua_State *lua, const struct pg *pg) {
    lua_pushnil(lua);
    lua_pushstring(lua, pg->state == PG_CLOSED ? "the connection is closed" : pg->error);
    lua_pushstring(lua, pg->sqlstate);
    lua_pushnil(lua);
    lua_pushboolean(lua, 1);
    return 5;
}

static int push_sent(lua_State *lua, struct pg *pg, int failed) {
    if (pg->state != PG_READY) return push_lost(lua, pg);
    if (failed) return luax_fail(lua, "%s", PQerrorMessage(pg->conn));
    lua_pushboolean(lua, 1);
    return 1;
}

// Taking.

static char *copy_field(const PGresult *result, int field) {
    const char *text = PQresultErrorField(result, field);
    return text ? xstrdup(text) : NULL;
}

static void note_failure(struct run *run, const PGresult *result) {
    if (run->failed) return;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    snprintf(run->sqlstate, sizeof run->sqlstate, "%s", sqlstate ? sqlstate : "XX000");
    run->message = copy_field(result, PG_DIAG_MESSAGE_PRIMARY);
    if (!run->message) run->message = xstrdup(PQresultErrorMessage(result));
    run->detail = copy_field(result, PG_DIAG_MESSAGE_DETAIL);
    run->failed = run->pg->statement ? run->pg->statement : 1;
}

// The server's count of rows, which is empty for what changes none. strtod would cost more than all else here.
static double count_of(const char *digits) {
    double count = 0;
    for (; *digits >= '0' && *digits <= '9'; digits++) count = count * 10 + (*digits - '0');
    return count;
}

// False when the server waits for the data of a COPY.
static bool take_result(struct run *run, const PGresult *result) {
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_TUPLES_CHUNK:
        run->rows += PQntuples(result);
        break;
    case PGRES_COMMAND_OK:
        run->rows += count_of(PQcmdTuples((PGresult *)result));
        break;
    case PGRES_EMPTY_QUERY:
    case PGRES_PIPELINE_SYNC:
    case PGRES_PIPELINE_ABORTED:
        break;
    case PGRES_COPY_IN:
        return false;
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        run->failed = 1;
        snprintf(run->sqlstate, sizeof run->sqlstate, "0A000");
        run->message = xstrdup("COPY to STDOUT is not possible here; the connection was closed");
        pg_close(run->pg);
        break;
    default:
        note_failure(run, result);
    }
    return true;
}

static int push_end(lua_State *lua, struct run *run) {
    if (run->failed) {
        lua_pushnil(lua);
        lua_pushstring(lua, run->message);
        lua_pushstring(lua, run->sqlstate);
        lua_pushstring(lua, run->detail);
        lua_pushboolean(lua, 0);
        lua_pushinteger(lua, (lua_Integer)run->failed);
        return 6;
    }
    if (run->times) hdr_record_value(run->times, clock_monotonic_ns() - run->sent_ns);
    lua_pushnumber(lua, run->rows);
    return 1;
}

// Pushes false: wait | number of rows | "copy": the server waits for data | nil, message, sqlstate, detail | nil,
// whether the connection is lost, which statement of a pipeline it was. Records the time since the first statement was
// sent.
static int push_taken(lua_State *lua, struct run *run) {
    struct pg *pg = run->pg;
    while (true) {
        PGresult *result;
        switch (pg_take(pg, &result)) {
        case PG_TAKE_WAIT:
            lua_pushboolean(lua, 0);
            return 1;
        case PG_TAKE_END:
            if (pg->in_flight) break;
            return push_end(lua, run);
        case PG_TAKE_RESULT: {
            bool goes_on = take_result(run, result);
            PQclear(result);
            if (goes_on) break;
            lua_pushliteral(lua, "copy");
            return 1;
        }
        case PG_TAKE_LOST:
            if (run->failed) return push_end(lua, run);
            return push_lost(lua, pg);
        }
        // A pipeline ends with its sync.
        if (pg->pipeline && !pg->in_flight) return push_end(lua, run);
    }
}

// take() -> what push_taken pushes
static int l_take(lua_State *lua) {
    return push_taken(lua, check_run(lua));
}

static int answer(lua_State *lua, void *run, const char *reason) {
    if (strcmp(reason, "ready") == 0) return push_taken(lua, run);
    lua_pushboolean(lua, 0);
    lua_pushstring(lua, reason);
    return 2;
}

// Sending. The methods return what take does, or false and the reason for which nobody waits any longer; inside a
// pipeline true.

// Behind the sending of a statement.
static int await(lua_State *lua, struct run *run, int failed) {
    struct pg *pg = run->pg;
    if (pg->state != PG_READY || failed || (pg->pipeline && !pg->syncs)) return push_sent(lua, pg, failed);
    return task_wait(lua, &pg->wakeup, answer, run);
}

// execute(name, times, ...): a prepared statement
static int l_execute(lua_State *lua) {
    struct run *run = check_run(lua);
    if (run->pg->state != PG_READY) return push_lost(lua, run->pg);
    const char *name = luaL_checkstring(lua, 2);
    struct arguments arguments;
    take_arguments(lua, 4, &arguments);
    begin(run, lua_touserdata(lua, 3));
    return await(lua, run, pg_send_execute(run->pg, name, arguments.count, arguments.values));
}

// extended(sql, times, ...): parsed by the server each time
static int l_extended(lua_State *lua) {
    struct run *run = check_run(lua);
    if (run->pg->state != PG_READY) return push_lost(lua, run->pg);
    const char *sql = luaL_checkstring(lua, 2);
    struct arguments arguments;
    take_arguments(lua, 4, &arguments);
    begin(run, lua_touserdata(lua, 3));
    return await(lua, run, pg_send_query(run->pg, sql, arguments.count, arguments.values));
}

// simple(sql, times, ...): the simple protocol, with the arguments put into the text
static int l_simple(lua_State *lua) {
    struct run *run = check_run(lua);
    if (run->pg->state != PG_READY) return push_lost(lua, run->pg);
    const char *sql = luaL_checkstring(lua, 2);
    struct arguments arguments;
    take_arguments(lua, 4, &arguments);
    struct pg_argument inlined[MAX_ARGUMENTS];
    for (int i = 0; i < arguments.count; i++)
        inlined[i] = (struct pg_argument){arguments.values[i], arguments.quoted[i]};
    buf_clear(&run->text);
    if (arguments.count && pg_inline(&run->text, sql, arguments.count, inlined))
        return luaL_error(lua, "a statement has fewer arguments than its text asks for: %s", sql);
    begin(run, lua_touserdata(lua, 3));
    return await(lua, run, pg_send_query(run->pg, arguments.count ? run->text.data : sql, -1, NULL));
}

// prepare(name, sql)
static int l_prepare(lua_State *lua) {
    struct run *run = check_run(lua);
    if (run->pg->state != PG_READY) return push_lost(lua, run->pg);
    const char *name = luaL_checkstring(lua, 2), *sql = luaL_checkstring(lua, 3);
    begin(run, NULL);
    return await(lua, run, pg_send_prepare(run->pg, name, sql));
}

// deallocate(name): forgets what was prepared; no error when there is nothing of that name
static int l_deallocate(lua_State *lua) {
    struct run *run = check_run(lua);
    if (run->pg->state != PG_READY) return push_lost(lua, run->pg);
    const char *name = luaL_checkstring(lua, 2);
    begin(run, NULL);
    return await(lua, run, pg_send_deallocate(run->pg, name));
}

// pipeline(on) -> true | nil, cause, sqlstate | nil, nil, whether the connection is lost: from now on statements are
// sent together, and sync waits for them
static int l_pipeline(lua_State *lua) {
    struct pg *pg = check_run(lua)->pg;
    return push_sent(lua, pg, pg->state == PG_READY ? pg_set_pipeline(pg, lua_toboolean(lua, 2)) : -1);
}

// sync(times): sends what the pipeline holds and waits for all of it
static int l_sync(lua_State *lua) {
    struct run *run = check_run(lua);
    if (run->pg->state != PG_READY) return push_lost(lua, run->pg);
    begin(run, lua_touserdata(lua, 2));
    return await(lua, run, pg_sync(run->pg));
}

// Copying.

// put(data): of a COPY; true: more may follow | false: wait for room first | nil, cause, ...
static int l_put(lua_State *lua) {
    struct run *run = check_run(lua);
    size_t len;
    const char *data = luaL_checklstring(lua, 2, &len);
    if (pg_copy_put(run->pg, data, len)) return push_sent(lua, run->pg, 1);
    lua_pushboolean(lua, pg_copy_room(run->pg));
    return 1;
}

// room() -> whether all that was put has gone out
static int l_room(lua_State *lua) {
    lua_pushboolean(lua, pg_copy_room(check_run(lua)->pg));
    return 1;
}

// put_end(failure | nil): the data's end; take then tells. A failure makes the server undo the COPY.
static int l_put_end(lua_State *lua) {
    struct run *run = check_run(lua);
    return push_sent(lua, run->pg, pg_copy_end(run->pg, luaL_optstring(lua, 2, NULL)));
}

// The kernel's struct tcp_info as far as it is needed; glibc's own ends before these fields.
struct tcp_counts {
    uint8_t states[8];
    uint32_t figures[24];
    uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
};

// bytes() -> received, sent | nothing: of this connection's TCP socket so far
static int l_bytes(lua_State *lua) {
    struct run *run = check_run(lua);
    struct tcp_counts counts;
    socklen_t size = sizeof counts;
    if (run->pg->state != PG_READY) return 0;
    if (getsockopt(PQsocket(run->pg->conn), IPPROTO_TCP, TCP_INFO, &counts, &size) || size < sizeof counts) return 0;
    lua_pushnumber(lua, (double)counts.bytes_received);
    lua_pushnumber(lua, (double)counts.bytes_acked);
    return 2;
}

// new(connection) -> run
static int l_new(lua_State *lua) {
    struct pg *pg = luax_check_interface(lua, 1, LUAX_PG, "a connection");
    struct run *run = luax_new(lua, RUN_CLASS, sizeof *run);
    run->pg = pg;
    lua_createtable(lua, 1, 0);
    lua_pushvalue(lua, 1);
    lua_rawseti(lua, -2, 1);
    lua_setfenv(lua, -2);
    return 1;
}

static int l_gc(lua_State *lua) {
    struct run *run = luaL_checkudata(lua, 1, RUN_CLASS);
    forget_failure(run);
    buf_free(&run->text);
    return 0;
}

static const luaL_Reg methods[] = {
    {"execute", l_execute},
    {"extended", l_extended},
    {"simple", l_simple},
    {"prepare", l_prepare},
    {"deallocate", l_deallocate},
    {"pipeline", l_pipeline},
    {"sync", l_sync},
    {"take", l_take},
    {"put", l_put},
    {"put_end", l_put_end},
    {"room", l_room},
    {"bytes", l_bytes},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__gc", l_gc}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"new", l_new}, {NULL, NULL}};

int luaopen_dbobs_pgrun(lua_State *lua) {
    luax_class(lua, RUN_CLASS, methods, meta);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
