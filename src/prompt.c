// Lines from a terminal through libedit, which is given one key at a time when there is one, so that the loop runs
// while somebody types; and lines from pipes and files. The poll handle is armed only while somebody waits. A file
// cannot be polled and is always readable.
#include "prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

// How long the further bytes of a key may take, and how many inputs are remembered.
enum { KEY_MS = 50, REMEMBERED = 1000, END_OF_TEXT = 4 };

struct prompt {
    uv_poll_t poll;
    struct wakeup ready;
    bool polls;   // the descriptor can be polled
    bool shown;   // the terminal is in our mode, and the prompt stands there
    bool hidden;  // for as long as somebody else prints
    bool ended, interrupted;
    bool key_begun;  // libedit asks for further bytes of a key
    bool starved;    // libedit asked for more than there is
    EditLine *edit;  // NULL: no terminal
    History *history;
    char *history_file;
    char *text;
    char bytes[4096];
    size_t at, count;  // what has been read and not been taken
    struct buf line;   // of a pipe or file: the beginning of a line
};

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct prompt *prompt = poll->data;
    (void)status, (void)events;
    uv_poll_stop(poll);
    wakeup_signal(&prompt->ready);
}

static bool has_input(int timeout_ms) {
    struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&fd, 1, timeout_ms) > 0;
}

// Reads what there is, once. False: nothing, or the end.
static bool fill(struct prompt *prompt, int timeout_ms) {
    if (prompt->ended || (prompt->polls && !has_input(timeout_ms))) return false;
    memmove(prompt->bytes, prompt->bytes + prompt->at, prompt->count - prompt->at);
    prompt->count -= prompt->at;
    prompt->at = 0;
    ssize_t got = read(STDIN_FILENO, prompt->bytes + prompt->count, sizeof prompt->bytes - prompt->count);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return false;
    if (got <= 0) prompt->ended = true;
    else prompt->count += (size_t)got;
    return got > 0;
}

// libedit's reading of one character. Only the first byte of a key may be missing for long.
static int read_character(EditLine *edit, wchar_t *character) {
    struct prompt *prompt;
    el_get(edit, EL_CLIENTDATA, &prompt);
    while (true) {
        mbstate_t state = {0};
        size_t left = prompt->count - prompt->at;
        size_t len = left ? mbrtowc(character, prompt->bytes + prompt->at, left, &state) : (size_t)-2;
        if (len == (size_t)-2) {
            if (fill(prompt, prompt->key_begun || left ? KEY_MS : 0)) continue;
            if (left) prompt->at = prompt->count;  // half a character, and no more
            prompt->starved = true;
            return 0;
        }
        if (len == (size_t)-1) {
            prompt->at++;  // no UTF-8
            continue;
        }
        prompt->at += len ? len : 1;
        prompt->key_begun = true;
        return 1;
    }
}

static char *prompt_text(EditLine *edit) {
    struct prompt *prompt;
    el_get(edit, EL_CLIENTDATA, &prompt);
    return prompt->text;
}

static int open_history(struct prompt *prompt, const char *file) {
    HistEvent event;
    prompt->history = history_init();
    if (!prompt->history) return -1;
    history(prompt->history, &event, H_SETSIZE, REMEMBERED);
    history(prompt->history, &event, H_SETUNIQUE, 1);
    if (!file) return 0;
    prompt->history_file = xstrdup(file);
    history(prompt->history, &event, H_LOAD, file);  // there is none at first
    return 0;
}

static int open_editor(struct prompt *prompt, const char *file) {
    // Characters of more than one byte, of input and of the terminal; nothing else of the locale is taken.
    setlocale(LC_CTYPE, "C.UTF-8");
    prompt->edit = el_init("dbobs", stdin, stdout, stderr);
    if (!prompt->edit) return -1;
    if (open_history(prompt, file)) return -1;
    el_set(prompt->edit, EL_CLIENTDATA, prompt);
    el_set(prompt->edit, EL_PROMPT, prompt_text);
    el_set(prompt->edit, EL_EDITOR, "emacs");
    el_set(prompt->edit, EL_HIST, history, prompt->history);
    el_set(prompt->edit, EL_GETCFN, read_character);
    el_set(prompt->edit, EL_BIND, "^I", "ed-insert", NULL);
    el_set(prompt->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(prompt->edit, EL_BIND, "\\e[3~", "ed-delete-next-char", NULL);
    el_set(prompt->edit, EL_BIND, "\\e[1;5C", "em-next-word", NULL);
    el_set(prompt->edit, EL_BIND, "\\e[1;5D", "ed-prev-word", NULL);
    return 0;
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

struct prompt *prompt_open(uv_loop_t *loop, const char *file) {
    struct prompt *prompt = xcalloc(1, sizeof *prompt);
    // libuv makes the descriptor non-blocking, which whoever shares the terminal with us does not expect.
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    prompt->polls = uv_poll_init(loop, &prompt->poll, STDIN_FILENO) == 0;
    if (flags >= 0) (void)fcntl(STDIN_FILENO, F_SETFL, flags);
    prompt->poll.data = prompt;
    const char *term = getenv("TERM");
    bool edits = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && (!term || strcmp(term, "dumb") != 0);
    if (!edits || open_editor(prompt, file) == 0) return prompt;
    prompt_close(prompt);
    errno = ENOTTY;
    return NULL;
}

// Leaves the line as it stands on the terminal and gives the terminal back.
static void leave_line(struct prompt *prompt) {
    if (!prompt->shown) return;
    prompt->shown = false;
    el_set(prompt->edit, EL_UNBUFFERED, 0);
}

void prompt_close(struct prompt *prompt) {
    wakeup_signal(&prompt->ready);  // nobody may go on waiting for it
    if (prompt->edit) {
        leave_line(prompt);
        el_end(prompt->edit);
    }
    if (prompt->history) history_end(prompt->history);
    free(prompt->history_file);
    free(prompt->text);
    buf_free(&prompt->line);
    if (prompt->polls) uv_close((uv_handle_t *)&prompt->poll, on_closed);
    else free(prompt);
}

bool prompt_is_terminal(const struct prompt *prompt) {
    return prompt->edit != NULL;
}

struct wakeup *prompt_ready(struct prompt *prompt) {
    return &prompt->ready;
}

static enum prompt_result wait_for_more(struct prompt *prompt) {
    if (prompt->ended) return PROMPT_END;
    if (!prompt->polls) wakeup_signal(&prompt->ready);
    else uv_poll_start(&prompt->poll, UV_READABLE | UV_DISCONNECT, on_poll);
    return PROMPT_WAIT;
}

static enum prompt_result take_plain(struct prompt *prompt, struct buf *line) {
    while (true) {
        const char *from = prompt->bytes + prompt->at;
        size_t left = prompt->count - prompt->at;
        const char *end = memchr(from, '\n', left);
        size_t len = end ? (size_t)(end - from) : left;
        buf_put(&prompt->line, from, len);
        prompt->at += end ? len + 1 : len;
        if (!end && fill(prompt, 0)) continue;
        // A last line needs no newline.
        if (!end && !(prompt->ended && prompt->line.len)) return wait_for_more(prompt);
        buf_put(line, prompt->line.data, prompt->line.len);
        buf_clear(&prompt->line);
        return PROMPT_LINE;
    }
}

static void show_line(struct prompt *prompt, const char *text) {
    if (prompt->shown) return;
    free(prompt->text);
    prompt->text = xstrdup(text);
    fflush(stdout);
    prompt->shown = true;
    el_set(prompt->edit, EL_UNBUFFERED, 1);
}

// Gives libedit keys until the line is done or there is no more.
static enum prompt_result take_edited(struct prompt *prompt, struct buf *line) {
    while (true) {
        int count = 0;
        prompt->key_begun = prompt->starved = false;
        const char *text = el_gets(prompt->edit, &count);
        if (prompt->starved) return wait_for_more(prompt);
        if (!prompt->key_begun) prompt->ended = true;  // it could not even ask: the terminal is gone
        if (prompt->ended) return PROMPT_END;
        if (!text || count <= 0) continue;
        if (text[count - 1] == '\n' || text[count - 1] == '\r') {
            buf_put(line, text, (size_t)count - 1);
            leave_line(prompt);
            return PROMPT_LINE;
        }
        if (count == 1 && text[0] == END_OF_TEXT) {
            leave_line(prompt);
            prompt->ended = true;
            return PROMPT_END;
        }
    }
}

enum prompt_result prompt_take(struct prompt *prompt, const char *text, struct buf *line) {
    if (prompt->polls) uv_poll_stop(&prompt->poll);
    if (prompt->interrupted) {
        prompt->interrupted = false;
        if (prompt->edit) leave_line(prompt);
        buf_clear(&prompt->line);
        return PROMPT_INTERRUPTED;
    }
    if (!prompt->edit) return take_plain(prompt, line);
    show_line(prompt, text);
    return take_edited(prompt, line);
}

void prompt_interrupt(struct prompt *prompt) {
    prompt->interrupted = true;
    wakeup_signal(&prompt->ready);
}

void prompt_hide(struct prompt *prompt) {
    if (!prompt->shown || prompt->hidden) return;
    prompt->hidden = true;
    fputs("\r\033[J", stdout);
    fflush(stdout);
}

void prompt_show(struct prompt *prompt) {
    if (!prompt->hidden) return;
    prompt->hidden = false;
    el_set(prompt->edit, EL_REFRESH);
    fflush(stdout);
}

int prompt_remember(struct prompt *prompt, const char *text) {
    if (!prompt->history) return 0;
    HistEvent event;
    history(prompt->history, &event, H_ENTER, text);
    if (!prompt->history_file) return 0;
    return history(prompt->history, &event, H_SAVE, prompt->history_file) < 0 ? -1 : 0;
}
