# shellcheck shell=bash
# Changed here: its own luaL_setfuncs has LuaJIT's name; and a number is written with as many digits as it takes to
# read the same number back (15 to 17, integers in full), where the original stops at 14.
package=lua-cjson licence=MIT needs=luajit

build() {
    sed -i 's/luaL_setfuncs/cjson_setfuncs/g
        s/^#define DEFAULT_ENCODE_NUMBER_PRECISION 14/#define DEFAULT_ENCODE_NUMBER_PRECISION 17/
        s/&cfg->encode_number_precision, 1, 14)/\&cfg->encode_number_precision, 1, 17)/
        s/len = fpconv_g_fmt(/len = number_format(/' lua_cjson.c
    sed -i 's/precision <= 14/precision <= 17/' fpconv.c
    cat >number_format.h <<'END'
static int number_format(char *to, double num, int precision)
{
    int whole = num == floor(num) && fabs(num) < 1e17;
    int digits = precision < 15 || whole ? precision : 15, len;
    char *end;

    do
        len = fpconv_g_fmt(to, num, digits);
    while (digits++ < precision && fpconv_strtod(to, &end) != num);
    return len;
}
END
    sed -i 's/^#include "fpconv.h"/&\n#include "number_format.h"/' lua_cjson.c
    grep -q 'number_format.h' lua_cjson.c
    grep -q 'len = number_format(' lua_cjson.c
    archive cjson lua_cjson.c strbuf.c fpconv.c
}
