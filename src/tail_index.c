// The files of a follower by inode and by name, so that thousands of them cost no search for each that is looked at or
// that the system tells of. Made anew when files were removed or renamed since.
#include <stdlib.h>
#include <string.h>

#include "tail_state.h"

#define SMALLEST 64

static size_t slot_of_inode(const struct tail_index *index, uint64_t device, uint64_t inode) {
    return (size_t)((inode * 0x9e3779b97f4a7c15u + device) >> 20) & (index->slots - 1);
}

static size_t slot_of_name(const struct tail_index *index, const char *name) {
    uint32_t value = 2166136261u;
    for (; *name; name++) value = (value ^ (unsigned char)*name) * 16777619u;
    return value & (index->slots - 1);
}

const char *tail_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void insert(struct tail_index *index, struct tail_file *file) {
    struct tail_file **inode = &index->inodes[slot_of_inode(index, file->device, file->inode)];
    struct tail_file **name = &index->names[slot_of_name(index, tail_base_name(file->path))];
    file->same_inode = *inode;
    *inode = file;
    file->same_name = *name;
    *name = file;
    index->count++;
}

void tail_index_free(struct tail_index *index) {
    free(index->inodes);
    free(index->names);
    *index = (struct tail_index){0};
}

void tail_index_forget(struct tail_index *index) {
    index->slots = 0;
}

static void build(struct tail *tail) {
    struct tail_index *index = &tail->index;
    size_t count = 0, slots = SMALLEST;
    for (const struct tail_file *file = tail->files; file; file = file->next) count++;
    while (slots < count * 2) slots *= 2;
    tail_index_free(index);
    index->inodes = xcalloc(slots, sizeof *index->inodes);
    index->names = xcalloc(slots, sizeof *index->names);
    index->slots = slots;
    for (struct tail_file *file = tail->files; file; file = file->next) insert(index, file);
}

void tail_index_add(struct tail *tail, struct tail_file *file) {
    if (tail->index.count >= tail->index.slots) tail_index_forget(&tail->index);
    if (tail->index.slots) insert(&tail->index, file);
}

struct tail_file *tail_known(struct tail *tail, const struct stat *status) {
    if (!tail->index.slots) build(tail);
    struct tail_file *file = tail->index.inodes[slot_of_inode(&tail->index, status->st_dev, status->st_ino)];
    for (; file; file = file->same_inode)
        if ((file->fd >= 0 || file->copy) && file->device == status->st_dev && file->inode == status->st_ino)
            return file;
    return NULL;
}

struct tail_file *tail_named(struct tail *tail, const char *name) {
    if (!tail->index.slots) build(tail);
    struct tail_file *file = tail->index.names[slot_of_name(&tail->index, name)];
    while (file && strcmp(tail_base_name(file->path), name) != 0) file = file->same_name;
    return file;
}

struct tail_file *tail_next_named(const struct tail_file *after, const char *name) {
    struct tail_file *file = after->same_name;
    while (file && strcmp(tail_base_name(file->path), name) != 0) file = file->same_name;
    return file;
}
