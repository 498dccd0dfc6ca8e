/* What this binary is. The strings are written by the build (src/Makefile); the sbom is the embedded sbom.json. */
#ifndef DBOBS_VERSION_H
#define DBOBS_VERSION_H

extern const char version_string[]; /* "0.1.0" */
extern const char version_commit[]; /* twelve digits, "-dirty" after them when tracked files differ; or "unknown" */
extern const char version_flags[];  /* toolchain, compiler and flags */

#endif
