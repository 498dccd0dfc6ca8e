// Binding "dbobs.core.http": a server and its requests, and a question to another one. Nothing here waits: what is not
// there yet is `false`, and each of them can be waited for. The userdata hold structs of http.h and ask.h.
#include <string.h>

#include "ask.h"
#include "bindings.h"
#include "http.h"
#include "luax.h"
#include "vm.h"

#define SERVER_CLASS "dbobs.http"
#define REQUEST_CLASS "dbobs.http_request"
#define ASK_CLASS "dbobs.ask"
#define MOST_HEADERS 32
#define MOST_ANSWER (16 * 1024 * 1024)

// listen(address, port) -> server | nil, error, whether the port is taken
static int l_listen(lua_State *lua) {
    const char *address = luaL_checkstring(lua, 1);
    lua_Integer port = luaL_checkinteger(lua, 2);
    luaL_argcheck(lua, port >= 0 && port <= 65535, 2, "0 to 65535 expected");
    char error[256];
    bool in_use;
    struct http_server *server = http_listen(&vm_of(lua)->loop, address, (int)port, &in_use, error, sizeof error);
    if (!server) {
        luax_fail(lua, "%s", error);
        lua_pushboolean(lua, in_use);
        return 3;
    }
    luax_box(lua, SERVER_CLASS, server);
    return 1;
}

// :port() -> the port that it listens on
static int l_port(lua_State *lua) {
    lua_pushinteger(lua, http_port(luax_boxed(lua, SERVER_CLASS)));
    return 1;
}

// :next() -> request | false when there is none yet
static int l_next(lua_State *lua) {
    struct http_request *request = http_next(luax_boxed(lua, SERVER_CLASS));
    if (request) luax_box(lua, REQUEST_CLASS, request);
    else lua_pushboolean(lua, 0);
    return 1;
}

// :close()
static int l_close(lua_State *lua) {
    struct http_server *server = luax_take(lua, SERVER_CLASS);
    if (server) http_close(server);
    return 0;
}

// :head() -> method, path, host, array of "name=value" of the query
static int l_head(lua_State *lua) {
    struct http_request *request = luax_boxed(lua, REQUEST_CLASS);
    lua_pushstring(lua, http_method(request));
    lua_pushstring(lua, http_path(request));
    lua_pushstring(lua, http_host(request));
    lua_newtable(lua);
    for (size_t i = 0; http_argument(request, i); i++) {
        lua_pushstring(lua, http_argument(request, i));
        lua_rawseti(lua, -2, (int)i + 1);
    }
    return 4;
}

// headers at index: array of name, value, name, value, ...; the strings are the table's
static void read_headers(lua_State *lua, int index, const char **headers) {
    size_t count = lua_objlen(lua, index);
    luaL_argcheck(lua, count % 2 == 0 && count <= MOST_HEADERS, index, "at most 16 pairs expected");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(lua, index, (int)i + 1);
        headers[i] = luaL_checkstring(lua, -1);
        luaL_argcheck(lua, !strpbrk(headers[i], "\r\n"), index, "a header has one line");
        lua_pop(lua, 1);
    }
    headers[count] = NULL;
}

// :answer(status, headers, length of the body | nil) -> true | nil, error
static int l_answer(lua_State *lua) {
    struct http_request *request = luax_boxed(lua, REQUEST_CLASS);
    int status = (int)luaL_checkinteger(lua, 2);
    luaL_checktype(lua, 3, LUA_TTABLE);
    const char *headers[MOST_HEADERS + 1];
    read_headers(lua, 3, headers);
    long long len = lua_isnoneornil(lua, 4) ? -1 : (long long)luaL_checknumber(lua, 4);
    if (http_answer(request, status, headers, len))
        return luax_fail(lua, "the client is gone, or the headers are too long");
    lua_pushboolean(lua, 1);
    return 1;
}

// :write(text) -> bytes that wait to go out: part of the body
static int l_write(lua_State *lua) {
    struct http_request *request = luax_boxed(lua, REQUEST_CLASS);
    size_t len;
    const char *text = luaL_checklstring(lua, 2, &len);
    http_write(request, text, len);
    lua_pushnumber(lua, (double)http_queued(request));
    return 1;
}

// :finish(): the body is complete
static int l_finish(lua_State *lua) {
    http_finish(luax_boxed(lua, REQUEST_CLASS));
    return 0;
}

// :queued() -> bytes that wait to go out
static int l_queued(lua_State *lua) {
    lua_pushnumber(lua, (double)http_queued(luax_boxed(lua, REQUEST_CLASS)));
    return 1;
}

// :gone() -> whether the client is gone, or has the whole answer
static int l_gone(lua_State *lua) {
    lua_pushboolean(lua, http_gone(luax_boxed(lua, REQUEST_CLASS)));
    return 1;
}

// :close(): one that was not finished ends with its connection
static int l_request_close(lua_State *lua) {
    struct http_request *request = luax_take(lua, REQUEST_CLASS);
    if (!request) return 0;
    http_abort(request);
    http_request_unref(request);
    return 0;
}

// ask(address, port, text) -> question | nil, error
static int l_ask(lua_State *lua) {
    const char *address = luaL_checkstring(lua, 1);
    int port = (int)luaL_checkinteger(lua, 2);
    size_t len;
    const char *text = luaL_checklstring(lua, 3, &len);
    char error[256];
    struct ask *ask = ask_new(&vm_of(lua)->loop, address, port, text, len, MOST_ANSWER, error, sizeof error);
    if (!ask) return luax_fail(lua, "%s", error);
    luax_box(lua, ASK_CLASS, ask);
    return 1;
}

// :answer() -> false while it is not there | the whole of it | nil, error
static int l_ask_answer(lua_State *lua) {
    const char *text;
    size_t len;
    int there = ask_answer(luax_boxed(lua, ASK_CLASS), &text, &len);
    if (there < 0) return luax_fail(lua, "%s", text);
    if (there) lua_pushlstring(lua, len ? text : "", len);
    else lua_pushboolean(lua, 0);
    return 1;
}

// :close()
static int l_ask_close(lua_State *lua) {
    struct ask *ask = luax_take(lua, ASK_CLASS);
    if (ask) ask_close(ask);
    return 0;
}

static void *ended_of(void *userdata) {
    struct ask *ask = *(struct ask **)userdata;
    return ask ? ask_ended(ask) : NULL;
}

static void *news_of(void *userdata) {
    struct http_server *server = *(struct http_server **)userdata;
    return server ? http_news(server) : NULL;
}

static void *changed_of(void *userdata) {
    struct http_request *request = *(struct http_request **)userdata;
    return request ? http_request_changed(request) : NULL;
}

static const luaL_Reg methods[] = {{"port", l_port}, {"next", l_next}, {"close", l_close}, {NULL, NULL}};

static const luaL_Reg meta[] = {{"__gc", l_close}, {NULL, NULL}};

static const luaL_Reg request_methods[] = {
    {"head", l_head},     {"answer", l_answer}, {"write", l_write},         {"finish", l_finish},
    {"queued", l_queued}, {"gone", l_gone},     {"close", l_request_close}, {NULL, NULL},
};

static const luaL_Reg request_meta[] = {{"__gc", l_request_close}, {NULL, NULL}};

static const luaL_Reg ask_methods[] = {{"answer", l_ask_answer}, {"close", l_ask_close}, {NULL, NULL}};

static const luaL_Reg ask_meta[] = {{"__gc", l_ask_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"listen", l_listen}, {"ask", l_ask}, {NULL, NULL}};

int luaopen_dbobs_http(lua_State *lua) {
    luax_class(lua, SERVER_CLASS, methods, meta);
    luax_offer(lua, LUAX_WAKEUP, news_of);
    luax_class(lua, REQUEST_CLASS, request_methods, request_meta);
    luax_offer(lua, LUAX_WAKEUP, changed_of);
    luax_class(lua, ASK_CLASS, ask_methods, ask_meta);
    luax_offer(lua, LUAX_WAKEUP, ended_of);
    lua_newtable(lua);
    luaL_register(lua, NULL, functions);
    return 1;
}
