/* The walls around the worker. What it reads (model files, chat templates, prompts) may be hostile; whoever
 * takes the process over finds no way to open, connect, start or look at anything:
 *
 *   no new privileges     nothing setuid helps
 *   descriptors           only those named below; a new one is impossible (RLIMIT_NOFILE)
 *   Landlock              an empty ruleset: no path, no TCP port, no abstract socket, no signal to others
 *   seccomp               an allow list: memory, threads of its own, clocks, reading and writing what is open
 *
 * The process dies with its parent, leaves no core and cannot be traced by its own user. */
#ifndef WEIR_ENGINE_WORKER_SANDBOX_H
#define WEIR_ENGINE_WORKER_SANDBOX_H

#include <stdint.h>

#include "base/error.h"

/* Keeps descriptors 0..keep-1 (0 becomes /dev/null) and closes the others. The last one, where `own_bytes` is
 * not 0, is a file that may be written at places up to there; nothing else on disk can be written but where
 * standard error leads. Everything after this call happens inside. A kernel without seccomp is an error, one
 * without Landlock a warning in the log. */
int sandbox_enter(int keep, uint64_t own_bytes, struct error *err) MUST_USE;

/* Enters the sandbox and tries to get out of it; prints a line per attempt ("refused: open") on standard
 * output. Returns 0 when every attempt was refused and what must work works. */
int sandbox_self_test(void);

#endif
