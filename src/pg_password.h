// Runs the command that prints a password. It blocks: for workers only.
#ifndef DBOBS_PG_PASSWORD_H
#define DBOBS_PG_PASSWORD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

// Runs `command` with /bin/sh and returns its standard output without the last line end; the caller frees it. NULL when
// it fails, takes longer than timeout_ms (0: no limit) or *abandoned becomes true: `error` (of `size` bytes) says why.
// The command and its output never show in `error`.
char *pg_password_run(const char *command, uint64_t timeout_ms, const atomic_bool *abandoned, char *error, size_t size);

#endif
