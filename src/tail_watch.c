// What the system tells of the directory. Where it tells of every write, files at rest are looked at only now and then;
// elsewhere (network file systems, containers' layers, no watch left) at every poll.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "tail_state.h"

// Something happened in the directory. What concerns none of our files wakes nobody: it may be our own log there.
static void on_watch(uv_fs_event_t *watch, const char *name, int events, int status) {
    struct tail *tail = watch->data;
    bool ours = status < 0 || !name || tail_is_log(tail, name);
    if (!name)
        for (struct tail_file *file = tail->files; file; file = file->next) file->eof_ns = 0;
    struct tail_file *file = name ? tail_named(tail, name) : NULL;
    for (; file; file = tail_next_named(file, name)) {
        file->eof_ns = 0;
        ours = true;
    }
    if (!ours) return;
    if (status < 0 || !name || (events & UV_RENAME)) tail->look = true;
    wakeup_signal(&tail->news);
}

// Whether the kernel knows of all that is written there: others can write to what a server or another layer shares.
static bool is_local(const char *directory) {
    static const unsigned long local[] = {
        0xef53,      0x58465342, 0x9123683e, 0x01021994, 0x2fc12fc1,  // ext, xfs, btrfs, tmpfs, zfs
        0xf2f52010u, 0x858458f6, 0xca451a4e, 0x52654973,              // f2fs, ramfs, bcachefs, reiserfs
    };
    struct statfs status;
    if (statfs(directory, &status)) return false;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (((unsigned long)status.f_type & 0xffffffffu) == local[i]) return true;
    return false;
}

static void tell_unwatched(struct tail *tail, const char *directory, int error) {
    if (tail->told_unwatched || error == UV_ENOENT || error == UV_ENOTDIR) return;
    tail->told_unwatched = true;
    const char *hint = error == UV_ENOSPC   ? " (the limit is fs.inotify.max_user_watches)"
                       : error == UV_EMFILE ? " (the limit is fs.inotify.max_user_instances, or that of open files)"
                                            : "";
    tail_note(tail, "cannot watch %s: %s%s; its files are looked at every %.3g s instead", directory,
              uv_strerror(error), hint, (double)tail->poll_ms / 1000);
}

void tail_watch(struct tail *tail) {
    struct stat status;
    char *directory = tail_file_directory(tail->pattern);
    bool there = !strpbrk(directory, "*?[") && stat(directory, &status) == 0;
    // Another directory can have come to its place.
    bool moved =
        tail->watching && (!there || status.st_dev != tail->watched_device || status.st_ino != tail->watched_inode);
    if (moved) uv_fs_event_stop(&tail->watch);
    if (moved) tail->watching = tail->told_all = false;
    if (there && !tail->watching) {
        int result = uv_fs_event_start(&tail->watch, on_watch, directory, 0);
        tail->watching = result == 0;
        tail->watched_device = status.st_dev;
        tail->watched_inode = status.st_ino;
        tail->told_all = tail->watching && is_local(directory);
        tail->look = true;
        if (result) tell_unwatched(tail, directory, result);
    }
    free(directory);
}

bool tail_is_told(const struct tail *tail, const struct stat *status, bool is_link) {
    // A file that has other names, or is a mount of its own, is written to elsewhere.
    return tail->told_all && !is_link && status->st_nlink == 1 && status->st_dev == tail->watched_device;
}
