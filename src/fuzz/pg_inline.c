// Fuzz target: any text as a statement whose arguments are put into it. Without arguments it stays as it is; with them
// each place is found again: only the number of bytes may differ.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "pg_inline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *sql = xstrndup((const char *)data, size);
    struct buf same = {0}, other = {0};
    const struct pg_argument itself[] = {{"$1", false}, {"$2", false}};
    const struct pg_argument texts[] = {{"it's \\", true}, {NULL, false}};
    bool taken = pg_inline(&same, sql, 2, itself) == 0;
    if (taken != (pg_inline(&other, sql, 2, texts) == 0)) abort();
    if (taken && strlen(same.data) + 1 != same.len) abort();
    buf_clear(&same);
    if (pg_inline(&same, sql, 0, NULL) == 0 && strcmp(same.data, sql) != 0) abort();
    buf_free(&same);
    buf_free(&other);
    free(sql);
    return 0;
}
