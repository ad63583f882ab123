/* The worker's own proof that its walls stand: `weir-engine --self-test`. */
#include "engine/worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OWN = 3, OWN_BYTES = 1 << 20 }; /* a file that may be written, and how much of it */

/* System calls are made directly: the worker does not link the C library's functions for most of them. */
struct attempt {
    const char *name;
    long number;
    long args[6];
};

/* Another process: the parent, whose id is asked for before the filter closes that too. */
static long parent;

static bool refused(const struct attempt *a)
{
    const long *x = a->args;
    errno = 0;
    long rc = syscall(a->number, x[0], x[1], x[2], x[3], x[4], x[5]);
    if (rc == 0 && (a->number == SYS_clone || a->number == SYS_clone3))
        _exit(1); /* the child of a wall that fell */
    bool ok = rc == -1 && (errno == EPERM || (a->number == SYS_clone3 && errno == ENOSYS));
    printf("%s: %s\n", ok ? "refused" : "NOT REFUSED", a->name);
    return ok;
}

#define POINTER(p) ((long)(intptr_t)(p))

static int files_and_programs(void)
{
    static const char path[] = "/etc/passwd", new_path[] = "/tmp/weir-sandbox", program[] = "/bin/false";
    static const char *const argv[] = {program, NULL};
    static const uint64_t how[3] = {O_RDONLY, 0, 0};
    static char stat_buffer[512];
    const struct attempt attempts[] = {
        {"openat", SYS_openat, {AT_FDCWD, POINTER(path), O_RDONLY}},
        {"openat for writing", SYS_openat, {AT_FDCWD, POINTER(new_path), O_CREAT | O_WRONLY, 0600}},
        {"openat2", SYS_openat2, {AT_FDCWD, POINTER(path), POINTER(how), sizeof how}},
        {"newfstatat", SYS_newfstatat, {AT_FDCWD, POINTER(path), POINTER(stat_buffer), 0}},
        {"readlinkat", SYS_readlinkat, {AT_FDCWD, POINTER(path), POINTER(stat_buffer), 512}},
        {"mkdirat", SYS_mkdirat, {AT_FDCWD, POINTER(new_path), 0700}},
        {"unlinkat", SYS_unlinkat, {AT_FDCWD, POINTER(new_path), 0}},
        {"fcntl", SYS_fcntl, {0, F_DUPFD, 10}},
        {"dup", SYS_dup, {0}},
        {"ioctl", SYS_ioctl, {0, 0x5401, POINTER(stat_buffer)}},
        {"memfd_create", SYS_memfd_create, {POINTER("x"), 0}},
        {"execve", SYS_execve, {POINTER(program), POINTER(argv), POINTER(argv + 1)}},
        {"execveat", SYS_execveat, {AT_FDCWD, POINTER(program), POINTER(argv), POINTER(argv + 1), 0}},
        {"mount", SYS_mount, {POINTER("none"), POINTER("/tmp"), POINTER("tmpfs"), 0, 0}},
        {"chroot", SYS_chroot, {POINTER("/")}},
#ifdef SYS_open
        {"open", SYS_open, {POINTER(path), O_RDONLY}},
        {"stat", SYS_stat, {POINTER(path), POINTER(stat_buffer)}},
#endif
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        failed += !refused(&attempts[i]);
    return failed;
}

static int network(void)
{
    static int pair[2];
    static struct sockaddr_in address = {.sin_family = AF_INET};
    static char byte;
    address.sin_port = htons(9);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const struct attempt attempts[] = {
        {"socket", SYS_socket, {AF_INET, SOCK_STREAM, 0}},
        {"socket unix", SYS_socket, {AF_UNIX, SOCK_STREAM, 0}},
        {"socketpair", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, POINTER(pair)}},
        {"connect", SYS_connect, {1, POINTER(&address), sizeof address}},
        {"bind", SYS_bind, {1, POINTER(&address), sizeof address}},
        {"listen", SYS_listen, {1, 1}},
        {"accept4", SYS_accept4, {1, 0, 0, 0}},
        {"sendto", SYS_sendto, {1, POINTER(&byte), 1, 0, POINTER(&address), sizeof address}},
        {"sendmsg", SYS_sendmsg, {1, 0, 0}},
        {"recvmsg", SYS_recvmsg, {1, 0, 0}},
        {"io_uring_setup", SYS_io_uring_setup, {1, 0}},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        failed += !refused(&attempts[i]);
    return failed;
}

static int processes(void)
{
    static struct iovec vector;
    static uint64_t clone_args[11];
    static struct rlimit more = {1024, 1024};
    const struct attempt attempts[] = {
        {"clone of a process", SYS_clone, {SIGCHLD}},
        {"clone with a namespace", SYS_clone, {CLONE_NEWUSER | SIGCHLD}},
        {"clone3", SYS_clone3, {POINTER(clone_args), sizeof clone_args}},
        {"kill of the parent", SYS_kill, {parent, 0}},
        {"tgkill of the parent", SYS_tgkill, {parent, parent, 0}},
        {"ptrace", SYS_ptrace, {PTRACE_ATTACH, parent}},
        {"process_vm_readv", SYS_process_vm_readv, {parent, POINTER(&vector), 1, POINTER(&vector), 1, 0}},
        {"process_vm_writev", SYS_process_vm_writev, {parent, POINTER(&vector), 1, POINTER(&vector), 1, 0}},
        {"pidfd_open", SYS_pidfd_open, {parent, 0}},
        {"unshare", SYS_unshare, {CLONE_NEWUSER}},
        {"setuid", SYS_setuid, {0}},
        {"prlimit64", SYS_prlimit64, {0, RLIMIT_NOFILE, POINTER(&more), 0}},
        {"prctl", SYS_prctl, {PR_SET_DUMPABLE, 1}},
        {"seccomp", SYS_seccomp, {0, 0, 0}},
#ifdef SYS_fork
        {"fork", SYS_fork, {0}},
#endif
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        failed += !refused(&attempts[i]);
    return failed;
}

static int kernel_and_memory(void)
{
    static char attribute[128];
    static _Alignas(4096) char page[4096];
    const struct attempt attempts[] = {
        {"mmap of code", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
        {"mmap of code to write", SYS_mmap,
            {0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
        {"mmap of a file to write", SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0, 0}},
        {"mprotect to code", SYS_mprotect, {POINTER(page), sizeof page, PROT_READ | PROT_EXEC}},
        {"pkey_mprotect", SYS_pkey_mprotect, {POINTER(page), sizeof page, PROT_READ | PROT_EXEC, -1}},
        {"shmget", SYS_shmget, {0, 4096, 0600}},
        {"bpf", SYS_bpf, {0, POINTER(attribute), sizeof attribute}},
        {"userfaultfd", SYS_userfaultfd, {0}},
        {"perf_event_open", SYS_perf_event_open, {POINTER(attribute), 0, -1, -1, 0}},
        {"keyctl", SYS_keyctl, {0, 0}},
        {"personality", SYS_personality, {0x0400000}},
        {"init_module", SYS_init_module, {0, 0, 0}},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        failed += !refused(&attempts[i]);
    return failed;
}

/* The file of our own takes so much and no more; and only by places, however its number is written. */
static int own_file(void)
{
    static char byte;
    static struct iovec vector = {&byte, 1};
    const struct attempt attempts[] = {
        {"write to the file", SYS_write, {OWN, POINTER(&byte), 1}},
        {"write to the file by a longer number", SYS_write, {OWN | 1L << 32, POINTER(&byte), 1}},
        {"writev to the file", SYS_writev, {OWN, POINTER(&vector), 1}},
        {"pwrite64 behind the limit", SYS_pwrite64, {OWN, POINTER(&byte), 1, OWN_BYTES + 1}},
        {"pwrite64 of too much", SYS_pwrite64, {OWN, POINTER(&byte), OWN_BYTES + 1, 0}},
        {"pwrite64 elsewhere", SYS_pwrite64, {STDOUT_FILENO, POINTER(&byte), 1, 0}},
        {"pwritev", SYS_pwritev, {OWN, POINTER(&vector), 1, 0}},
        {"ftruncate behind the limit", SYS_ftruncate, {OWN, OWN_BYTES + 1}},
        {"fallocate", SYS_fallocate, {OWN, 0, 0, 1}},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        failed += !refused(&attempts[i]);
    const bool works =
        pwrite(OWN, "x", 1, 5) == 1 && pread(OWN, &byte, 1, 5) == 1 && byte == 'x' && ftruncate(OWN, 0) == 0;
    printf("%s: a file of our own\n", works ? "works" : "DOES NOT WORK");
    return failed + !works;
}

static void *thread_main(void *arg)
{
    *(bool *)arg = true;
    return NULL;
}

/* Walls that also keep the work out would be no use. */
static int what_must_work(void)
{
    pthread_t thread;
    bool ran = false;
    if (pthread_create(&thread, NULL, thread_main, &ran) == 0)
        pthread_join(thread, NULL);
    printf("%s: thread\n", ran ? "works" : "DOES NOT WORK");
    enum { SIZE = 64 << 20 };
    char *memory = malloc(SIZE);
    if (memory)
        memset(memory, 1, SIZE);
    printf("%s: memory\n", memory ? "works" : "DOES NOT WORK");
    bool ok = ran && memory;
    free(memory);
    return ok ? 0 : 1;
}

int sandbox_self_test(void)
{
    struct error err = {0};
    parent = getppid();
    setvbuf(stdout, NULL, _IOLBF, 4096);
    const int own = memfd_create("own", 0);
    if (own < 0 || (own != OWN && dup2(own, OWN) < 0) || sandbox_enter(OWN + 1, OWN_BYTES, &err) != 0) {
        fprintf(stderr, "weir-engine: %s\n", err.message);
        return 1;
    }
    int failed =
        files_and_programs() + network() + processes() + kernel_and_memory() + own_file() + what_must_work();
    printf("%d walls are open\n", failed);
    return failed ? 1 : 0;
}
