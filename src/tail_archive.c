// Reading goes forward; an offset before the last one begins at the archive's start again. An archive of several parts
// behind each other (as written by appending) is read as one, and zeros behind the last are padding.
#include "tail_archive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "buf.h"

#define INPUT 65536
#define TURN_BYTES (4 * 1024 * 1024)  // of the content that one call goes over at most

struct tail_archive {
    int fd;
    bool zstd;
    z_stream gzip;
    ZSTD_DStream *stream;
    unsigned char input[INPUT];
    size_t input_len, input_at;
    int64_t input_offset;  // in the archive, behind the input
    int64_t at;            // of the next byte of the content
    int64_t promised;      // size of the content as the archive says
    bool within;           // a part has begun and not ended
    bool ended;
    int failed;  // errno that lasts
};

size_t tail_archive_stem(const char *name) {
    static const char *const suffixes[] = {".gz", ".zst", ".xz", ".bz2", ".lz4", ".lzma", ".Z", ".zip"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t suffix = strlen(suffixes[i]);
        if (len > suffix && strcmp(name + len - suffix, suffixes[i]) == 0) return len - suffix;
    }
    return len;
}

static bool is_gzip(const unsigned char *bytes, size_t len) {
    return len >= 3 && bytes[0] == 0x1f && bytes[1] == 0x8b && bytes[2] == 8;
}

static bool is_zstd(const unsigned char *bytes, size_t len) {
    return len >= 4 && memcmp(bytes, "\x28\xb5\x2f\xfd", 4) == 0;
}

// What the archive says of its content's size, 0 when it does not: gzip at its end, modulo 4 GiB, zstd at its start.
static int64_t promised_size(const struct tail_archive *archive, const unsigned char *head, size_t len) {
    if (archive->zstd) {
        unsigned long long size = ZSTD_getFrameContentSize(head, len);
        bool known = size != ZSTD_CONTENTSIZE_UNKNOWN && size != ZSTD_CONTENTSIZE_ERROR && size <= INT64_MAX;
        return known ? (int64_t)size : 0;
    }
    unsigned char tail[4];
    off_t end = lseek(archive->fd, 0, SEEK_END);
    if (end < (off_t)sizeof tail || pread(archive->fd, tail, sizeof tail, end - 4) != sizeof tail) return 0;
    return (int64_t)tail[0] | (int64_t)tail[1] << 8 | (int64_t)tail[2] << 16 | (int64_t)tail[3] << 24;
}

static void rewind_archive(struct tail_archive *archive) {
    archive->input_len = archive->input_at = 0;
    archive->input_offset = archive->at = 0;
    archive->within = archive->ended = false;
    archive->failed = 0;
    if (archive->zstd) (void)ZSTD_DCtx_reset(archive->stream, ZSTD_reset_session_only);
    else (void)inflateReset(&archive->gzip);
}

struct tail_archive *tail_archive_open(int fd) {
    unsigned char head[64];
    ssize_t got = pread(fd, head, sizeof head, 0);
    if (got <= 0 || (!is_gzip(head, (size_t)got) && !is_zstd(head, (size_t)got))) return NULL;
    struct tail_archive *archive = xcalloc(1, sizeof *archive);
    archive->fd = fd;
    archive->zstd = is_zstd(head, (size_t)got);
    bool ready;
    if (archive->zstd) ready = (archive->stream = ZSTD_createDStream()) != NULL;
    else ready = inflateInit2(&archive->gzip, 16 + MAX_WBITS) == Z_OK;
    if (!ready) {
        free(archive);
        return NULL;
    }
    archive->promised = promised_size(archive, head, (size_t)got);
    return archive;
}

void tail_archive_free(struct tail_archive *archive) {
    if (!archive) return;
    if (archive->zstd) ZSTD_freeDStream(archive->stream);
    else inflateEnd(&archive->gzip);
    free(archive);
}

// Makes more of the archive the input, behind what is left of it. 1, 0 at the archive's end, -1 with errno.
static int read_input(struct tail_archive *archive) {
    size_t left = archive->input_len - archive->input_at;
    memmove(archive->input, archive->input + archive->input_at, left);
    ssize_t got = pread(archive->fd, archive->input + left, INPUT - left, archive->input_offset);
    archive->input_at = 0;
    archive->input_len = left + (got > 0 ? (size_t)got : 0);
    archive->input_offset += got > 0 ? got : 0;
    return got > 0 ? 1 : (int)got;
}

// Whether another part begins in the input. -1 with errno when it cannot be read.
static int begin_part(struct tail_archive *archive) {
    if (archive->input_len - archive->input_at < 4 && read_input(archive) < 0) return -1;
    const unsigned char *from = archive->input + archive->input_at;
    size_t len = archive->input_len - archive->input_at;
    if (!(archive->zstd ? is_zstd(from, len) : is_gzip(from, len))) return 0;
    if (archive->zstd) (void)ZSTD_DCtx_reset(archive->stream, ZSTD_reset_session_only);
    else (void)inflateReset(&archive->gzip);
    archive->within = true;
    return 1;
}

static int damaged(struct tail_archive *archive) {
    archive->failed = errno = EBADMSG;
    return -1;
}

// Decompresses from the input into `to`: bytes, -1 when the archive is damaged.
static ssize_t decompress(struct tail_archive *archive, void *to, size_t len) {
    size_t left = archive->input_len - archive->input_at;
    if (archive->zstd) {
        ZSTD_inBuffer in = {archive->input + archive->input_at, left, 0};
        ZSTD_outBuffer out = {to, len, 0};
        size_t result = ZSTD_decompressStream(archive->stream, &out, &in);
        if (ZSTD_isError(result)) return damaged(archive);
        archive->input_at += in.pos;
        archive->within = result != 0;
        return (ssize_t)out.pos;
    }
    archive->gzip.next_in = archive->input + archive->input_at;
    archive->gzip.avail_in = (uInt)left;
    archive->gzip.next_out = to;
    archive->gzip.avail_out = (uInt)len;
    int result = inflate(&archive->gzip, Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return damaged(archive);
    archive->input_at += left - archive->gzip.avail_in;
    archive->within = result != Z_STREAM_END;
    return (ssize_t)(len - archive->gzip.avail_out);
}

// The next bytes of the content: 0 at its end, -1 with errno.
static ssize_t read_on(struct tail_archive *archive, void *to, size_t len) {
    if (archive->failed) {
        errno = archive->failed;
        return -1;
    }
    while (!archive->ended) {
        if (!archive->within) {
            int begun = begin_part(archive);
            if (begun < 0) return -1;
            archive->ended = !begun;
            continue;
        }
        ssize_t got = decompress(archive, to, len);
        if (got) {
            archive->at += got > 0 ? got : 0;
            return got;
        }
        if (!archive->within) continue;
        int more = read_input(archive);
        if (more > 0) continue;
        // It may still be being written: what is missing can come.
        if (more == 0) errno = EBADMSG;
        return -1;
    }
    return 0;
}

ssize_t tail_archive_read(struct tail_archive *archive, void *to, size_t len, int64_t at) {
    unsigned char skipped[INPUT];
    if (at < archive->at) rewind_archive(archive);
    if (len > TURN_BYTES) len = TURN_BYTES;
    for (int64_t until = archive->at + TURN_BYTES; archive->at < at;) {
        if (archive->at >= until) {
            errno = EAGAIN;
            return -1;
        }
        int64_t left = at - archive->at;
        ssize_t got = read_on(archive, skipped, left < INPUT ? (size_t)left : INPUT);
        if (got <= 0) return got;
    }
    return len ? read_on(archive, to, len) : 0;
}

int64_t tail_archive_size(const struct tail_archive *archive) {
    return archive->ended || archive->at > archive->promised ? archive->at : archive->promised;
}
