// Texts that several owners hold, each stored once. Counted: the store lives as long as anyone who has it, a text as
// long as one of its owners.
#ifndef DBOBS_TEXTS_H
#define DBOBS_TEXTS_H

#include <stddef.h>
#include <stdint.h>

struct texts;

struct text {
    struct text *next;  // in its bucket
    uint32_t hash, refs;
    size_t len;
    char data[];
};

struct texts *texts_new(void);
struct texts *texts_ref(struct texts *texts);
void texts_unref(struct texts *texts);

// The store's one copy of data, which the caller then owns a part of. NULL when it is new and the store would grow past
// `limit` bytes.
struct text *texts_take(struct texts *texts, const char *data, size_t len, size_t limit);
void texts_give_back(struct texts *texts, struct text *text);
// Bytes of memory that the store takes with all its texts.
size_t texts_size(const struct texts *texts);

#endif
