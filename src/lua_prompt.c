// Binding "dbobs.core.prompt": lines from standard input for the prompt of `dbobs repl`, and Ctrl-C there, which ends
// what is being evaluated instead of dbobs.
#include <errno.h>
#include <string.h>

#include "app.h"
#include "luax.h"
#include "prompt.h"
#include "vm.h"

#define PROMPT_CLASS "dbobs.prompt"

static struct prompt *self(lua_State *lua) {
    return luax_boxed(lua, PROMPT_CLASS);
}

// open(history file | nil) -> prompt | nil, error
static int l_open(lua_State *lua) {
    const char *history = luaL_optstring(lua, 1, NULL);
    struct prompt *prompt = prompt_open(&vm_of(lua)->loop, history);
    if (!prompt) return luax_fail(lua, "prompt: the terminal cannot be used: %s", strerror(errno));
    luax_box(lua, PROMPT_CLASS, prompt);
    return 1;
}

// take(prompt text) -> line | false: wait | nil, "interrupted" or "end"
static int l_take(lua_State *lua) {
    struct prompt *prompt = self(lua);
    const char *text = luaL_checkstring(lua, 2);
    struct buf line = {0};
    enum prompt_result result = prompt_take(prompt, text, &line);
    if (result == PROMPT_LINE) {
        lua_pushlstring(lua, line.data ? line.data : "", line.len);
        buf_free(&line);
        return 1;
    }
    buf_free(&line);
    if (result != PROMPT_WAIT) return luax_fail(lua, result == PROMPT_END ? "end" : "interrupted");
    lua_pushboolean(lua, 0);
    return 1;
}

// is_terminal() -> whether lines are edited
static int l_is_terminal(lua_State *lua) {
    lua_pushboolean(lua, prompt_is_terminal(self(lua)));
    return 1;
}

static int l_interrupt(lua_State *lua) {
    prompt_interrupt(self(lua));
    return 0;
}

static int l_hide(lua_State *lua) {
    prompt_hide(self(lua));
    return 0;
}

static int l_show(lua_State *lua) {
    prompt_show(self(lua));
    return 0;
}

// remember(text) -> whether it was written down
static int l_remember(lua_State *lua) {
    lua_pushboolean(lua, prompt_remember(self(lua), luaL_checkstring(lua, 2)) == 0);
    return 1;
}

static int l_close(lua_State *lua) {
    struct prompt *prompt = luax_take(lua, PROMPT_CLASS);
    if (prompt) prompt_close(prompt);
    return 0;
}

// interrupts(on): whether SIGINT is to be taken with interrupted(), instead of ending dbobs
static int l_interrupts(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TBOOLEAN);
    vm_of(lua)->app->takes_interrupts = lua_toboolean(lua, 1);
    return 0;
}

// interrupted() -> whether there was a SIGINT since the last call
static int l_interrupted(lua_State *lua) {
    struct app *app = vm_of(lua)->app;
    lua_pushboolean(lua, app->interrupts > 0);
    app->interrupts = 0;
    return 1;
}

// evaluating(on): a SIGINT ends the code of this task even where it does not wait
static int l_evaluating(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TBOOLEAN);
    struct vm *vm = vm_of(lua);
    vm->evaluating = lua_toboolean(lua, 1) ? vm->current : NULL;
    return 0;
}

static void *ready_of(void *userdata) {
    struct prompt *prompt = *(struct prompt **)userdata;
    return prompt ? prompt_ready(prompt) : NULL;
}

static const luaL_Reg methods[] = {
    {"take", l_take}, {"is_terminal", l_is_terminal}, {"interrupt", l_interrupt}, {"hide", l_hide},
    {"show", l_show}, {"remember", l_remember},       {"close", l_close},         {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__gc", l_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"open", l_open}, {"interrupts", l_interrupts}, {"interrupted", l_interrupted}, {"evaluating", l_evaluating},
    {NULL, NULL},
};

int luaopen_dbobs_prompt(lua_State *lua) {
    luax_class(lua, PROMPT_CLASS, methods, meta);
    luax_offer(lua, LUAX_WAKEUP, ready_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
