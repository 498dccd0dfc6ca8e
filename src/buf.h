// A growing byte buffer. The owner frees it. An allocation that fails ends the process with a message: a collector
// without memory for one record has nothing better to do, and its checkpoints are on disk.
#ifndef DBOBS_BUF_H
#define DBOBS_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
    char *data;
    size_t len, cap;
};

// Makes room for `more` further bytes behind len.
void buf_reserve(struct buf *buf, size_t more);
void buf_free(struct buf *buf);
// Decimal digits of a signed 64-bit integer.
void buf_put_int(struct buf *buf, int64_t value);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

// malloc, realloc and strndup that do not return NULL.
void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *old, size_t size);
char *xstrndup(const char *text, size_t len);
char *xstrdup(const char *text);

static inline void buf_put(struct buf *buf, const void *data, size_t len) {
    if (buf->cap - buf->len < len) buf_reserve(buf, len);
    if (len) memcpy(buf->data + buf->len, data, len);
    buf->len += len;
}

static inline void buf_putc(struct buf *buf, char c) {
    if (buf->cap == buf->len) buf_reserve(buf, 1);
    buf->data[buf->len++] = c;
}

static inline void buf_puts(struct buf *buf, const char *text) {
    buf_put(buf, text, strlen(text));
}

static inline void buf_clear(struct buf *buf) {
    buf->len = 0;
}

#endif
