// write(2) until nothing is left.
#include "write.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

int write_all(int fd, const char *data, size_t len) {
    while (len) {
        ssize_t written = write(fd, data, len);
        if (written < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            (void)poll(&room, 1, -1);
            continue;
        }
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return -1;
        data += written;
        len -= (size_t)written;
    }
    return 0;
}
