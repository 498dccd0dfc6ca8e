// Fuzz target: any bytes as a server log in csvlog format.
#include "pglog_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    return fuzz_format(data, size, PGLOG_CSV, NULL);
}
