// Fuzz target: any bytes as a compressed log. What it holds is the same read at once, in pieces, and from the middle.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tail_archive.h"

#define LARGEST (1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds) abort();
}

// Reads up to `len` bytes from `at` on, `step` at a time; *end: errno that stopped it, 0 at the end of the content.
static size_t read_all(struct tail_archive *archive, char *to, size_t len, size_t step, int64_t at, int *end) {
    size_t all = 0;
    *end = -1;
    while (all < len) {
        ssize_t got = tail_archive_read(archive, to + all, step < len - all ? step : len - all, at + (int64_t)all);
        *end = got < 0 ? errno : 0;
        if (got < 0 && errno == EAGAIN) continue;
        if (got <= 0) break;
        *end = -1;
        all += (size_t)got;
    }
    return all;
}

// What is read in other steps from another place is the same. Where an archive is damaged it may stop elsewhere.
static void compare(struct tail_archive *archive, const char *first, size_t len, int end, size_t step, size_t from) {
    static char second[LARGEST];
    int again;
    size_t got = read_all(archive, second, LARGEST - from, step, (int64_t)from, &again);
    must(end != 0 || (got == len - from && again == 0));
    must(memcmp(first + from, second, got < len - from ? got : len - from) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char first[LARGEST];
    int fd = memfd_create("archive", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    struct tail_archive *archive = tail_archive_open(fd);
    if (archive) {
        int end;
        size_t len = read_all(archive, first, LARGEST, LARGEST, 0, &end);
        must(tail_archive_size(archive) >= (int64_t)len && end != EAGAIN);
        compare(archive, first, len, end, 7777, 0);
        compare(archive, first, len, end, 100, len / 2);
        tail_archive_free(archive);
    }
    close(fd);
    return 0;
}
