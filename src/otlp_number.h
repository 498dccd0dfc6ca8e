// Numbers as PostgreSQL writes them. No state.
#ifndef DBOBS_OTLP_NUMBER_H
#define DBOBS_OTLP_NUMBER_H

#include <stdbool.h>

#include "series.h"

// Reads a number. Returns 0, or -1 when it is none or does not fit: an integer's fraction is cut off, NaN and
// infinities are no numbers.
int otlp_parse_number(const char *text, bool is_double, struct series_value *value);

#endif
