// Figures out of PostgreSQL's English log texts. No state.
#ifndef DBOBS_PGLOG_FIGURES_H
#define DBOBS_PGLOG_FIGURES_H

#include "buf.h"
#include "pglog_event.h"

// Where a figure stands in a text, and the payload field it becomes.
struct pglog_figure {
    const char *before, *after;  // the text directly around the number
    const char *name;            // ends in the unit
    int scale;                   // 1000 makes ms of s, 1024 makes bytes of kB
};

// Appends the figures that the text has; the list ends with a NULL name. Of two with one name the first found counts.
void pglog_put_figures(struct buf *out, struct pglog_text text, const struct pglog_figure *figures);

extern const struct pglog_figure pglog_checkpoint_figures[];
extern const struct pglog_figure pglog_vacuum_figures[];
extern const struct pglog_figure pglog_lock_wait_figures[];
extern const struct pglog_figure pglog_temp_file_figures[];
extern const struct pglog_figure pglog_duration_figures[];

#endif
