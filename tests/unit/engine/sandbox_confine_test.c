/* The trainer's walls, tried from inside by a child. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/worker/sandbox_confine.h"

static void *nothing(void *arg)
{
    return arg;
}

static bool refused(long result)
{
    return result < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS);
}

/* The number of the first attempt that went otherwise than it should; 0: none. */
static int attempts(const char *folder)
{
    char path[256], other[256], moved[256];
    char *const argv[] = {(char[]){"true"}, NULL};
    pthread_t thread;
    struct error err;
    snprintf(path, sizeof path, "%s/inside", folder);
    snprintf(moved, sizeof moved, "%s/moved", folder);
    snprintf(other, sizeof other, "%s-outside", folder);
    const char *files[] = {NULL, path};
    if (sandbox_confine(files, 2, &err))
        return 1;
    if (!refused(socket(AF_INET, SOCK_STREAM, 0)) || !refused(socket(AF_UNIX, SOCK_STREAM, 0)))
        return 2;
    if (!refused(execve("/bin/true", argv, argv + 1)))
        return 3;
    if (!refused(fork()))
        return 4;
    if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        return 5;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 6;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) != 0 || close(fd) != 0 || rename(path, moved) != 0 ||
        unlink(moved) != 0)
        return 7;
    if (open("/etc/passwd", O_RDONLY) < 0)
        return 8;
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 1)
        return 0; /* this kernel has none */
    return refused(open(other, O_WRONLY | O_CREAT, 0600)) ? 0 : 9;
}

static void test_nothing_gets_out_and_files_are_made_in_their_folder(void **state)
{
    char folder[] = "/tmp/weir-confine-XXXXXX", other[256];
    int status;
    (void)state;
    assert_non_null(mkdtemp(folder));
    pid_t pid = fork();
    if (pid == 0)
        _exit(attempts(folder));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    snprintf(other, sizeof other, "%s-outside", folder);
    unlink(other);
    assert_int_equal(rmdir(folder), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_gets_out_and_files_are_made_in_their_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
