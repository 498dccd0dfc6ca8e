// Writing all of something to a descriptor.
#ifndef DBOBS_WRITE_H
#define DBOBS_WRITE_H

#include <stddef.h>

// Writes every byte, waiting where the descriptor has no room, be it blocking or not: whoever started us may have made
// it non-blocking. Returns -1 with errno set when it cannot.
int write_all(int fd, const char *data, size_t len);

#endif
