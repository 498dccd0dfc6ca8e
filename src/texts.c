// A hash table with chains. It grows with its texts and never shrinks: pointers are little beside texts.
#include "texts.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "hash.h"

#define FIRST_BUCKETS 256
// What the allocator takes for itself, about.
#define OVERHEAD 16

struct texts {
    unsigned refs;
    struct text **buckets;
    size_t bucket_count, count, bytes;
};

struct texts *texts_new(void) {
    struct texts *texts = xcalloc(1, sizeof *texts);
    texts->refs = 1;
    texts->bucket_count = FIRST_BUCKETS;
    texts->buckets = xcalloc(texts->bucket_count, sizeof *texts->buckets);
    return texts;
}

struct texts *texts_ref(struct texts *texts) {
    texts->refs++;
    return texts;
}

// Whoever holds a text holds the store, so that the last one to leave leaves it empty.
void texts_unref(struct texts *texts) {
    if (--texts->refs) return;
    free(texts->buckets);
    free(texts);
}

static size_t size_of(size_t len) {
    return sizeof(struct text) + len + OVERHEAD;
}

size_t texts_size(const struct texts *texts) {
    return texts->bytes + texts->bucket_count * sizeof *texts->buckets;
}

static struct text **bucket_of(const struct texts *texts, uint32_t hash) {
    return &texts->buckets[hash & (texts->bucket_count - 1)];
}

static void grow(struct texts *texts) {
    struct texts old = *texts;
    texts->bucket_count *= 2;
    texts->buckets = xcalloc(texts->bucket_count, sizeof *texts->buckets);
    for (size_t i = 0; i < old.bucket_count; i++) {
        for (struct text *text = old.buckets[i], *next; text; text = next) {
            struct text **bucket = bucket_of(texts, text->hash);
            next = text->next;
            text->next = *bucket;
            *bucket = text;
        }
    }
    free(old.buckets);
}

struct text *texts_take(struct texts *texts, const char *data, size_t len, size_t limit) {
    uint32_t hash = (uint32_t)(hash_bytes(0, data, len) >> 32);
    for (struct text *text = *bucket_of(texts, hash); text; text = text->next) {
        if (text->hash != hash || text->len != len || memcmp(text->data, data, len) != 0) continue;
        text->refs++;
        return text;
    }
    if (texts_size(texts) + size_of(len) > limit) return NULL;
    if (texts->count == texts->bucket_count) grow(texts);
    struct text *text = xmalloc(sizeof *text + len);
    struct text **bucket = bucket_of(texts, hash);
    *text = (struct text){.next = *bucket, .hash = hash, .refs = 1, .len = len};
    if (len) memcpy(text->data, data, len);
    *bucket = text;
    texts->count++;
    texts->bytes += size_of(len);
    return text;
}

void texts_give_back(struct texts *texts, struct text *text) {
    if (--text->refs) return;
    struct text **link = bucket_of(texts, text->hash);
    while (*link != text) link = &(*link)->next;
    *link = text->next;
    texts->count--;
    texts->bytes -= size_of(text->len);
    free(text);
}
