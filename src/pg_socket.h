// A poll handle that follows libpq's socket: libpq may close its socket and open another while it connects, also
// under the same number. libuv frees handles at its own time, so each one is allocated and freed by its close callback.
#ifndef DBOBS_PG_SOCKET_H
#define DBOBS_PG_SOCKET_H

#include <uv.h>

// Zeroed memory with loop, callback and data set watches nothing.
struct pg_socket {
    uv_loop_t *loop;
    uv_poll_cb callback;  // handle->data is `data`
    void *data;
    uv_poll_t *handle;
    int fd;
    int events;  // UV_READABLE, UV_WRITABLE; 0 while paused
};

// Watches fd for these events (0 pauses). Returns 0 or libuv's error. A no-op when nothing changes.
int pg_socket_watch(struct pg_socket *socket, int fd, int events);
// To be called before libpq may close the socket.
void pg_socket_pause(struct pg_socket *socket);
void pg_socket_close(struct pg_socket *socket);

#endif
