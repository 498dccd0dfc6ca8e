// Fuzz target: any bytes as a checkpoint file. What is taken is written and read again as the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char error[256];
    struct checkpoint first = {.lock = -1}, second = {.lock = -1};
    if (checkpoint_parse(&first, (const char *)data, size, error, sizeof error)) {
        must(first.count == 0 && *error);
        return 0;
    }
    struct buf text = {0}, again = {0};
    checkpoint_format(&first, &text);
    must(checkpoint_parse(&second, text.data, text.len, error, sizeof error) == 0 && second.count == first.count);
    checkpoint_format(&second, &again);
    must(again.len == text.len && memcmp(again.data, text.data, text.len) == 0);
    buf_free(&text);
    buf_free(&again);
    checkpoint_clear(&first);
    checkpoint_clear(&second);
    return 0;
}
