// Lines that a person types at a terminal, with editing and history (libedit), or that come through a pipe or from a
// file. Never blocks but for the rest of a key's bytes, 50 ms at most. One for standard input at a time.
#ifndef DBOBS_PROMPT_H
#define DBOBS_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "buf.h"
#include "wakeup.h"

struct prompt;

enum prompt_result {
    PROMPT_WAIT,         // nothing yet: wait for the wakeup, then take again
    PROMPT_LINE,         // a line, without its newline
    PROMPT_INTERRUPTED,  // what was typed is forgotten
    PROMPT_END           // no more lines: Ctrl-D, or the end of the input
};

// On standard input. history: the file in which lines are kept for the next time; NULL: none is. NULL, with errno set,
// when the terminal cannot be set up.
struct prompt *prompt_open(uv_loop_t *loop, const char *history);
// Gives the terminal back as it was. The memory goes when libuv has closed the handle.
void prompt_close(struct prompt *prompt);

bool prompt_is_terminal(const struct prompt *prompt);
// Signalled when there is something to take.
struct wakeup *prompt_ready(struct prompt *prompt);
// Shows `text`, unless it stands there already, and takes the next line, appended to `line`.
enum prompt_result prompt_take(struct prompt *prompt, const char *text, struct buf *line);
// What is being typed is given up; the present or next take says so.
void prompt_interrupt(struct prompt *prompt);
// Takes the prompt away while somebody else prints, and shows it again with what was typed.
void prompt_hide(struct prompt *prompt);
void prompt_show(struct prompt *prompt);
// Adds an input, which may have several lines, to the history. -1: the file could not be written.
int prompt_remember(struct prompt *prompt, const char *text);

#endif
