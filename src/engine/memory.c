#include "engine/memory.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"

enum { FILE_TEXT = 16 * 1024, GROUP_PATH = 512 };
static const char group_root[] = "/sys/fs/cgroup";

static struct str file_text(const char *path, char text[FILE_TEXT])
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, FILE_TEXT, f) : 0;
    if (f)
        fclose(f);
    return (struct str){text, n};
}

/* The number after `key` at the beginning of a line; -1 where there is none ("max"). */
static int64_t number_after(struct str text, struct str key)
{
    struct str line;
    while (str_split(&text, '\n', &line)) {
        if (!str_starts(line, key))
            continue;
        struct str rest = str_trim(str_slice(line, key.len, line.len)), number;
        int64_t value;
        str_split(&rest, ' ', &number);
        return str_to_int64(number, &value) ? value : -1;
    }
    return -1;
}

static int64_t group_number(const char *group, const char *file, const char *key)
{
    char path[sizeof group_root + GROUP_PATH + 64], text[FILE_TEXT];
    snprintf(path, sizeof path, "%s%s/%s", group_root, group, file);
    return number_after(file_text(path, text), str_from(key));
}

/* What one group leaves; its file pages can be given back, so they are not counted as taken. */
static int64_t group_available(const char *group)
{
    int64_t most = group_number(group, "memory.max", ""), taken = group_number(group, "memory.current", "");
    if (most < 0 || taken < 0)
        return INT64_MAX;
    int64_t files = group_number(group, "memory.stat", "file "),
            shared = group_number(group, "memory.stat", "shmem ");
    if (files > 0)
        taken -= files - (shared > 0 ? shared : 0);
    return most > taken ? most - taken : 0;
}

/* The least of our group and those above it. */
static int64_t groups_available(void)
{
    char text[FILE_TEXT], group[GROUP_PATH];
    struct str all = file_text("/proc/self/cgroup", text), line;
    int64_t least = INT64_MAX;
    while (str_split(&all, '\n', &line)) {
        if (!str_starts(line, STR("0::/")) || line.len - 3 >= sizeof group)
            continue;
        snprintf(group, sizeof group, STR_FMT, STR_ARG(str_slice(line, 3, line.len)));
        for (char *slash = group + strlen(group); slash; slash = strrchr(group, '/')) {
            *slash = '\0';
            int64_t available = group_available(group);
            least = available < least ? available : least;
        }
    }
    return least;
}

static int64_t system_memory(const char *key)
{
    char text[FILE_TEXT];
    int64_t kilobytes = number_after(file_text("/proc/meminfo", text), str_from(key));
    return kilobytes < 0 ? INT64_MAX : kilobytes * 1024;
}

int64_t engine_memory_available(void)
{
    int64_t system = system_memory("MemAvailable:"), groups = groups_available();
    return groups < system ? groups : system;
}

int64_t engine_memory_reserve(void)
{
    int64_t share = system_memory("MemTotal:") / 16;
    return share < 256 * (int64_t)MIB ? share : 256 * (int64_t)MIB;
}
