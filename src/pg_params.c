// Connection parameters: the lists that libpq takes, and what they mean after defaults, environment and service file.
// Owns the copies in struct pg_params. What fails is said in libpq's words.
#include "pg_params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

void pg_params_init(struct pg_params *params, const char *const *keywords, const char *const *values, size_t spare) {
    while (keywords[params->count]) params->count++;
    params->capacity = params->count + spare;
    params->keywords = xcalloc(params->capacity + 1, sizeof *params->keywords);
    params->values = xcalloc(params->capacity + 1, sizeof *params->values);
    for (size_t i = 0; i < params->count; i++) {
        params->keywords[i] = xstrdup(keywords[i]);
        params->values[i] = xstrdup(values[i]);
    }
}

static void wipe(char *value) {
    explicit_bzero(value, strlen(value));
    free(value);
}

void pg_params_set(struct pg_params *params, const char *keyword, const char *value) {
    size_t i = 0;
    while (i < params->count && strcmp(params->keywords[i], keyword) != 0) i++;
    if (i == params->capacity) return;
    if (i == params->count) {
        params->keywords[i] = xstrdup(keyword);
        params->count++;
    } else {
        wipe(params->values[i]);
    }
    params->values[i] = xstrdup(value);
}

void pg_params_free(struct pg_params *params) {
    for (size_t i = 0; i < params->count; i++) {
        free(params->keywords[i]);
        wipe(params->values[i]);
    }
    free(params->keywords);
    free(params->values);
    *params = (struct pg_params){0};
}

// The value of an option of PQconninfo's list, "" when it has none.
static const char *option(const PQconninfoOption *options, const char *keyword) {
    for (; options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0) return options->val ? options->val : "";
    return "";
}

// Element i of a comma-separated list and its length; NULL behind the last.
static const char *element(const char *list, size_t i, size_t *len) {
    while (i-- > 0) {
        list = strchr(list, ',');
        if (!list) return NULL;
        list++;
    }
    *len = strcspn(list, ",");
    return list;
}

static bool is_element(const char *list, size_t i, const char *text) {
    size_t len;
    const char *at = element(list, i, &len);
    return at && strlen(text) == len && memcmp(at, text, len) == 0;
}

static void set_without(struct pg_params *params, const char *keyword, const char *list, size_t i) {
    if (!strchr(list, ',')) return;  // one port for all hosts
    struct buf rest = {0};
    size_t len;
    const char *at;
    bool first = true;
    for (size_t n = 0; (at = element(list, n, &len)); n++) {
        if (n == i) continue;
        if (!first) buf_putc(&rest, ',');
        buf_put(&rest, at, len);
        first = false;
    }
    buf_putc(&rest, '\0');
    pg_params_set(params, keyword, rest.data);
    buf_free(&rest);
}

bool pg_params_strike_host(struct pg_params *params, PGconn *conn) {
    PQconninfoOption *options = PQconninfo(conn);
    if (!options) return false;
    const char *hosts = option(options, "host");
    const char *addresses = option(options, "hostaddr");
    const char *ports = option(options, "port");
    const char *names = *hosts ? hosts : addresses;
    bool one_port = !strchr(ports, ',');
    bool struck = false;
    size_t len;
    for (size_t i = 0; !struck && strchr(names, ',') && element(names, i, &len); i++) {
        if (!is_element(names, i, PQhost(conn)) || !(one_port || is_element(ports, i, PQport(conn)))) continue;
        set_without(params, "host", hosts, i);
        set_without(params, "hostaddr", addresses, i);
        set_without(params, "port", ports, i);
        struck = true;
    }
    PQconninfoFree(options);
    return struck;
}

// libpq fills everything in and then checks the values, PG_PARAMS_REFUSED among the last: it refuses, so nothing is
// opened.
PGconn *pg_params_resolve(const struct pg_params *params, char *error, size_t size) {
    struct pg_params copy = {0};
    pg_params_init(&copy, (const char *const *)params->keywords, (const char *const *)params->values, 1);
    pg_params_set(&copy, PG_PARAMS_REFUSED, "none: this is only to see what the parameters mean");
    PGconn *conn = PQconnectStartParams((const char *const *)copy.keywords, (const char *const *)copy.values, 0);
    pg_params_free(&copy);
    if (conn && strstr(PQerrorMessage(conn), PG_PARAMS_REFUSED)) return conn;
    snprintf(error, size, "%s", conn ? PQerrorMessage(conn) : "out of memory");
    error[strcspn(error, "\n")] = '\0';
    PQfinish(conn);
    return NULL;
}

void pg_number_text(double number, char text[PG_NUMBER_SIZE]) {
    bool whole = number == floor(number) && fabs(number) < 1e18;
    if (isnan(number)) strcpy(text, "NaN");
    else if (isinf(number)) strcpy(text, number < 0 ? "-Infinity" : "Infinity");
    else snprintf(text, PG_NUMBER_SIZE, whole ? "%.0f" : "%.17g", number);
}
