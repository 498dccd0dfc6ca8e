#!/bin/bash
# Everything that can be said about the sources without running them: format, Lua, C and shell checkers, and the rules
# of the house (dependencies point down only, one yield, one resume, a short list of top folders).
# Prints each finding; the last line is "N passed, N failed", one for each check.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

passed=0
failed=0

check() { # check NAME COMMAND...: a check fails by its exit code
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        echo "lint: $name failed" >&2
        failed=$((failed + 1))
    fi
}

# files PATTERN...: what git tracks, plus what is new and not ignored
files() { git ls-files -co --exclude-standard -- "$@" | while read -r file; do [ ! -f "$file" ] || echo "$file"; done; }

# none PATTERN FILE...: no line matches
none() {
    local pattern=$1
    shift
    [ $# -gt 0 ] || return 0
    ! grep -nHE -- "$pattern" "$@" >&2
}

check_format() {
    files 'src/*.c' 'src/*.h' | xargs -r clang-format --dry-run -Werror
}

check_lua() {
    files '*.lua' | xargs -r luacheck -q --config .luacheckrc
}

# cppcheck has its own opinions of style; only what is wrong or wasteful is asked for. It cannot read hexadecimal
# floating point numbers, and so takes every range check with them for a contradiction.
check_c() {
    local suppressions=(--suppress=missingIncludeSystem --suppress=missingInclude --suppress=unusedFunction
        --suppress=incorrectLogicOperator)
    files 'src/*.c' | cppcheck -q --std=c11 --language=c --enable=warning,performance,portability --inline-suppr \
        --error-exitcode=1 -j "$(nproc)" -Isrc "${suppressions[@]}" -D__x86_64__ -D__linux__ -D_GNU_SOURCE --file-list=-
}

check_shell() {
    { files '*.sh' '.ci/run'; } | xargs -r shellcheck -x
}

# A binding includes no other binding.
check_bindings() {
    local file own bad=0
    for file in $(files 'src/lua_*.c'); do
        own=${file##*/}
        own=${own%.c}
        if grep -nHE '^ *# *include "lua_' "$file" | grep -v "\"$own.h\"" >&2; then
            bad=1
        fi
    done
    return $bad
}

# Primitives have no Lua in them. luax is the bindings' own helper.
check_primitives() {
    local file list=()
    for file in $(files 'src/*.c' 'src/*.h' ':!src/fuzz/*'); do
        case ${file##*/} in
            main.c | bindings.h | vm.[ch] | task.[ch] | luax*.[ch] | lua_*.[ch] | cmd_*.[ch]) ;;
            *) list+=("$file") ;;
        esac
    done
    none '# *include [<"](lua|lauxlib|lualib|luajit|luax|lua_[a-z_]*)\.h' "${list[@]}"
}

# once WORD: exactly one call in all of the sources
once() {
    local found
    found=$(files 'src/*.c' | xargs -r grep -nF -- "$1(" | grep -vE '^[^:]*:[0-9]*: *(\*|//|/\*)')
    [ "$(grep -c . <<<"$found")" = 1 ] || {
        echo "$1 is to be called in one place, and is in:" >&2
        echo "$found" >&2
        return 1
    }
}

check_leftovers() {
    # The words are put together here, so that this file does not find itself.
    files src lua pipelines proto docker tests build.sh Makefile | grep -v '^tests/fuzz/' |
        xargs -r grep -nHE "\b(TO""DO|FIX""ME|X""XX)\b" >&2 && return 1
    return 0
}

# Links of documents to files lead to files that are there.
check_links() {
    local file link bad=0
    for file in $(files '*.md'); do
        while read -r link; do
            [ -e "$(dirname "$file")/${link%%#*}" ] || {
                echo "$file: a link leads nowhere: $link" >&2
                bad=1
            }
        done < <(grep -oE '\]\([^)#][^)]*\)' "$file" | sed -E 's/^\]\((.*)\)$/\1/' | grep -vE '^[a-z]+:')
    done
    return $bad
}

check_top() {
    local entry bad=0
    for entry in $(files . | cut -d/ -f1 | sort -u); do
        case $entry in
            build.sh | Makefile | src | lua | pipelines | proto | docker | tests | README.md | LICENSE | .*) ;;
            *)
                echo "$entry does not belong into the top folder" >&2
                bad=1
                ;;
        esac
    done
    return $bad
}

check "C format (make fmt)" check_format
check luacheck check_lua
check cppcheck check_c
check shellcheck check_shell
check "bindings include no other binding" check_bindings
check "primitives know no Lua" check_primitives
check "one resume" once lua_resume
check "one yield" once lua_yield
check "nothing left to do in the sources" check_leftovers
check "links of documents" check_links
check "top folder" check_top
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
