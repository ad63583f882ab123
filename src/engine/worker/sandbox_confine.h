/* Walls for a program that a person started, and that reads what may be hostile (a model file, its template)
 * and what must not get out (their data). It still reads and writes files, but no further:
 *
 *   no new privileges
 *   Landlock    files are made, written and removed only in the folders named; nothing is executed
 *   seccomp     no socket, no process of another program, no look into another one, no new code
 *
 * Threads of its own go on to work. */
#ifndef WEIR_ENGINE_WORKER_SANDBOX_CONFINE_H
#define WEIR_ENGINE_WORKER_SANDBOX_CONFINE_H

#include "base/error.h"

/* `files`: what will be written, with all that stands beside it; NULLs are passed over. A kernel without
 * seccomp is an error, one without Landlock a warning. */
int sandbox_confine(const char *const *files, size_t n, struct error *err) MUST_USE;

#endif
