// Binding "dbobs.core.tail": followers of files, and the parser of server logs. Per line all is C's: pump carries lines
// from the read buffer through the parser to the sink. Lua decides when to wait and what a failure means.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bindings.h"
#include "luax.h"
#include "luax_event.h"
#include "pglog.h"
#include "sink.h"
#include "tail.h"
#include "vm.h"

#define TAIL_CLASS "dbobs.tail"
#define PGLOG_CLASS "dbobs.pglog"

// A batch is closed after so many bytes of lines; one turn of pump ends after so many.
#define BATCH_BYTES (256 * 1024)
#define TURN_BYTES (1024 * 1024)
#define HUGE_RECORD (2 * 1024 * 1024)  // bytes to which one is shortened

struct parser {
    struct pglog *log;
    bool bound;  // to a follower that is not closed: its record is that one's
};

struct follower {
    struct tail *tail;
    struct batch *batch;    // of the lines since the last commit
    struct record *held;    // built, and refused by a full sink
    int64_t held_offset;    // where its line begins; -1: it is of none
    struct parser *parser;  // that pump was first given, which holds the record
    uint64_t failures;      // of the user's function
    char failure[256];      // the first of them
};

static uint64_t milliseconds(lua_State *lua, const char *name, double fallback) {
    lua_getfield(lua, 1, name);
    double seconds = lua_isnil(lua, -1) ? fallback : luax_check_duration(lua, lua_gettop(lua));
    lua_pop(lua, 1);
    return (uint64_t)fmax(seconds * 1000, 1);
}

static int64_t since(lua_State *lua) {
    lua_getfield(lua, 1, "since");
    int64_t since_us = (int64_t)luaL_optnumber(lua, -1, 0);
    lua_pop(lua, 1);
    return since_us;
}

// open{path=, remote=, suffix=, checkpoint= | positions=, from="beginning"|"end", since=microseconds since 1970, poll=,
// grace=, half_lines=} -> follower | nil, error, whether another process uses the checkpoint
static int l_open(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TTABLE);
    struct tail_options options = {.path = luax_field_string(lua, 1, "path", ""),
                                   .suffix = luax_field_string(lua, 1, "suffix", NULL),
                                   .checkpoint = luax_field_string(lua, 1, "checkpoint", NULL),
                                   .positions = luax_field_string(lua, 1, "positions", NULL),
                                   .remote = luax_field_bool(lua, 1, "remote", 0),
                                   .from_end = strcmp(luax_field_string(lua, 1, "from", "beginning"), "end") == 0,
                                   .since_us = since(lua),
                                   .half_lines = luax_field_bool(lua, 1, "half_lines", 0),
                                   .poll_ms = milliseconds(lua, "poll", 1),
                                   .grace_ms = milliseconds(lua, "grace", 10)};
    char error[1024];
    struct follower *follower = luax_new(lua, TAIL_CLASS, sizeof *follower);
    bool in_use;
    follower->tail = tail_open(&vm_of(lua)->loop, &options, &in_use, error, sizeof error);
    if (!follower->tail) {
        luax_fail(lua, "tail.open: %s", error);
        lua_pushboolean(lua, in_use);
        return 3;
    }
    follower->batch = batch_new();
    return 1;
}

static struct follower *check_follower(lua_State *lua) {
    struct follower *follower = luaL_checkudata(lua, 1, TAIL_CLASS);
    if (!follower->tail) luaL_error(lua, "this follower is closed");
    return follower;
}

static int l_close(lua_State *lua) {
    struct follower *follower = luaL_checkudata(lua, 1, TAIL_CLASS);
    if (follower->tail) tail_close(follower->tail);
    if (follower->batch) batch_unref(follower->batch);
    if (follower->parser) follower->parser->bound = false;
    *follower = (struct follower){0};
    return 0;
}

static void *news_of(void *userdata) {
    struct follower *follower = userdata;
    return follower->tail ? tail_news(follower->tail) : NULL;
}

static void *tail_of(void *userdata) {
    return ((struct follower *)userdata)->tail;
}

static void commit(struct follower *follower) {
    tail_commit(follower->tail, follower->batch);
    if (!follower->batch->sent) return;
    batch_unref(follower->batch);
    follower->batch = batch_new();
}

// follower:next() -> line, path, offset, hash of the first line, truncations, bytes left out | false: wait
static int l_next(lua_State *lua) {
    struct follower *follower = check_follower(lua);
    struct tail_line line;
    if (!tail_next(follower->tail, &line)) {
        lua_pushboolean(lua, 0);
        return 1;
    }
    lua_pushlstring(lua, line.text, line.len);
    lua_pushstring(lua, line.path);
    lua_pushnumber(lua, (double)line.offset);
    lua_pushstring(lua, line.first_line);
    lua_pushnumber(lua, line.truncations);
    lua_pushnumber(lua, (double)line.dropped);
    return 6;
}

// follower:commit(batch|nil): the lines so far are handled; their records, if any, went out with the batch
static int l_commit(lua_State *lua) {
    struct follower *follower = check_follower(lua);
    tail_commit(follower->tail, luax_interface(lua, 2, LUAX_BATCH));
    return 0;
}

// follower:acknowledge() -> true | nil, error: records were not delivered, reading is back at the checkpoint
static int l_acknowledge(lua_State *lua) {
    struct follower *follower = check_follower(lua);
    char error[160];
    if (tail_acknowledge(follower->tail, error, sizeof error) == 0) {
        lua_pushboolean(lua, 1);
        return 1;
    }
    follower->held = NULL;
    batch_unref(follower->batch);
    follower->batch = batch_new();
    return luax_fail(lua, "tail.acknowledge: %s", error);
}

static size_t cut_record(void *log, const char *text, size_t len, size_t *scanned, bool is_all) {
    return pglog_cut(log, text, len, scanned, is_all);
}

static size_t shrink_record(void *log, char *text, size_t *len) {
    return pglog_shrink(log, text, len, HUGE_RECORD);
}

// The follower's parser, from now on kept alive by it.
static struct pglog *bind_parser(lua_State *lua, struct follower *follower) {
    struct parser *parser = luaL_checkudata(lua, 2, PGLOG_CLASS);
    if (follower->parser == parser) return parser->log;
    if (follower->parser) luaL_error(lua, "this follower has another parser");
    if (parser->bound) luaL_error(lua, "this parser belongs to another follower: each needs its own");
    follower->parser = parser;
    parser->bound = true;
    lua_createtable(lua, 1, 0);
    lua_pushvalue(lua, 2);
    lua_rawseti(lua, -2, 1);
    lua_setfenv(lua, 1);
    tail_set_cut(follower->tail, cut_record, shrink_record, parser->log);
    return parser->log;
}

// The user's function at index 4, if any, sees the record. False: it is left out.
static bool is_kept(lua_State *lua, struct follower *follower, struct record *record) {
    char error[sizeof follower->failure];
    if (lua_isnoneornil(lua, 4)) return true;
    enum luax_event outcome = luax_event(lua, 4, record, error, sizeof error);
    if (outcome == LUAX_EVENT_FAILED && follower->failures++ == 0) memcpy(follower->failure, error, sizeof error);
    return outcome != LUAX_EVENT_LEFT_OUT;
}

// Builds the next record that is wanted; false when there is none now.
static bool hold_next(lua_State *lua, struct follower *follower, struct pglog *log, int64_t now_us, size_t *bytes) {
    while (!follower->held) {
        struct tail_line line;
        follower->held_offset = -1;
        follower->held = pglog_dropped(log, now_us, false);
        if (follower->held) break;
        if (!tail_next(follower->tail, &line)) {
            follower->held = pglog_dropped(log, now_us, true);
            return follower->held != NULL;
        }
        const struct pglog_line read = {line.text,       line.len,         line.dropped, line.shrunk,
                                        line.first_line, line.truncations, line.offset};
        struct record *record = pglog_read(log, &read, now_us);
        if (record && is_kept(lua, follower, record)) {
            follower->held = record;
            follower->held_offset = line.offset;
            break;
        }
        *bytes += line.len;
        if (tail_uncommitted(follower->tail) >= BATCH_BYTES) commit(follower);
        if (*bytes >= TURN_BYTES) break;
    }
    return true;
}

// follower:pump(parser, sink [, function of an event]) -> "more" | "wait": for the follower | "full": wait for the
// sink; lines | nil, error
static int l_pump(lua_State *lua) {
    struct follower *follower = check_follower(lua);
    struct pglog *log = bind_parser(lua, follower);
    struct sink *sink = luax_check_interface(lua, 3, LUAX_SINK, "a topic (and not closed)");
    const int64_t now_us = clock_wall_us(&vm_of(lua)->clock);
    const char *outcome = "more";
    char error[256];
    size_t bytes = 0;
    unsigned lines = 0;
    while (bytes < TURN_BYTES) {
        if (!hold_next(lua, follower, log, now_us, &bytes)) {
            commit(follower);
            outcome = "wait";
            break;
        }
        if (!follower->held) break;
        size_t len = follower->held->value.len;
        enum sink_result put = record_put(follower->held, sink, follower->batch, error, sizeof error);
        if (put == SINK_ERROR) return luax_fail(lua, "tail.pump: %s", error);
        if (put == SINK_FULL) {
            outcome = "full";
            break;
        }
        follower->held = NULL;
        bytes += len;
        lines++;
        if (tail_uncommitted(follower->tail) >= BATCH_BYTES) commit(follower);
    }
    lua_pushstring(lua, outcome);
    lua_pushnumber(lua, lines);
    return 2;
}

// follower:leave(): pump is not called any more: what it has sent counts, a line that the sink refused does not
static int l_leave(lua_State *lua) {
    struct follower *follower = check_follower(lua);
    if (follower->held && follower->held_offset >= 0) tail_hand_back(follower->tail, follower->held_offset);
    follower->held = NULL;
    commit(follower);
    return 0;
}

// follower:positions() -> text to be kept with what was pumped | false: a line waits for room in the sink
static int l_positions(lua_State *lua) {
    struct follower *follower = check_follower(lua);
    if (follower->held) {
        lua_pushboolean(lua, 0);
        return 1;
    }
    commit(follower);
    struct buf text = {0};
    tail_positions(follower->tail, &text);
    lua_pushlstring(lua, text.data, text.len);
    buf_free(&text);
    return 1;
}

// follower:kept(): the last positions are in a safe place
static int l_kept(lua_State *lua) {
    tail_kept(check_follower(lua)->tail);
    return 0;
}

// follower:note() -> text of an event that somebody should know of | nil
static int l_note(lua_State *lua) {
    char *note = tail_take_note(check_follower(lua)->tail);
    lua_pushstring(lua, note);
    free(note);
    return 1;
}

// follower:conditions() -> why the path cannot be followed | nil, why the checkpoint cannot be written | nil, why a
// file cannot be read | nil
static int l_conditions(lua_State *lua) {
    const struct tail *tail = check_follower(lua)->tail;
    lua_pushstring(lua, tail_path_condition(tail));
    lua_pushstring(lua, tail_checkpoint_condition(tail));
    lua_pushstring(lua, tail_read_condition(tail));
    return 3;
}

// follower:failures() -> how often the user's function failed since the last call, the first cause | nil
static int l_failures(lua_State *lua) {
    struct follower *follower = check_follower(lua);
    lua_pushnumber(lua, (double)follower->failures);
    lua_pushstring(lua, follower->failures ? follower->failure : NULL);
    follower->failures = 0;
    return 2;
}

// follower:progress() -> bytes of the files, bytes acknowledged, files, batches in flight, whether all is saved, bytes
// acknowledged since the follower began, bytes at risk
static int l_progress(lua_State *lua) {
    const struct tail *tail = check_follower(lua)->tail;
    const struct tail_progress progress = tail_progress(tail);
    lua_pushnumber(lua, (double)progress.size);
    lua_pushnumber(lua, (double)progress.acked);
    lua_pushnumber(lua, progress.files);
    lua_pushnumber(lua, tail_in_flight(tail));
    lua_pushboolean(lua, !tail_is_unsaved(tail));
    lua_pushnumber(lua, (double)progress.delivered);
    lua_pushnumber(lua, (double)progress.at_risk);
    return 7;
}

// follower:peek(parser) -> the record that is next as JSON, path of its file | nothing: there is none now. It is not
// sent, the follower is good for nothing else afterwards.
static int l_peek(lua_State *lua) {
    struct follower *follower = check_follower(lua);
    struct pglog *log = bind_parser(lua, follower);
    struct tail_line line;
    if (!tail_next(follower->tail, &line)) return 0;
    const struct pglog_line read = {line.text,       line.len,         line.dropped, line.shrunk,
                                    line.first_line, line.truncations, line.offset};
    const struct record *record = pglog_read(log, &read, clock_wall_us(&vm_of(lua)->clock));
    if (!record) return 0;
    lua_pushlstring(lua, record->value.data, record->value.len);
    lua_pushstring(lua, line.path);
    return 2;
}

// pglog(envelope, zone|nil, "jsonlog"|"csvlog"|"stderr"|nil, log_line_prefix|nil) -> parser | nil, error
static int l_pglog(lua_State *lua) {
    const struct record_envelope *envelope = luax_check_interface(lua, 1, LUAX_ENVELOPE, "a record writer");
    static const char *const formats[] = {"jsonlog", "csvlog", "stderr", NULL};
    const char *zone = luaL_optstring(lua, 2, NULL);
    enum pglog_format format = (enum pglog_format)luaL_checkoption(lua, 3, "jsonlog", formats);
    const char *prefix = luaL_optstring(lua, 4, NULL);
    char error[256];
    struct tz *tz = zone ? tz_load(zone, error, sizeof error) : NULL;
    if (zone && !tz) return luax_fail(lua, "tail.pglog: %s", error);
    struct parser *parser = luax_new(lua, PGLOG_CLASS, sizeof *parser);
    parser->log = pglog_new(envelope, tz, format, prefix);
    // The parser borrows the envelope: it keeps the writer alive.
    lua_createtable(lua, 1, 0);
    lua_pushvalue(lua, 1);
    lua_rawseti(lua, -2, 1);
    lua_setfenv(lua, -2);
    return 1;
}

static struct pglog *check_parser(lua_State *lua) {
    return ((struct parser *)luaL_checkudata(lua, 1, PGLOG_CLASS))->log;
}

static int l_pglog_gc(lua_State *lua) {
    struct parser *parser = luaL_checkudata(lua, 1, PGLOG_CLASS);
    pglog_free(parser->log);
    parser->log = NULL;
    return 0;
}

// parser:read(line [, hash of the file's first line, truncations, offset]) -> key, record as JSON; nothing: it is not
// wanted
static int l_pglog_read(lua_State *lua) {
    struct pglog *log = check_parser(lua);
    struct pglog_line line = {.first_line = luaL_optstring(lua, 3, ""),
                              .truncations = (uint32_t)luaL_optnumber(lua, 4, 0),
                              .offset = (int64_t)luaL_optnumber(lua, 5, 0)};
    line.text = luaL_checklstring(lua, 2, &line.len);
    const struct record *record = pglog_read(log, &line, clock_wall_us(&vm_of(lua)->clock));
    if (!record) return 0;
    lua_pushlstring(lua, record->key.data, record->key.len);
    lua_pushlstring(lua, record->value.data, record->value.len);
    return 2;
}

// The field of the table on top as a table, which is pushed; false, and nothing pushed, when it is nil.
static bool push_table(lua_State *lua, const char *name) {
    lua_getfield(lua, -1, name);
    if (lua_istable(lua, -1)) return true;
    lua_pop(lua, 1);
    return false;
}

static void take_databases(lua_State *lua, struct pglog_filter *filter) {
    if (!push_table(lua, "databases")) return;
    size_t count = lua_objlen(lua, -1);
    filter->databases = xcalloc(count + 1, sizeof *filter->databases);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(lua, -1, (int)i + 1);
        const char *pattern = lua_tostring(lua, -1);
        filter->databases[i] = xstrdup(pattern ? pattern : "");
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

// parser:filter{level=0..4, left_out={event type = true}, share={event type = 0..1}, databases={patterns}, rate=}:
// which records are wanted; lua/dbobs/log_filter.lua has checked it
static int l_pglog_filter(lua_State *lua) {
    struct pglog *log = check_parser(lua);
    luaL_checktype(lua, 2, LUA_TTABLE);
    lua_settop(lua, 2);
    struct pglog_filter *filter = pglog_filter_new();
    pglog_set_filter(log, filter);
    filter->least = (enum pglog_level)luax_field_int(lua, 2, "level", PGLOG_LEVEL_DEBUG);
    for (int i = 0; i < PGLOG_EVENT_COUNT; i++) {
        const char *name = pglog_event_name((enum pglog_event)i);
        if (push_table(lua, "left_out")) {
            filter->left_out[i] = luax_field_bool(lua, 3, name, 0);
            lua_pop(lua, 1);
        }
        if (push_table(lua, "share")) {
            lua_getfield(lua, -1, name);
            filter->share[i] = luaL_optnumber(lua, -1, 1);
            lua_pop(lua, 2);
        }
    }
    take_databases(lua, filter);
    lua_getfield(lua, 2, "rate");
    filter->rate = luaL_optnumber(lua, -1, 0);
    return 0;
}

static void push_names(lua_State *lua, const char *(*name_of)(int)) {
    lua_newtable(lua);
    for (int i = 0; name_of(i); i++) {
        lua_pushstring(lua, name_of(i));
        lua_rawseti(lua, -2, i + 1);
    }
}

static const char *event_name(int i) {
    return pglog_event_name((enum pglog_event)i);
}

static const char *level_name(int i) {
    return pglog_level_name((enum pglog_level)i);
}

// names() -> event types of a server log, levels from the least severe on: as lists
static int l_names(lua_State *lua) {
    push_names(lua, event_name);
    push_names(lua, level_name);
    return 2;
}

// parser:cut(text, whether that is all) -> length of the record that it begins with, 0 when it is not complete
static int l_pglog_cut(lua_State *lua) {
    size_t len, scanned = 0;
    const char *text = luaL_checklstring(lua, 2, &len);
    lua_pushnumber(lua, (double)pglog_cut(check_parser(lua), text, len, &scanned, lua_toboolean(lua, 3)));
    return 1;
}

// parser:problems() -> lines whose time could not be told, an example of such a time, lines that were no record of the
// format, records that were dropped for the rate and are not told yet
static int l_pglog_problems(lua_State *lua) {
    const struct pglog *log = check_parser(lua);
    const char *example;
    lua_pushnumber(lua, (double)pglog_undated(log, &example));
    lua_pushstring(lua, example);
    lua_pushnumber(lua, (double)pglog_unparsed(log));
    lua_pushnumber(lua, (double)pglog_dropping(log));
    return 4;
}

static const luaL_Reg methods[] = {
    {"next", l_next},
    {"commit", l_commit},
    {"acknowledge", l_acknowledge},
    {"pump", l_pump},
    {"leave", l_leave},
    {"note", l_note},
    {"conditions", l_conditions},
    {"failures", l_failures},
    {"progress", l_progress},
    {"peek", l_peek},
    {"close", l_close},
    {"positions", l_positions},
    {"kept", l_kept},
    {NULL, NULL},
};
static const luaL_Reg meta[] = {{"__gc", l_close}, {NULL, NULL}};
static const luaL_Reg pglog_methods[] = {{"read", l_pglog_read},
                                         {"filter", l_pglog_filter},
                                         {"cut", l_pglog_cut},
                                         {"problems", l_pglog_problems},
                                         {NULL, NULL}};
static const luaL_Reg pglog_meta[] = {{"__gc", l_pglog_gc}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"open", l_open}, {"pglog", l_pglog}, {"names", l_names}, {NULL, NULL}};

int luaopen_dbobs_tail(lua_State *lua) {
    luax_class(lua, TAIL_CLASS, methods, meta);
    luax_offer(lua, LUAX_WAKEUP, news_of);
    luax_offer(lua, LUAX_TAIL, tail_of);
    luax_class(lua, PGLOG_CLASS, pglog_methods, pglog_meta);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
