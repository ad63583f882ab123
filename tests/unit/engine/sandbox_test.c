/* The walls around the worker, seen from inside (its own attempts to break out) and from outside (/proc). */
#include "unit/engine/worker_process.h"

/* Runs the engine with arguments and gives its exit status; standard output goes to `out`. */
static int run(const char *const *argv, int fd3, int fd4, struct buf *out)
{
    int pipes[2], status;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        worker_exec(fd3, fd4, argv);
    }
    close(pipes[1]);
    buf_init(out, MIB);
    for (;;) {
        char *to = buf_reserve(out, 4096);
        assert_non_null(to);
        ssize_t n = read(pipes[0], to, 4096);
        if (n <= 0)
            break;
        buf_commit(out, (size_t)n);
    }
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_every_way_out_is_refused(void **state)
{
    (void)state;
    static const char *const argv[] = {"weir-engine", "--self-test", NULL};
    static const char *const attempts[] = {"open", "openat", "openat2", "socket", "socketpair", "connect",
        "execve", "execveat", "fork", "clone of a process", "clone3", "ptrace", "kill of the parent",
        "process_vm_readv", "io_uring_setup", "bpf", "userfaultfd", "memfd_create", "mmap of code",
        "mprotect to code", "write to the file", "pwrite64 behind the limit", "mmap of a file to write",
        "newfstatat", "prctl", "prlimit64"};
    struct buf out;
    int rc = run(argv, -1, -1, &out);
    if (rc != 0)
        fail_msg("exit status %d:\n%s", rc, out.data ? out.data : "");
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        char line[64];
        snprintf(line, sizeof line, "refused: %s\n", attempts[i]);
        if (!strstr(out.data, line))
            fail_msg("no line '%s'", attempts[i]);
    }
    assert_non_null(strstr(out.data, "works: thread\n"));
    buf_free(&out);
}

/* The value of a field of /proc/PID/status, as a number. */
static long status_field(pid_t pid, const char *field)
{
    char path[64], line[256];
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = strtol(line + strlen(field) + 1, NULL, 10);
    fclose(f);
    return value;
}

static void test_a_serving_worker_is_inside(void **state)
{
    (void)state;
    const struct model_sample sample = model_sample_default();
    int model = worker_sample_file(&sample);
    struct worker w = worker_start(model);
    json_decref(worker_load(&w, "{}"));
    assert_int_equal(status_field(w.pid, "Seccomp"), 2);
    assert_int_equal(status_field(w.pid, "NoNewPrivs"), 1);
    assert_int_equal(worker_stop(&w), 0);
    close(model);
}

static void test_it_serves_only_what_a_gateway_hands_over(void **state)
{
    (void)state;
    static const char *const usages[][4] = {{"weir-engine"}, {"weir-engine", "--files"},
        {"weir-engine", "--files", "-1"}, {"weir-engine", "--files", "257"}, {"weir-engine", "--files", "1x"},
        {"weir-engine", "--model", "1"}};
    static const char *const files[] = {"weir-engine", "--files", "1", NULL};
    struct buf out;
    for (size_t i = 0; i < sizeof usages / sizeof *usages; i++) {
        assert_int_equal(run(usages[i], -1, -1, &out), 2);
        buf_free(&out);
    }
    int pair[2], null_reader = open("/dev/null", O_RDONLY | O_CLOEXEC),
                 writable = memfd_create("m", MFD_CLOEXEC);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(run(files, null_reader, null_reader, &out), 1); /* no socket */
    buf_free(&out);
    assert_int_equal(run(files, pair[0], null_reader, &out), 1); /* not a file */
    buf_free(&out);
    assert_int_equal(run(files, pair[0], writable, &out), 1); /* it could be changed under us */
    buf_free(&out);
    close(pair[0]);
    close(pair[1]);
    close(null_reader);
    close(writable);
}

/* A parent that dies takes the worker with it, even where the socket's other end lives on. */
static void test_it_dies_with_its_parent(void **state)
{
    (void)state;
    const struct model_sample sample = model_sample_default();
    int model = worker_sample_file(&sample), tell[2];
    assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct worker w = worker_start(model);
        json_decref(worker_load(&w, "{}"));
        int pid = (int)w.pid;
        _exit(write(tell[1], &pid, sizeof pid) == sizeof pid && fcntl(w.fd, F_SETFD, 0) == 0 ? 0 : 1);
    }
    int pid = 0, status;
    assert_int_equal(read(tell[0], &pid, sizeof pid), sizeof pid);
    assert_int_equal(waitpid(parent, &status, 0), parent);
    for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
        usleep(10000);
    assert_true(kill(pid, 0) != 0 || status_field(pid, "Threads") < 0); /* gone, or a zombie of init's */
    close(tell[0]);
    close(tell[1]);
    close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way_out_is_refused),
        cmocka_unit_test(test_a_serving_worker_is_inside),
        cmocka_unit_test(test_it_serves_only_what_a_gateway_hands_over),
        cmocka_unit_test(test_it_dies_with_its_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
