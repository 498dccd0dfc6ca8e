#!/bin/bash
# Writes src/pglog_words.c: the severities and keywords of a stderr log in every language that PostgreSQL has, from the
# message catalogues of an installed server (Debian: package postgresql-15; msgunfmt is in gettext). To be run when a new
# version of PostgreSQL translates them anew; what is written is committed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

catalogues=$(ls /usr/share/locale/*/LC_MESSAGES/postgres-*.mo)
out=src/pglog_words.c

# id and translation of each message, tab-separated, from msgunfmt's format
messages() {
    msgunfmt --no-wrap --force-po "$1" | awk '
        /^msgid "/ { id = substr($0, 8, length($0) - 8) }
        /^msgstr "/ { print id "\t" substr($0, 9, length($0) - 9) }'
}

words() { # words CATALOGUE...: kind and word
    local file
    for word in DEBUG LOG INFO NOTICE WARNING ERROR FATAL PANIC; do printf '%s\t%s\n' "$word" "$word"; done
    for word in DETAIL HINT QUERY CONTEXT STATEMENT LOCATION BACKTRACE; do printf '%s\t%s:  \n' "$word" "$word"; done
    for file in "$@"; do
        messages "$file" | awk -F '\t' '
            $1 ~ /^(DEBUG|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC)$/ && $2 { print $1 "\t" $2 }
            $1 ~ /^(DETAIL|HINT|QUERY|CONTEXT|STATEMENT|BACKTRACE):  $/ && $2 { sub(/:  $/, "", $1); print $1 "\t" $2 }
            $1 == "LOCATION:  %s, %s:%d\\n" && $2 { sub(/%s, %s:%d\\n$/, "", $2); print "LOCATION\t" $2 }'
    done
}

{
    cat <<'HEAD'
// Severities and keywords of stderr and csvlog in PostgreSQL's languages. Written by src/pglog_words.sh: do not edit.
#include "pglog_words.h"

// clang-format off
const struct pglog_word pglog_words[] = {
HEAD
    # English first; a word that means two things in one language (Georgian: NOTICE and WARNING) is the milder one.
    # shellcheck disable=SC2086
    words $catalogues | awk -F '\t' '!seen[$2]++ { printf "    {\"%s\", %d, PGLOG_WORD_%s},\n", $2, 0, $1 }' |
        while IFS= read -r line; do
            text=${line#*\"} text=${text%\"*}
            printf '%s\n' "${line/\", 0,/\", $(printf %s "$text" | wc -c),}"
        done
    cat <<'TAIL'
    {0},
};
// clang-format on
TAIL
} >"$out"
echo "$out: $(grep -c PGLOG_WORD_ "$out") words of $(wc -w <<<"$catalogues") catalogues"
