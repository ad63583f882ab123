#include "engine/worker/sandbox_confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

/* ---- Landlock: writing and making files, in some folders only ---- */

/* Debian 12's header does not know truncation, which came with ABI 3. */
#define ACCESS_TRUNCATE (UINT64_C(1) << 14)
#define ACCESS_WRITE                                                                                         \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG)
#define ACCESS_NEVER                                                                                         \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_CHAR |             \
        LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |          \
        LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

/* The folder that a file is in may be written to. One that is not there is an error when the file is made. */
static int folder_allow(int ruleset, const char *file, uint64_t access, struct error *err)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", file);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_PATH | O_DIRECTORY | O_CLOEXEC), rc = 0;
    if (fd < 0)
        return 0;
    const struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        rc = error_set(err, ERROR_IO, "Landlock refused a rule: %s", strerror(errno));
    close(fd);
    return rc;
}

static int landlock_enter(const char *const *files, size_t n, struct error *err)
{
    const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) {
        log_warn(
            "sandbox", "this kernel has no Landlock (%s): seccomp alone holds the trainer", strerror(errno));
        return 0;
    }
    const uint64_t write = ACCESS_WRITE | (abi >= 3 ? ACCESS_TRUNCATE : 0), handled = write | ACCESS_NEVER;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0), rc = 0;
    if (ruleset < 0)
        return error_set(err, ERROR_IO, "the Landlock ruleset was refused: %s", strerror(errno));
    for (size_t i = 0; i < n && rc == 0; i++)
        if (files[i])
            rc = folder_allow(ruleset, files[i], write, err);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        rc = error_set(err, ERROR_IO, "Landlock did not take hold: %s", strerror(errno));
    close(ruleset);
    return rc;
}

/* ---- seccomp: nothing that reaches another process or machine ---- */
static const int refused[] = {SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind),
    SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(execve), SCMP_SYS(execveat),
    SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(kill), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(io_uring_setup), SCMP_SYS(userfaultfd),
    SCMP_SYS(memfd_create), SCMP_SYS(mount), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(chroot),
    SCMP_SYS(pivot_root), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(init_module),
    SCMP_SYS(finit_module)};

static int rules_add(scmp_filter_ctx ctx)
{
    const struct scmp_arg_cmp process = {0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0},
                              code = {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC};
    int rc = 0;
    /* A call that this architecture does not have cannot be made (fork on some). */
    for (size_t i = 0; i < sizeof refused / sizeof *refused && rc == 0; i++)
        if (refused[i] >= 0)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
    if (rc == 0)
        rc = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, &process);
    if (rc == 0)
        rc = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mmap), 1, &code);
    if (rc == 0)
        rc = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mprotect), 1, &code);
    /* clone3 hides its flags behind a pointer: the C library falls back to clone. */
    return rc ? rc : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int seccomp_enter(struct error *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (!ctx)
        return error_set(err, ERROR_MEMORY, "no memory for the system-call filter");
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0)
        rc = rules_add(ctx);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc == 0 ? 0
                   : error_set(err, ERROR_UNSUPPORTED,
                         "the system-call filter was refused (%s): training needs a kernel with seccomp",
                         strerror(-rc));
}

int sandbox_confine(const char *const *files, size_t n, struct error *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return error_set(err, ERROR_IO, "privileges cannot be dropped: %s", strerror(errno));
    int rc = landlock_enter(files, n, err);
    return rc ? rc : seccomp_enter(err);
}
