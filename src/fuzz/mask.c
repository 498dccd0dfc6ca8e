// Fuzz target: any bytes as SQL, and as a password in it. The first must only end; the second must be gone.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf sql = {0}, out = {0};
    (void)mask_passwords(&out, (const char *)data, size);
    buf_puts(&sql, "alter role a password E'");
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\'' || data[i] == '\\') buf_putc(&sql, (char)data[i]);
        buf_putc(&sql, (char)data[i]);
    }
    buf_puts(&sql, "'");
    static const char expected[] = "alter role a password '***'";
    if (!mask_passwords(&out, sql.data, sql.len)) abort();
    if (out.len != sizeof expected - 1 || memcmp(out.data, expected, out.len) != 0) abort();
    buf_free(&sql);
    buf_free(&out);
    return 0;
}
