// What container runtimes put around each line of a process's output: the Kubernetes format (CRI), Docker's json-file,
// and the time stamps of `docker logs -t` and `kubectl logs --timestamps`. No state.
#ifndef DBOBS_PGLOG_RUNTIME_H
#define DBOBS_PGLOG_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct pglog_runtime_line {
    const char *text;  // what the process wrote, without newline; in the line given, or in `scratch`
    size_t len;
    bool partial;  // the next line continues it
    bool dated;    // time_us is the runtime's
    int64_t time_us;
};

// Takes a line (without newline) out of what its runtime put around it; a line that none did stays as it is.
void pglog_runtime_unwrap(const char *line, size_t len, struct buf *scratch, struct pglog_runtime_line *out);

#endif
