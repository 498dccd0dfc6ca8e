/* Finds an embedded file by its path. See embed.h. */
#include "embed.h"

#include <stdlib.h>
#include <string.h>

static int compare_path(const void *path, const void *file) {
    return strcmp(path, ((const struct embed_file *)file)->path);
}

const struct embed_file *embed_find(const char *path) {
    return bsearch(path, embed_files, embed_count, sizeof *embed_files, compare_path);
}
