/* What the gateway and its workers ask before they take memory. */
#ifndef WEIR_ENGINE_MEMORY_H
#define WEIR_ENGINE_MEMORY_H

#include <stdint.h>

/* Memory a process could still take: MemAvailable, or what the control groups leave of it; INT64_MAX unknown.
 * Reads /proc and /sys, so before a sandbox. */
int64_t engine_memory_available(void);
/* So much of it should stay: less than that, and the system begins to take what is in use. */
int64_t engine_memory_reserve(void);

#endif
