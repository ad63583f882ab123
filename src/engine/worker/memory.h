/* How much memory this process may still take: what the machine has free or can give back, within the limits
 * of the control groups that it runs in. */
#ifndef WEIR_ENGINE_WORKER_MEMORY_H
#define WEIR_ENGINE_WORKER_MEMORY_H

#include <stdint.h>

/* In bytes; reads /proc and /sys, so before the sandbox. All of the machine's where it does not say. */
uint64_t memory_available(void);

#endif
