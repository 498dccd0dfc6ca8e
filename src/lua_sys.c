// Binding "dbobs.core.sys": the process as Lua sees it: clocks, output, embedded files, counters, the orders of main.
// Nothing here blocks but a write to a pipe that nobody reads. No exec: a pipeline cannot start programs through it.
#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app.h"
#include "buf.h"
#include "counters.h"
#include "embed.h"
#include "luax.h"
#include "notify.h"
#include "version.h"
#include "vm.h"
#include "write.h"

#define ORDERS_CLASS "dbobs.orders"

// monotonic() -> seconds of a clock that never goes back
static int l_monotonic(lua_State *lua) {
    lua_pushnumber(lua, (double)clock_monotonic_ns() / 1e9);
    return 1;
}

// wall() -> microseconds since 1970 as a number (exact: below 2^53)
static int l_wall(lua_State *lua) {
    lua_pushnumber(lua, (double)clock_wall_us(&vm_of(lua)->clock));
    return 1;
}

// shift_wall(microseconds): moves the wall clock of this vm, for tests
static int l_shift_wall(lua_State *lua) {
    vm_of(lua)->clock.wall_shift_us += (int64_t)luaL_checknumber(lua, 1);
    return 0;
}

static int write_text(lua_State *lua, int fd) {
    size_t len;
    const char *text = luaL_checklstring(lua, 1, &len);
    if (write_all(fd, text, len)) return luax_fail(lua, "write: %s", strerror(errno));
    lua_pushboolean(lua, 1);
    return 1;
}

// write(text) -> true | nil, error: to standard output, at once
static int l_write(lua_State *lua) {
    return write_text(lua, STDOUT_FILENO);
}

// log(text) -> true | nil, error: to standard error in one write, so that lines of several threads do not mix
static int l_log(lua_State *lua) {
    return write_text(lua, STDERR_FILENO);
}

// notify(text) -> true | false: nobody asked | nil, error: tells systemd, see notify.h
static int l_notify(lua_State *lua) {
    int sent = notify_send(luaL_checkstring(lua, 1));
    if (sent < 0) return luax_fail(lua, "notify: %s", strerror(errno));
    lua_pushboolean(lua, sent);
    return 1;
}

// is_terminal(fd number) -> boolean
static int l_is_terminal(lua_State *lua) {
    lua_pushboolean(lua, isatty((int)luaL_checkinteger(lua, 1)));
    return 1;
}

// columns(fd number) -> how wide the terminal is; 80 when it does not say
static int l_columns(lua_State *lua) {
    struct winsize size = {0};
    bool known = ioctl((int)luaL_checkinteger(lua, 1), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    lua_pushinteger(lua, known ? size.ws_col : 80);
    return 1;
}

// cpu() -> user, system: CPU seconds of the process so far, all its threads
static int l_cpu(lua_State *lua) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    lua_pushnumber(lua, (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6);
    lua_pushnumber(lua, (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6);
    return 2;
}

// cpus() -> how many this process may use
static int l_cpus(lua_State *lua) {
    lua_pushnumber(lua, uv_available_parallelism());
    return 1;
}

// hostname() -> string
static int l_hostname(lua_State *lua) {
    char name[HOST_NAME_MAX + 1] = "localhost";
    gethostname(name, sizeof name - 1);
    lua_pushstring(lua, name);
    return 1;
}

// uuid5(namespace of 16 bytes, name) -> UUID as text: the same name always has the same one (RFC 4122, version 5)
static int l_uuid5(lua_State *lua) {
    size_t space_len, len;
    luaL_checklstring(lua, 1, &space_len);
    luaL_checklstring(lua, 2, &len);
    luaL_argcheck(lua, space_len == 16, 1, "16 bytes are expected");
    lua_settop(lua, 2);
    lua_concat(lua, 2);
    unsigned char hash[EVP_MAX_MD_SIZE];
    if (!EVP_Digest(lua_tostring(lua, 1), space_len + len, hash, NULL, EVP_sha1(), NULL))
        return luax_fail(lua, "uuid5: SHA-1 is not available");
    hash[6] = (unsigned char)((hash[6] & 0x0f) | 0x50);
    hash[8] = (unsigned char)((hash[8] & 0x3f) | 0x80);
    char text[37], *at = text;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
        at += sprintf(at, "%02x", hash[i]);
    }
    lua_pushstring(lua, text);
    return 1;
}

// duration(value) -> seconds; raises for what is no duration
static int l_duration(lua_State *lua) {
    lua_pushnumber(lua, luax_check_duration(lua, 1));
    return 1;
}

// parse_duration(text) -> seconds | nil
static int l_parse_duration(lua_State *lua) {
    double seconds = luax_parse_duration(luaL_checkstring(lua, 1));
    if (seconds < 0) return 0;
    lua_pushnumber(lua, seconds);
    return 1;
}

// embedded(path) -> content | nil
static int l_embedded(lua_State *lua) {
    const struct embed_file *file = embed_find(luaL_checkstring(lua, 1));
    if (!file) return 0;
    lua_pushlstring(lua, (const char *)file->data, file->size);
    return 1;
}

// embedded_list(prefix) -> sorted array of the embedded paths that begin with it
static int l_embedded_list(lua_State *lua) {
    const char *prefix = luaL_checkstring(lua, 1);
    size_t len = strlen(prefix);
    lua_newtable(lua);
    for (size_t i = 0, n = 0; i < embed_count; i++) {
        if (strncmp(embed_files[i].path, prefix, len) != 0) continue;
        lua_pushstring(lua, embed_files[i].path);
        lua_rawseti(lua, -2, (int)++n);
    }
    return 1;
}

// version() -> version, commit, build flags
static int l_version(lua_State *lua) {
    lua_pushstring(lua, version_string);
    lua_pushstring(lua, version_commit);
    lua_pushstring(lua, version_flags);
    return 3;
}

// count(collector, target, name, n)
static int l_count(lua_State *lua) {
    counters_add(vm_of(lua)->app->counters, luaL_checkstring(lua, 1), luaL_checkstring(lua, 2),
                 luaL_checkstring(lua, 3), (int64_t)luaL_checknumber(lua, 4));
    return 0;
}

// set_count(collector, target, name, value)
static int l_set_count(lua_State *lua) {
    counters_set(vm_of(lua)->app->counters, luaL_checkstring(lua, 1), luaL_checkstring(lua, 2),
                 luaL_checkstring(lua, 3), (int64_t)luaL_checknumber(lua, 4));
    return 0;
}

// forget_counts(target)
static int l_forget_counts(lua_State *lua) {
    counters_forget(vm_of(lua)->app->counters, luaL_checkstring(lua, 1));
    return 0;
}

static void put_counter(void *context, const char *collector, const char *target, const char *name, int64_t value) {
    struct buf *text = context;
    buf_put(text, collector, strlen(collector) + 1);
    buf_put(text, target, strlen(target) + 1);
    buf_put(text, name, strlen(name) + 1);
    buf_put(text, &value, sizeof value);
}

// counts() -> array of {collector, target, name, value}, sorted
static int l_counts(lua_State *lua) {
    // Copied out first: pushing to Lua can raise, which must not happen under the registry's lock.
    struct buf text = {0};
    counters_each(vm_of(lua)->app->counters, put_counter, &text);
    char *copy = lua_newuserdata(lua, text.len + 1);
    if (text.len) memcpy(copy, text.data, text.len);
    const char *at = copy, *end = copy + text.len;
    buf_free(&text);
    lua_newtable(lua);
    for (int n = 1; at < end; n++) {
        lua_createtable(lua, 4, 0);
        for (int field = 1; field <= 3; field++) {
            lua_pushstring(lua, at);
            lua_rawseti(lua, -2, field);
            at += strlen(at) + 1;
        }
        int64_t value;
        memcpy(&value, at, sizeof value);
        at += sizeof value;
        lua_pushnumber(lua, (double)value);
        lua_rawseti(lua, -2, 4);
        lua_rawseti(lua, -2, n);
    }
    return 1;
}

// orders() -> object to wait for: signalled when main has an order, and when a task has ended
static int l_orders(lua_State *lua) {
    struct vm **orders = luax_new(lua, ORDERS_CLASS, sizeof *orders);
    *orders = vm_of(lua);
    return 1;
}

// order() -> may_run, must_stop, whether that is a reload: another vm takes over
static int l_order(lua_State *lua) {
    struct vm *vm = vm_of(lua);
    lua_pushboolean(lua, vm->may_run);
    lua_pushboolean(lua, vm->must_stop);
    lua_pushboolean(lua, vm->must_stop && vm->app->next && !vm->app->stop_signals);
    return 3;
}

// loaded(): the pipeline is read and well; a reload may now take over
static int l_loaded(lua_State *lua) {
    struct vm *vm = vm_of(lua);
    if (vm->phase == VM_LOADING) vm->phase = VM_LOADED;
    return 0;
}

// finish(exit code): the vm's work is over
static int l_finish(lua_State *lua) {
    struct vm *vm = vm_of(lua);
    vm->exit_code = (int)luaL_checkinteger(lua, 1);
    vm->phase = VM_FINISHED;
    return 0;
}

static void *ordered_of(void *userdata) {
    return &(*(struct vm **)userdata)->ordered;
}

static const luaL_Reg functions[] = {
    {"monotonic", l_monotonic},
    {"wall", l_wall},
    {"shift_wall", l_shift_wall},
    {"write", l_write},
    {"log", l_log},
    {"notify", l_notify},
    {"is_terminal", l_is_terminal},
    {"columns", l_columns},
    {"cpu", l_cpu},
    {"cpus", l_cpus},
    {"hostname", l_hostname},
    {"uuid5", l_uuid5},
    {"duration", l_duration},
    {"parse_duration", l_parse_duration},
    {"embedded", l_embedded},
    {"embedded_list", l_embedded_list},
    {"version", l_version},
    {"count", l_count},
    {"set_count", l_set_count},
    {"forget_counts", l_forget_counts},
    {"counts", l_counts},
    {"orders", l_orders},
    {"order", l_order},
    {"loaded", l_loaded},
    {"finish", l_finish},
    {NULL, NULL},
};

int luaopen_dbobs_sys(lua_State *lua) {
    luax_class(lua, ORDERS_CLASS, NULL, NULL);
    luax_offer(lua, LUAX_WAKEUP, ordered_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
