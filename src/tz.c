// Time zones from TZif files (RFC 8536, versions 1 to 4). A damaged file is refused as a whole.
#include "tz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "embed.h"
#include "tz_rule.h"

#define HOST_DIRECTORY "/usr/share/zoneinfo"
#define LARGEST_FILE (256 * 1024)
#define HEADER_LEN 44

struct tz {
    size_t count;          // transitions
    int64_t *times;        // ascending
    unsigned char *kinds;  // the type that begins at each
    struct tz_type *types;
    size_t type_count;
    struct tz_rule rule;
    bool has_rule;
};

// The counts of a TZif header, in the order of the file.
struct header {
    char version;
    uint32_t utc, standard, leap, times, types, chars;
};

static uint32_t be32(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int64_t be64(const unsigned char *at) {
    return (int64_t)((uint64_t)be32(at) << 32 | be32(at + 4));
}

static int read_header(const unsigned char *data, size_t len, struct header *header) {
    if (len < HEADER_LEN || memcmp(data, "TZif", 4) != 0) return -1;
    *header = (struct header){.version = (char)data[4],
                              .utc = be32(data + 20),
                              .standard = be32(data + 24),
                              .leap = be32(data + 28),
                              .times = be32(data + 32),
                              .types = be32(data + 36),
                              .chars = be32(data + 40)};
    bool sane = header->types > 0 && header->types <= 256 && header->chars > 0 && header->chars <= 1024 &&
                header->times <= 20000 && header->leap <= 1000 && header->utc <= 256 && header->standard <= 256;
    return sane ? 0 : -1;
}

// Bytes of the block behind the header when times have `width` bytes.
static size_t block_len(const struct header *header, size_t width) {
    return header->times * (width + 1) + header->types * 6 + header->chars + header->leap * (width + 4) +
           header->standard + header->utc;
}

static int read_types(struct tz *tz, const struct header *header, const unsigned char *data) {
    const unsigned char *chars = data + header->types * 6;
    tz->type_count = header->types;
    tz->types = xcalloc(header->types, sizeof *tz->types);
    for (size_t i = 0; i < header->types; i++) {
        const unsigned char *entry = data + i * 6;
        struct tz_type *type = &tz->types[i];
        type->offset = (int32_t)be32(entry);
        if (type->offset < -90000 || type->offset > 93600 || entry[5] >= header->chars) return -1;
        size_t len = strnlen((const char *)chars + entry[5], header->chars - entry[5]);
        if (len >= sizeof type->abbreviation) return -1;
        memcpy(type->abbreviation, chars + entry[5], len);
    }
    return 0;
}

static int read_block(struct tz *tz, const struct header *header, const unsigned char *data, size_t width) {
    const unsigned char *kinds = data + header->times * width;
    tz->count = header->times;
    tz->times = xcalloc(tz->count, sizeof *tz->times);
    tz->kinds = xcalloc(tz->count, 1);
    for (size_t i = 0; i < tz->count; i++) {
        tz->times[i] = width == 8 ? be64(data + i * 8) : (int32_t)be32(data + i * 4);
        tz->kinds[i] = kinds[i];
        if (kinds[i] >= header->types || (i && tz->times[i] <= tz->times[i - 1])) return -1;
    }
    return read_types(tz, header, kinds + tz->count);
}

// The rule between the two newlines at the end of the file; none is fine.
static int read_footer(struct tz *tz, const unsigned char *data, size_t len) {
    char text[128];
    if (len < 2 || data[0] != '\n') return -1;
    const unsigned char *end = memchr(data + 1, '\n', len - 1);
    if (!end || (size_t)(end - data) > sizeof text) return -1;
    size_t size = (size_t)(end - data) - 1;
    memcpy(text, data + 1, size);
    text[size] = '\0';
    if (!size) return 0;
    tz->has_rule = true;
    return strlen(text) == size ? tz_rule_parse(&tz->rule, text) : -1;
}

struct tz *tz_parse(const unsigned char *data, size_t len) {
    struct tz *tz = xcalloc(1, sizeof *tz);
    struct header header;
    if (read_header(data, len, &header)) goto fail;
    size_t width = 4, size = block_len(&header, width);
    if (size > len - HEADER_LEN) goto fail;
    if (header.version >= '2') {
        // The same again with 64 bits, then the rule.
        data += HEADER_LEN + size;
        len -= HEADER_LEN + size;
        width = 8;
        if (read_header(data, len, &header)) goto fail;
        size = block_len(&header, width);
        if (size > len - HEADER_LEN) goto fail;
        if (read_footer(tz, data + HEADER_LEN + size, len - HEADER_LEN - size)) goto fail;
    }
    if (read_block(tz, &header, data + HEADER_LEN, width)) goto fail;
    return tz;
fail:
    tz_free(tz);
    return NULL;
}

void tz_free(struct tz *tz) {
    if (!tz) return;
    free(tz->times);
    free(tz->kinds);
    free(tz->types);
    free(tz);
}

static const struct tz_type *type_at(const struct tz *tz, int64_t seconds) {
    if (tz->has_rule && (tz->count == 0 || seconds >= tz->times[tz->count - 1])) return tz_rule_at(&tz->rule, seconds);
    size_t low = 0, high = tz->count;  // the first transition after the instant
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (tz->times[middle] <= seconds) low = middle + 1;
        else high = middle;
    }
    return low ? &tz->types[tz->kinds[low - 1]] : &tz->types[0];
}

static bool is_abbreviation(const struct tz_type *type, const char *text, size_t len) {
    return strlen(type->abbreviation) == len && memcmp(type->abbreviation, text, len) == 0;
}

// Whether clocks that stand `type` from UTC show the local second under the abbreviation.
static bool shows(const struct tz *tz, const struct tz_type *type, int64_t local, const char *text, size_t len) {
    if (!is_abbreviation(type, text, len)) return false;
    const struct tz_type *then = type_at(tz, local - type->offset);
    return then->offset == type->offset && is_abbreviation(then, text, len);
}

// "UTC", "GMT", "+03", "-0330", "+05:30".
static int plain_offset(const char *text, size_t len, int32_t *offset) {
    *offset = 0;
    if (len == 3 && (memcmp(text, "UTC", 3) == 0 || memcmp(text, "GMT", 3) == 0)) return 0;
    if (len < 3 || len > 9 || (text[0] != '+' && text[0] != '-')) return -1;
    static const int32_t units[] = {36000, 3600, 600, 60, 10, 1};
    size_t digits = 0;
    for (size_t i = 1; i < len; i++) {
        if (text[i] == ':' && digits && digits % 2 == 0) continue;
        if (text[i] < '0' || text[i] > '9' || digits == 6) return -1;
        *offset += (text[i] - '0') * units[digits++];
    }
    if (digits % 2) return -1;
    if (text[0] == '-') *offset = -*offset;
    return 0;
}

int tz_instant(const struct tz *tz, const struct civil *local, const char *abbreviation, size_t len, int64_t *time_us) {
    int64_t local_us = civil_to_us(local);
    int64_t seconds = local_us / 1000000 - (local_us % 1000000 < 0);
    int32_t offset;
    if (plain_offset(abbreviation, len, &offset) == 0) goto found;
    if (!tz) return -1;
    for (size_t i = 0; i < tz->type_count + 2; i++) {
        const struct tz_type *type = i < tz->type_count    ? &tz->types[i]
                                     : i == tz->type_count ? &tz->rule.standard
                                                           : &tz->rule.daylight;
        if (i >= tz->type_count && !tz->has_rule) break;
        if (!shows(tz, type, seconds, abbreviation, len)) continue;
        offset = type->offset;
        goto found;
    }
    return -1;
found:
    *time_us = local_us - (int64_t)offset * 1000000;
    return 0;
}

// A name that stays below the zone directory.
static bool is_zone_name(const char *name) {
    return *name && *name != '/' && !strstr(name, "..") && strlen(name) < 100;
}

static struct tz *load_host(const char *name) {
    char path[160];
    snprintf(path, sizeof path, HOST_DIRECTORY "/%s", name);
    FILE *file = fopen(path, "re");
    if (!file) return NULL;
    unsigned char *data = xmalloc(LARGEST_FILE);
    size_t len = fread(data, 1, LARGEST_FILE, file);
    struct tz *tz = tz_parse(data, len);
    fclose(file);
    free(data);
    return tz;
}

static struct tz *load_embedded(const char *name) {
    char path[160];
    snprintf(path, sizeof path, "zoneinfo/%s", name);
    const struct embed_file *file = embed_find(path);
    return file ? tz_parse(file->data, file->size) : NULL;
}

static struct tz *load_rule(const char *name) {
    struct tz *tz = xcalloc(1, sizeof *tz);
    tz->has_rule = true;
    if (tz_rule_parse(&tz->rule, name) == 0) return tz;
    tz_free(tz);
    return NULL;
}

struct tz *tz_load(const char *name, char *error, size_t size) {
    struct tz *tz = NULL;
    if (is_zone_name(name)) {
        tz = load_host(name);
        if (!tz) tz = load_embedded(name);
    }
    if (!tz) tz = load_rule(name);
    if (!tz) snprintf(error, size, "no time zone '%.100s': give a name such as Europe/Berlin", name);
    return tz;
}
