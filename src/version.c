/* What this binary is: the build passes the three values (src/Makefile). See version.h. */
#include "version.h"

const char version_string[] = DBOBS_VERSION;
const char version_commit[] = DBOBS_COMMIT;
const char version_flags[] = DBOBS_FLAGS;
