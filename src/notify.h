// Tells systemd how the service is (sd_notify(3)): a datagram to the socket that $NOTIFY_SOCKET names.
#ifndef DBOBS_NOTIFY_H
#define DBOBS_NOTIFY_H

// text: "READY=1", "STOPPING=1", "WATCHDOG=1", ... 1 when it was sent, 0 when nobody asked to be told, -1 with errno.
int notify_send(const char *text);

#endif
