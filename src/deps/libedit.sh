# shellcheck shell=bash
# Compiled without its configure, which would want ncurses: of that only the six functions of termcap are used, and the
# terminals of today all understand the same control sequences, which are written out here.
package=libedit licence="BSD-3-Clause AND BSD-2-Clause AND ISC"

termcap() {
    cat >termcap.h <<'C'
int tgetent(char *entry, const char *name);
int tgetflag(char *name);
int tgetnum(char *name);
char *tgetstr(char *name, char **area);
char *tgoto(const char *text, int column, int row);
int tputs(const char *text, int lines, int (*put)(int));
C
    cat >termcap.c <<'C'
#include <stdio.h>
#include <string.h>

#include "termcap.h"

static const char *const texts[][2] = {
    {"bl", "\a"},      {"cd", "\033[J"},   {"ce", "\033[K"},   {"ch", "\033[%dG"}, {"cl", "\033[H\033[2J"},
    {"dc", "\033[P"},  {"DC", "\033[%dP"}, {"ho", "\033[H"},   {"IC", "\033[%d@"}, {"kd", "\033[B"},
    {"kD", "\033[3~"}, {"kh", "\033[H"},   {"kl", "\033[D"},   {"kr", "\033[C"},   {"ku", "\033[A"},
    {"@7", "\033[F"},  {"LE", "\033[%dD"}, {"nd", "\033[C"},   {"RI", "\033[%dC"}, {"up", "\033[A"},
    {"UP", "\033[%dA"},
};

int tgetent(char *entry, const char *name) { return 1; }
int tgetflag(char *name) { return !strcmp(name, "am") || !strcmp(name, "xn"); }
int tgetnum(char *name) { return !strcmp(name, "co") ? 80 : !strcmp(name, "li") ? 24 : -1; }

char *tgetstr(char *name, char **area) {
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(texts[i][0], name)) return (char *)texts[i][1];
    return NULL;
}

/* Columns are counted from 1 by the terminal. */
char *tgoto(const char *text, int column, int row) {
    static char made[32];
    int number = text[strlen(text) - 1] == 'G' ? column + 1 : column;
    snprintf(made, sizeof made, "\033[%d%c", number, text[strlen(text) - 1]);
    return made;
}

int tputs(const char *text, int lines, int (*put)(int)) {
    for (; *text; text++) put(*text);
    return 0;
}
C
}

build() {
    local file sources=()
    # musl's wide characters are ISO 10646 without saying so.
    cat >config.h <<'H'
#ifndef __STDC_ISO_10646__
#define __STDC_ISO_10646__ 1
#endif
#define HAVE_FCNTL_H 1
#define HAVE_GETPW_R_POSIX 1
#define HAVE_SECURE_GETENV 1
#define HAVE_SYS_IOCTL_H 1
#define HAVE_TERMCAP_H 1
#define HAVE_UNISTD_H 1
#define HAVE_WCSDUP 1
#include <stdint.h>
#include "src/sys.h"
#define SCCSID
#undef LIBC_SCCS
#define lint
H
    cd src || return
    local ours=(vi.c emacs.c common.c) headers=(vi.h emacs.h common.h)
    for file in "${ours[@]}"; do sh ./makelist -h "$file" >"${file%.c}.h"; done
    sh ./makelist -fh "${headers[@]}" >fcns.h
    sh ./makelist -bh "${ours[@]}" >help.h
    sh ./makelist -fc "${headers[@]}" >func.h
    termcap
    for file in chared chartype common el eln emacs hist history historyn keymacro literal map parse prompt read \
        reallocarr refresh search sig strlcat strlcpy terminal termcap tokenizer tokenizern tty unvis vi vis; do
        sources+=("$file.c")
    done
    archive edit -I.. -I. -D_GNU_SOURCE -Werror=implicit-function-declaration "${sources[@]}"
    cp histedit.h "$out/include/"
}
