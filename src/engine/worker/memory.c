#include "engine/worker/memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 512, LINE_BYTES = 256 };

/* The number behind `key` on a line of a file of lines; false where there is none. */
static bool line_number(const char *path, const char *key, uint64_t *out)
{
    char line[LINE_BYTES];
    const size_t n = strlen(key);
    bool found = false;
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof line, f))
        found = strncmp(line, key, n) == 0 && sscanf(line + n, "%" SCNu64, out) == 1;
    if (f)
        fclose(f);
    return found;
}

/* What one group may still take: its limit less what it uses, of which pages of files can be given back. */
static uint64_t group_available(const char *folder)
{
    char path[PATH_BYTES + 32];
    uint64_t most, used, files = 0;
    snprintf(path, sizeof path, "%s/memory.max", folder);
    if (!line_number(path, "", &most))
        return UINT64_MAX; /* "max", or no such group */
    snprintf(path, sizeof path, "%s/memory.current", folder);
    if (!line_number(path, "", &used))
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (line_number(path, "inactive_file ", &files))
        used -= files < used ? files : used;
    return most > used ? most - used : 0;
}

/* Of our group (cgroup v2) and those around it. */
static uint64_t groups_available(void)
{
    char line[PATH_BYTES] = "", folder[PATH_BYTES + 16];
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f) && strncmp(line, "0::", 3) != 0)
        line[0] = '\0';
    if (f)
        fclose(f);
    line[strcspn(line, "\n")] = '\0';
    uint64_t least = group_available("/sys/fs/cgroup");
    for (char *group = line[0] ? line + 3 : line, *slash; (slash = strrchr(group, '/')) != NULL;) {
        snprintf(folder, sizeof folder, "/sys/fs/cgroup%s", group);
        uint64_t here = group_available(folder);
        least = here < least ? here : least;
        *slash = '\0';
    }
    return least;
}

uint64_t memory_available(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX, kib;
    const uint64_t groups = groups_available();
    if (line_number("/proc/meminfo", "MemAvailable:", &kib))
        machine = kib * 1024;
    return groups < machine ? groups : machine;
}
