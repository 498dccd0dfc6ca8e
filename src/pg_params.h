// Connection parameters: the lists that libpq takes, and what they mean after defaults, environment and service file.
#ifndef DBOBS_PG_PARAMS_H
#define DBOBS_PG_PARAMS_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

// Keywords and values, each ended by NULL. A later entry counts. Owner: whoever called init.
struct pg_params {
    char **keywords;
    char **values;
    size_t count, capacity;
};

// Copies the lists and leaves room for `spare` names more.
void pg_params_init(struct pg_params *params, const char *const *keywords, const char *const *values, size_t spare);
// Sets a parameter, at most `spare` that were not there.
void pg_params_set(struct pg_params *params, const char *keyword, const char *value);
// Frees it; values are overwritten first, a password may be among them.
void pg_params_free(struct pg_params *params);

// Takes the host that conn is trying out of the list of hosts. False when no other is left.
bool pg_params_strike_host(struct pg_params *params, PGconn *conn);

// The parameter that pg_params_resolve sets to a value which libpq refuses.
#define PG_PARAMS_REFUSED "target_session_attrs"

// A connection that was only prepared, never opened: PQconninfo and PQhost tell what the parameters mean. NULL after an
// error, which is then in `error`; else the caller's to PQfinish. Reads the service file and the password file.
PGconn *pg_params_resolve(const struct pg_params *params, char *error, size_t size);

// A number as the server reads it: whole ones without an exponent, others so that none is rounded.
#define PG_NUMBER_SIZE 40
void pg_number_text(double number, char text[PG_NUMBER_SIZE]);

#endif
