/*
 * The files inside the binary: our Lua (lua/...), the pipelines (pipelines/...), the Lua modules of others
 * (vendor/...), the time zones (zoneinfo/...) and sbom.json. Written by src/embed.sh, sorted by path.
 * The data is read-only, lives for ever, and has a NUL after its last byte that size does not count.
 */
#ifndef DBOBS_EMBED_H
#define DBOBS_EMBED_H

#include <stddef.h>

struct embed_file {
    const char *path;
    const unsigned char *data;
    size_t size;
};

extern const struct embed_file embed_files[];
extern const size_t embed_count;

/* NULL when there is no such file. */
const struct embed_file *embed_find(const char *path);

#endif
