/* The results of a batch on their way into a file. They cost money, so what a full disk does not take waits
 * in memory until it does. */
#ifndef WEIR_API_BATCH_OUT_H
#define WEIR_API_BATCH_OUT_H

#include "base/buf.h"
#include "base/error.h"

struct batch_out {
    int fd;
    const char *path;
    bool patient; /* else what cannot be written is an error */
    bool waits;   /* the log says so */
    struct buf unsaved;
};

/* `fd` -1: there is none yet. */
void batch_out_init(struct batch_out *o, const char *path, bool patient);
int batch_out_write(struct batch_out *o, struct str text, struct error *err) MUST_USE;
/* Whether everything is in the file, after another try, or nobody waits for that. */
bool batch_out_saved(struct batch_out *o);
void batch_out_close(struct batch_out *o);

#endif
