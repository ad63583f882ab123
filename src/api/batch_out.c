#include "api/batch_out.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

void batch_out_init(struct batch_out *o, const char *path, bool patient)
{
    *o = (struct batch_out){.fd = -1, .path = path, .patient = patient};
    buf_init(&o->unsaved, GIB);
}

/* What a failure leaves of it is the rest. */
static int save(struct batch_out *o)
{
    const size_t done = file_write_fd(o->fd, buf_str(&o->unsaved));
    const int failure = done < o->unsaved.len ? errno : 0;
    buf_consume(&o->unsaved, done);
    return failure;
}

int batch_out_write(struct batch_out *o, struct str text, struct error *err)
{
    buf_append_str(&o->unsaved, text);
    if (o->unsaved.failed)
        return error_set(err, o->unsaved.failed, "no memory for the results of %s", o->path);
    const int failure = save(o);
    if (failure == 0)
        return 0;
    if (!o->patient)
        return error_set(err, ERROR_IO, "cannot write %s: %s", o->path, strerror(failure));
    if (!o->waits)
        log_error("batch", "cannot write %s, trying again: %s", o->path, strerror(failure));
    o->waits = true;
    return 0;
}

bool batch_out_saved(struct batch_out *o)
{
    if (o->unsaved.len > 0 && save(o) != 0)
        return !o->patient;
    if (o->waits)
        log_info("batch", "%s can be written again", o->path);
    o->waits = false;
    return true;
}

void batch_out_close(struct batch_out *o)
{
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
    buf_free(&o->unsaved);
}
