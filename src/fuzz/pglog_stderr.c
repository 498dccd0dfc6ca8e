// Fuzz target: any bytes as a server log in stderr format, behind the log_line_prefix of their first line.
#include "pglog_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *newline = size ? memchr(data, '\n', size) : NULL;
    if (!newline) return 0;
    size_t len = (size_t)(newline - (const char *)data);
    char *prefix = xstrndup((const char *)data, len);
    fuzz_format(data + len + 1, size - len - 1, PGLOG_STDERR, prefix);
    free(prefix);
    return 0;
}
