#include "engine/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/engine.h"

/* ---- The model's files ---- */

/* "-00001-of-00003", what a split model's name ends with before ".gguf". */
enum { PART_BYTES = 15, PART_DIGITS = 5 };

static bool digits_read(struct str text, int64_t *out)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    return str_to_int64(text, out);
}

bool engine_part_read(struct str *stem, int64_t *part, int64_t *count)
{
    int64_t number, of;
    if (stem->len <= PART_BYTES)
        return false;
    struct str end = str_slice(*stem, stem->len - PART_BYTES, stem->len);
    if (end.data[0] != '-' || !digits_read(str_slice(end, 1, 1 + PART_DIGITS), &number) ||
        !str_eq(str_slice(end, 6, 10), STR("-of-")) || !digits_read(str_slice(end, 10, PART_BYTES), &of))
        return false;
    stem->len -= PART_BYTES;
    *part = number;
    *count = of;
    return true;
}

static int file_open(const char *path, struct spawn_files *out, struct error *err)
{
    struct stat st;
    /* O_NONBLOCK: a FIFO must not stop us; it means nothing to a regular file. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "cannot open the model %s: %s",
            path, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return error_set(err, ERROR_INVALID, "%s is not a file: give a .gguf model file", path);
    }
    const uint64_t place[] = {out->mark.places, (uint64_t)st.st_dev, (uint64_t)st.st_ino},
                   version[] = {out->mark.version, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec,
                       (uint64_t)st.st_mtim.tv_nsec};
    out->mark.places = str_hash((struct str){(const char *)place, sizeof place});
    out->mark.version = str_hash((struct str){(const char *)version, sizeof version});
    out->bytes += st.st_size;
    out->fds[out->count++] = fd;
    return 0;
}

int spawn_files_open(const char *file, struct spawn_files *out, struct error *err)
{
    int64_t part = 1, count = 1;
    out->count = 0;
    out->bytes = 0;
    out->mark = (struct spawn_mark){0};
    if (!file)
        return 0;
    struct str stem = str_from(file);
    stem.len -= str_ends(stem, STR(".gguf")) ? 5 : stem.len;
    if (!engine_part_read(&stem, &part, &count))
        return file_open(file, out, err);
    if (part != 1 || count < 1 || count > WIRE_MODEL_FILES_MAX)
        return error_set(err, ERROR_INVALID, "%s is part %lld of %lld: name the first part, of at most %d",
            file, (long long)part, (long long)count, WIRE_MODEL_FILES_MAX);
    int rc = 0;
    for (int64_t i = 1; i <= count && rc == 0; i++) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, STR_FMT "-%05d-of-%05d.gguf", STR_ARG(stem), (int)i, (int)count);
        if (n < 0 || (size_t)n >= sizeof path)
            rc = error_set(err, ERROR_INVALID, "the name of the model file is too long");
        else
            rc = file_open(path, out, err);
    }
    if (rc)
        spawn_files_close(out);
    return rc;
}

int spawn_files_add(const char *file, struct spawn_files *files, struct error *err)
{
    int rc = files->count < WIRE_MODEL_FILES_MAX
                 ? file_open(file, files, err)
                 : error_set(err, ERROR_INVALID, "the model and its adapters are more than %d files",
                       WIRE_MODEL_FILES_MAX);
    if (rc)
        spawn_files_close(files);
    return rc;
}

void spawn_files_close(struct spawn_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        close(files->fds[i]);
    files->count = 0;
}

/* ---- The executable ---- */

static bool executable_beside(const char *relative, char *path, size_t size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return false;
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    int len = snprintf(path, size, "%s/%s", self, relative);
    return len > 0 && (size_t)len < size && access(path, X_OK) == 0;
}

int spawn_executable_find(const char *wanted, char *path, size_t size, struct error *err)
{
    if (!wanted)
        wanted = getenv("WEIR_ENGINE");
    if (wanted && *wanted) {
        int len = snprintf(path, size, "%s", wanted);
        if (len > 0 && (size_t)len < size && access(path, X_OK) == 0)
            return 0;
        return error_set(
            err, ERROR_NOT_FOUND, "there is no engine to run at %s: %s", wanted, strerror(errno));
    }
    int rc = spawn_beside_find("weir-engine", path, size, err);
    return rc ? error_set(err, rc,
                    "weir-engine is neither beside this program nor in ../libexec/weir: build it with make, "
                    "or "
                    "name it in WEIR_ENGINE")
              : 0;
}

int spawn_beside_find(const char *name, char *path, size_t size, struct error *err)
{
    char installed[64];
    snprintf(installed, sizeof installed, "../libexec/weir/%s", name);
    if (executable_beside(name, path, size) || executable_beside(installed, path, size))
        return 0;
    return error_set(err, ERROR_NOT_FOUND,
        "%s is neither beside this program nor in ../libexec/weir: build it with make", name);
}

/* ---- The process ---- */

/* What a worker may see of our environment; nothing else is passed on. */
static const char *const passed[] = {
    "WEIR_ISA", "WEIR_LOG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"};
enum { N_PASSED = sizeof passed / sizeof *passed };

struct environment {
    char text[N_PASSED + 1][512];
    char *list[N_PASSED + 2];
};

static void environment_fill(struct environment *env)
{
    size_t n = 0;
    snprintf(env->text[n], sizeof env->text[n], "LC_ALL=C");
    env->list[n] = env->text[n];
    n++;
    for (size_t i = 0; i < N_PASSED; i++) {
        const char *value = getenv(passed[i]);
        if (!value)
            continue;
        int len = snprintf(env->text[n], sizeof env->text[n], "%s=%s", passed[i], value);
        if (len < 0 || (size_t)len >= sizeof env->text[n])
            continue;
        env->list[n] = env->text[n];
        n++;
    }
    env->list[n] = NULL;
}

/* The child's descriptors: 0 and 1 /dev/null, 2 ours, 3 the socket, 4.. the files (a spill file last),
 * nothing else. The sources stand above every target, so that no dup2 overwrites one that is still to come.
 */
static int actions_fill(posix_spawn_file_actions_t *actions, int socket, const int *files, size_t n_files)
{
    int rc = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, socket, WIRE_FD);
    for (size_t i = 0; i < n_files && rc == 0; i++)
        rc = posix_spawn_file_actions_adddup2(actions, files[i], WIRE_MODEL_FD + (int)i);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, WIRE_MODEL_FD + (int)n_files);
    return rc;
}

/* Signals as a fresh process has them, and a group of its own: a Ctrl-C in the terminal is for us, not for
 * it. */
static int attributes_fill(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawnattr_setflags(
        attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(attributes, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attributes, &all);
    return rc ? rc : posix_spawnattr_setpgroup(attributes, 0);
}

/* posix_spawn runs no code of ours between fork and exec, so it is safe among threads. */
static int process_start(
    const char *executable, int socket, const int *files, size_t n_files, int64_t spill_bytes, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    struct environment env;
    char count[24], bytes[24];
    snprintf(count, sizeof count, "%zu", n_files - (spill_bytes > 0));
    snprintf(bytes, sizeof bytes, "%lld", (long long)spill_bytes);
    char *argv[] = {(char *)(uintptr_t)executable, (char[]){"--files"}, count,
        spill_bytes > 0 ? (char[]){"--spill"} : NULL, bytes, NULL};
    environment_fill(&env);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int rc = actions_fill(&actions, socket, files, n_files);
    if (rc == 0)
        rc = attributes_fill(&attributes);
    if (rc == 0)
        rc = posix_spawn(pid, executable, &actions, &attributes, argv, env.list);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Copies above the targets; false when there are no descriptors left. */
static bool sources_copy(int socket, const int *fds, size_t n, int *high_socket, int *high)
{
    int above = WIRE_MODEL_FD + (int)n;
    *high_socket = fcntl(socket, F_DUPFD_CLOEXEC, above);
    bool ok = *high_socket >= 0;
    for (size_t i = 0; i < n; i++) {
        high[i] = ok ? fcntl(fds[i], F_DUPFD_CLOEXEC, above) : -1;
        ok = high[i] >= 0;
    }
    return ok;
}

static void fd_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

int spawn_worker(const char *executable, const struct spawn_files *files, int spill, int64_t spill_bytes,
    struct spawn_process *out, struct error *err)
{
    int pair[2], high_socket = -1, fds[WIRE_MODEL_FILES_MAX + 1], high[WIRE_MODEL_FILES_MAX + 1];
    const size_t n = files->count + (spill_bytes > 0);
    memcpy(fds, files->fds, files->count * sizeof *fds);
    fds[files->count] = spill;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return error_set(err, ERROR_IO, "cannot make a socket for the engine: %s", strerror(errno));
    int rc = EMFILE;
    if (sources_copy(pair[1], fds, n, &high_socket, high))
        rc = process_start(executable, high_socket, high, n, spill_bytes, &out->pid);
    fd_close(high_socket);
    for (size_t i = 0; i < n; i++)
        fd_close(high[i]);
    close(pair[1]);
    if (rc) {
        close(pair[0]);
        return error_set(err, ERROR_IO, "cannot start the engine %s: %s", executable, strerror(rc));
    }
    out->socket = pair[0];
    out->pidfd = pidfd_open(out->pid, 0);
    if (out->pidfd < 0 || fcntl(out->socket, F_SETFL, O_NONBLOCK)) {
        error_set(err, ERROR_IO, "cannot watch the engine's process (Linux 5.13 or later is needed): %s",
            strerror(errno));
        kill(out->pid, SIGKILL);
        waitpid(out->pid, NULL, 0);
        close(out->socket);
        fd_close(out->pidfd);
        return ERROR_IO;
    }
    return 0;
}
