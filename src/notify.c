// The protocol is one datagram, so libsystemd, which would bring much else, is not needed.
#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int notify_send(const char *text) {
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path || !*path) return 0;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if ((*path != '/' && *path != '@') || len >= sizeof name.sun_path) {
        errno = EINVAL;
        return -1;
    }
    memcpy(name.sun_path, path, len);
    // An '@' stands for the NUL byte with which names in the abstract namespace begin.
    if (*path == '@') name.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ssize_t sent = sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&name, size);
    int code = errno;
    close(fd);
    errno = code;
    return sent < 0 ? -1 : 1;
}
