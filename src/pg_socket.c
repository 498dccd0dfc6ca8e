// A poll handle that follows libpq's socket. See pg_socket.h.
#include "pg_socket.h"

#include <stdlib.h>

#include "buf.h"

static void on_closed(uv_handle_t *handle) {
    free(handle);
}

int pg_socket_watch(struct pg_socket *socket, int fd, int events) {
    if (socket->handle && socket->fd != fd) pg_socket_close(socket);
    if (!socket->handle) {
        uv_poll_t *handle = xmalloc(sizeof *handle);
        int error = uv_poll_init(socket->loop, handle, fd);
        if (error) {
            free(handle);
            return error;
        }
        handle->data = socket->data;
        socket->handle = handle;
        socket->fd = fd;
        socket->events = 0;
    }
    if (socket->events == events) return 0;
    socket->events = events;
    return events ? uv_poll_start(socket->handle, events, socket->callback) : uv_poll_stop(socket->handle);
}

void pg_socket_pause(struct pg_socket *socket) {
    if (!socket->handle || !socket->events) return;
    uv_poll_stop(socket->handle);
    socket->events = 0;
}

void pg_socket_close(struct pg_socket *socket) {
    if (!socket->handle) return;
    uv_poll_stop(socket->handle);
    uv_close((uv_handle_t *)socket->handle, on_closed);
    socket->handle = NULL;
    socket->events = 0;
}
