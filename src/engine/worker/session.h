/* The worker's side of wire.h: one connection, one model.
 *
 *   NEW --LOAD--> UP, INSPECT or, without a file, TEMPLATE
 *                 a model that cannot be loaded leaves FAILED: every call is refused
 *
 * One thread turns the wheel: take frames, run a step of the scheduler, write. When the gateway does not
 * read, nothing is generated and nothing more is taken, so the queues stay small. */
#ifndef WEIR_ENGINE_WORKER_SESSION_H
#define WEIR_ENGINE_WORKER_SESSION_H

#include <stddef.h>
#include <stdint.h>

struct session_setup {
    int fd;               /* the socket, non-blocking */
    const int *files;     /* the model's, in order */
    size_t n_files;       /* 0: no model, only templates are rendered */
    int32_t cores;        /* physical ones that we may use */
    uint64_t memory;      /* that we may take, in bytes */
    int spill;            /* a file to read and write, for pages that memory has no room for, */
    uint64_t spill_bytes; /* and how large it may become; 0: there is none */
};

/* Serves until the gateway closes the socket: 0. Negative, with a line in the log, when the gateway broke the
 * protocol or memory ran out. */
int session_run(const struct session_setup *setup);

#endif
