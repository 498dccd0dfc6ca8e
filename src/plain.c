// Foreign text for a terminal. Looks at each character once; never fails.
#include "plain.h"

#include <stdbool.h>

#include "utf8.h"

// Blanks and control characters: C0, DEL, and C1, which is C2 80 to C2 9F in UTF-8.
static bool is_blank(const char *text, size_t bytes) {
    const unsigned char *at = (const unsigned char *)text;
    return bytes == 1 ? at[0] <= ' ' || at[0] == 0x7F : bytes == 2 && at[0] == 0xC2 && at[1] <= 0xA0;
}

void plain_put(struct buf *out, const char *text, size_t len, size_t most) {
    bool blank = false;
    for (size_t characters = 0; len; characters++) {
        size_t bytes = utf8_char(text, len);
        size_t taken = bytes ? bytes : 1;
        if (characters == most) {
            buf_puts(out, "...");
            return;
        }
        if (!bytes) buf_puts(out, UTF8_REPLACEMENT);
        else if (!is_blank(text, bytes)) buf_put(out, text, bytes);
        else if (!blank) buf_putc(out, ' ');
        blank = bytes && is_blank(text, bytes);
        text += taken;
        len -= taken;
    }
}
