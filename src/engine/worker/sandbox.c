#include "engine/worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

/* ---- Descriptors and limits ---- */

static int null_input(struct error *err)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (fd != STDIN_FILENO && dup2(fd, STDIN_FILENO) < 0))
        return error_set(
            err, ERROR_IO, "/dev/null cannot take the place of standard input: %s", strerror(errno));
    return 0; /* fd itself is closed with the rest */
}

static int descriptors_close(int keep, struct error *err)
{
    int rc = null_input(err);
    if (rc)
        return rc;
    if (close_range((unsigned)keep, ~0u, 0) != 0)
        return error_set(err, ERROR_IO, "the other descriptors cannot be closed: %s", strerror(errno));
    return 0;
}

static int process_limit(int keep, struct error *err)
{
    struct rlimit none = {0, 0}, files = {(rlim_t)keep, (rlim_t)keep};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || setrlimit(RLIMIT_NOFILE, &files) != 0)
        return error_set(err, ERROR_IO, "limits cannot be set: %s", strerror(errno));
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return error_set(err, ERROR_IO, "privileges cannot be dropped: %s", strerror(errno));
    return 0;
}

/* ---- Landlock (kernel.org/doc/html/latest/userspace-api/landlock.html) ---- */

/* The attribute as of ABI 6; older kernels take a prefix of it. Debian 12's header knows the first member
 * only. */
struct landlock_attribute {
    uint64_t fs, net, scoped;
};

/* All access rights that a kernel of this ABI can handle. */
static struct landlock_attribute landlock_rights(long abi, size_t *size)
{
    static const int fs_bits[] = {
        0, 13, 14, 15, 15}; /* by ABI: refer came with 2, truncate with 3, ioctl with 5 */
    int bits = abi >= 5 ? 16 : fs_bits[abi];
    *size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    return (struct landlock_attribute){
        .fs = (UINT64_C(1) << bits) - 1,
        .net = abi >= 4 ? 3 : 0,    /* bind and connect TCP */
        .scoped = abi >= 6 ? 3 : 0, /* abstract unix sockets, signals */
    };
}

static int landlock_enter(struct error *err)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) {
        log_warn(
            "sandbox", "this kernel has no Landlock (%s): seccomp alone holds the worker", strerror(errno));
        return 0;
    }
    size_t size;
    struct landlock_attribute rights = landlock_rights(abi, &size);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rights, size, 0);
    if (fd < 0)
        return error_set(err, ERROR_IO, "the Landlock ruleset was refused: %s", strerror(errno));
    int rc = 0;
    if (syscall(SYS_landlock_restrict_self, fd, 0) != 0)
        rc = error_set(err, ERROR_IO, "Landlock did not take hold: %s", strerror(errno));
    close(fd);
    return rc;
}

/* ---- seccomp ---- */

static const int always_allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(close),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    /* memory */
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    /* threads */
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(getcpu),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* time and chance */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),
    SCMP_SYS(restart_syscall),
    /* signals of our own */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
};

/* Allowed only with these arguments: (argument & mask) == value. */
struct conditional {
    int call;
    unsigned n;
    struct scmp_arg_cmp args[3];
};
#define MASKED(arg, mask, value)                                                                             \
    {                                                                                                        \
        arg, SCMP_CMP_MASKED_EQ, mask, value                                                                 \
    }
#define ALL UINT64_MAX

static int conditionals_add(scmp_filter_ctx ctx, const struct conditional *c, size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, c[i].call, c[i].n, c[i].args);
    return rc;
}

/* What is written goes to the socket and the log; to the file of our own, if there is one, only by its place.
 * The whole register is compared, of which the kernel takes the lower half: so `other` is all that is less.
 */
static int writing_allow(scmp_filter_ctx ctx, int own, uint64_t own_bytes)
{
    const struct scmp_arg_cmp other = {0, SCMP_CMP_LT, (scmp_datum_t)own, 0},
                              same = {0, SCMP_CMP_EQ, (scmp_datum_t)own, 0};
    if (own_bytes == 0) {
        int rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(write), 0);
        return rc ? rc : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(writev), 0);
    }
    const struct conditional rules[] = {
        {SCMP_SYS(write), 1, {other}},
        {SCMP_SYS(writev), 1, {other}},
        {SCMP_SYS(pwrite64), 3, {same, {2, SCMP_CMP_LE, own_bytes, 0}, {3, SCMP_CMP_LE, own_bytes, 0}}},
        {SCMP_SYS(ftruncate), 2, {same, {1, SCMP_CMP_LE, own_bytes, 0}}},
    };
    return conditionals_add(ctx, rules, sizeof rules / sizeof *rules);
}

static int rules_add(scmp_filter_ctx ctx)
{
    enum { THREAD = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD };
    const uint64_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                CLONE_NEWPID | CLONE_NEWNET;
    const struct conditional conditionals[] = {
        /* Never code: anonymous memory to read and write, files to read. */
        {SCMP_SYS(mmap), 2, {MASKED(2, PROT_EXEC, 0), MASKED(3, MAP_ANONYMOUS, MAP_ANONYMOUS)}},
        {SCMP_SYS(mmap), 1, {MASKED(2, ALL, PROT_READ)}},
        {SCMP_SYS(mprotect), 1, {MASKED(2, PROT_EXEC, 0)}},
        /* Threads, never processes. */
        {SCMP_SYS(clone), 1, {MASKED(0, THREAD | namespaces, THREAD)}},
        {SCMP_SYS(prctl), 1, {MASKED(0, ALL, PR_SET_NAME)}},
        /* abort() and assert() reach only ourselves. */
        {SCMP_SYS(tgkill), 1, {MASKED(0, ALL, (uint64_t)getpid())}},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof always_allowed / sizeof *always_allowed && rc == 0; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, always_allowed[i], 0);
    rc = rc ? rc : conditionals_add(ctx, conditionals, sizeof conditionals / sizeof *conditionals);
    /* clone3 hides its flags behind a pointer: the C library falls back to clone. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return rc;
}

static int seccomp_enter(int own, uint64_t own_bytes, struct error *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        return error_set(err, ERROR_MEMORY, "no memory for the system-call filter");
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0)
        rc = rules_add(ctx);
    if (rc == 0)
        rc = writing_allow(ctx, own, own_bytes);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    if (rc == 0)
        return 0;
    return error_set(err, ERROR_UNSUPPORTED,
        "the system-call filter was refused (%s): the engine needs a kernel with seccomp", strerror(-rc));
}

int sandbox_enter(int keep, uint64_t own_bytes, struct error *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return error_set(err, ERROR_IO, "privileges cannot be dropped: %s", strerror(errno));
    int rc = descriptors_close(keep, err);
    if (rc == 0)
        rc = landlock_enter(err); /* needs a descriptor for a moment, before they are limited */
    if (rc == 0)
        rc = process_limit(keep, err);
    if (rc == 0)
        rc = seccomp_enter(keep - 1, own_bytes, err);
    return rc;
}
