// A log that was compressed after its rotation, by gzip or zstd, read as the file it was before: at offsets of its
// content, one after the other, with bounded memory. Any bytes may be in it. No loop and no waiting here.
#ifndef DBOBS_TAIL_ARCHIVE_H
#define DBOBS_TAIL_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tail_archive;

// Length of a file name without the suffix that compression gives it (".gz", ".zst", ".xz", ...), the name's own length
// when it has none.
size_t tail_archive_stem(const char *name);

// Borrows fd, a file that is read from its beginning. NULL when it does not begin like an archive that can be read.
struct tail_archive *tail_archive_open(int fd);
void tail_archive_free(struct tail_archive *archive);

// Reads up to len bytes of the content from `at` on. 0 at its end. -1 with errno: EAGAIN when what lies before is not
// all decompressed yet (call again), EBADMSG when the archive is damaged or ends too early there, or of a failed read.
ssize_t tail_archive_read(struct tail_archive *archive, void *to, size_t len, int64_t at);

// Bytes of the content: exact when its end was reached, else at least what was read, and what the archive says of it.
int64_t tail_archive_size(const struct tail_archive *archive);

#endif
