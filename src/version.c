/* What this binary is: the build writes version_values.h (src/Makefile). See version.h. */
#include "version.h"

#include "version_values.h"

const char version_string[] = DBOBS_VERSION;
const char version_commit[] = DBOBS_COMMIT;
const char version_flags[] = DBOBS_FLAGS;
