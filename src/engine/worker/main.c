/* weir-engine: one model in a process of its own. Started by the gateway, never by hand:
 *
 *   weir-engine --files N [--spill BYTES]
 *                             descriptor 3 is the socket, 4 .. 3+N are the model's files (engine/wire.h; N
 * may be 0), 4+N a file to write, of up to so many bytes weir-engine --self-test   tries to break out of the
 * sandbox */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

#include "base/log.h"
#include "base/rand.h"
#include "engine/memory.h"
#include "engine/wire.h"
#include "engine/worker/cpu/kernels.h"
#include "engine/worker/sandbox.h"
#include "engine/worker/sandbox_leaks.h"
#include "engine/worker/session.h"

/* Cores that we may run on, threads of one core counted once; 0 when the machine does not say. Read before
 * the sandbox, which has no files. */
static int32_t cores_count(void)
{
    cpu_set_t allowed, seen;
    int32_t cores = 0;
    CPU_ZERO(&seen);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return 0;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        char path[96];
        size_t first;
        if (!CPU_ISSET(cpu, &allowed))
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", cpu);
        FILE *f = fopen(path, "re");
        if (!f || fscanf(f, "%zu", &first) != 1 || first >= CPU_SETSIZE)
            first = cpu;
        if (f)
            fclose(f);
        cores += !CPU_ISSET(first, &seen);
        CPU_SET(first, &seen);
    }
    return cores;
}

/* The descriptors are what the gateway promised: a socket, then regular files that cannot be written, but the
 * last one where there is a spill file. */
static int descriptors_check(int n_files, bool spill, struct error *err)
{
    struct stat st;
    if (fstat(WIRE_FD, &st) != 0 || !S_ISSOCK(st.st_mode))
        return error_set(
            err, ERROR_INVALID, "descriptor %d is not a socket: weir starts this program", WIRE_FD);
    for (int fd = WIRE_MODEL_FD; fd < WIRE_MODEL_FD + n_files; fd++)
        if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
            return error_set(err, ERROR_INVALID, "descriptor %d is not a file opened to read only", fd);
    const int own = WIRE_MODEL_FD + n_files;
    if (spill &&
        (fstat(own, &st) != 0 || !S_ISREG(st.st_mode) || (fcntl(own, F_GETFL) & O_ACCMODE) != O_RDWR))
        return error_set(err, ERROR_INVALID, "descriptor %d is not a file to write", own);
    return 0;
}

static int setup(int n_files, uint64_t spill_bytes, struct session_setup *out, struct error *err)
{
    static int files[WIRE_MODEL_FILES_MAX];
    int rc = descriptors_check(n_files, spill_bytes > 0, err);
    if (rc)
        return rc;
    for (int i = 0; i < n_files; i++)
        files[i] = WIRE_MODEL_FD + i;
    *out = (struct session_setup){.fd = WIRE_FD,
        .files = files,
        .n_files = (size_t)n_files,
        .spill = WIRE_MODEL_FD + n_files,
        .spill_bytes = spill_bytes,
        .cores = cores_count(),
        .memory = (uint64_t)engine_memory_available()};
    if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0 || fcntl(WIRE_FD, F_SETFL, O_NONBLOCK) != 0)
        return error_set(err, ERROR_IO, "the descriptors cannot be set up: %s", strerror(errno));
    /* What would ask the system later does it now: for registers, for the time zone, for the key of the JSON
     * library's tables. */
    const struct kernels *kernels[KERNELS_MAX];
    (void)kernels_list(kernels);
    tzset();
    json_object_seed((size_t)rand_u64() | 1);
    if (sodium_init() < 0)
        return error_set(err, ERROR_INTERNAL, "libsodium cannot be used");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is the gateway's to handle */
    return sandbox_enter(WIRE_MODEL_FD + n_files + (spill_bytes > 0), spill_bytes, err);
}

static int usage(void)
{
    static const char text[] =
        "usage: weir-engine --files N [--spill BYTES] | --self-test (weir starts this program)\n";
    fputs(text, stderr);
    return 2;
}

int main(int argc, char **argv)
{
    struct session_setup s;
    struct error err = {0};
    int64_t n_files, spill = 0;
    log_set_level_name(getenv("WEIR_LOG"));
    if (argc == 2 && strcmp(argv[1], "--self-test") == 0)
        return sandbox_self_test();
    if ((argc != 3 && argc != 5) || strcmp(argv[1], "--files") != 0 ||
        !str_to_int64(str_from(argv[2]), &n_files) || n_files < 0 || n_files > WIRE_MODEL_FILES_MAX)
        return usage();
    if (argc == 5 &&
        (strcmp(argv[3], "--spill") != 0 || !str_to_int64(str_from(argv[4]), &spill) || spill < 1))
        return usage();
    if (setup((int)n_files, (uint64_t)spill, &s, &err) != 0) {
        log_error("engine", "%s", err.message);
        return 1;
    }
    return session_run(&s) == 0 ? 0 : 1;
}
