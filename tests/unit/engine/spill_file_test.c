/* The gateway's side of pages on disk: files, their key, and that what is old goes. */
#include "engine/spill_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[80], path[512];

static int setup(void **state)
{
    static char root[64];
    (void)state;
    snprintf(root, sizeof root, "/tmp/weir-spill-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(folder, sizeof folder, "%s/kv", root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%.*s'", (int)strlen(folder) - 3, folder);
    return system(command);
}

static int open_as(const char *name, struct spill_file *f)
{
    struct error err = {0};
    const int rc = spill_file_open(folder, name, f, &err);
    assert_int_equal(rc == 0, f->fd >= 0);
    return rc;
}

/* Names in the folder that end so; the last one is in `path`. */
static int count(const char *end)
{
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        const size_t len = strlen(e->d_name);
        if (e->d_name[0] == '.' || len < strlen(end) || strcmp(e->d_name + len - strlen(end), end) != 0)
            continue;
        n++;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    }
    closedir(dir);
    return n;
}

static void a_kept_file_has_one_key_and_one_owner(void **state)
{
    (void)state;
    struct spill_file a, b, c;
    struct stat st;
    assert_int_equal(open_as("a model/with: odd \xff name", &a), 0);
    assert_int_equal(count(".kv"), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(open_as("a model/with: odd \xff name", &b), ERROR_BUSY);
    assert_int_equal(open_as("a model/with; odd \xff name", &c), 0);
    assert_int_equal(count(".kv"), 2);
    assert_memory_equal(a.key, c.key, sizeof a.key);
    assert_int_equal(count("key"), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, SPILL_KEY_BYTES);
    spill_file_close(&a);
    assert_int_equal(open_as("a model/with: odd \xff name", &b), 0);
    assert_memory_equal(b.key, c.key, sizeof b.key);
    spill_file_close(&b);
    spill_file_close(&c);
}

static void a_key_cut_short_is_an_error_that_says_what_to_do(void **state)
{
    (void)state;
    struct spill_file f;
    struct error err = {0};
    assert_int_equal(open_as("m", &f), 0);
    spill_file_close(&f);
    assert_int_equal(count("key"), 1);
    assert_int_equal(truncate(path, 5), 0);
    assert_int_equal(spill_file_open(folder, "m", &f, &err), ERROR_IO);
    assert_non_null(strstr(err.message, "remove it"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(open_as("m", &f), 0);
    spill_file_close(&f);
}

static void a_nameless_file_leaves_nothing(void **state)
{
    (void)state;
    struct spill_file a, b;
    assert_int_equal(open_as(NULL, &a), 0);
    assert_int_equal(open_as(NULL, &b), 0);
    assert_memory_not_equal(a.key, b.key, sizeof a.key);
    assert_int_equal(count(""), 0);
    assert_int_equal(write(a.fd, "x", 1), 1);
    spill_file_close(&a);
    spill_file_close(&b);
    struct error err = {0};
    assert_int_equal(spill_file_open("/proc/no/such", NULL, &a, &err), ERROR_IO);
    assert_int_equal(a.fd, -1);
}

enum { RECORD = 5000 };

static void record_put(int fd, int index, int64_t written_ms)
{
    static char bytes[RECORD];
    struct spill_head head = {.magic = SPILL_RECORD, .written_ms = written_ms};
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, &head, sizeof head);
    assert_int_equal(pwrite(fd, bytes, RECORD, (off_t)sizeof(struct spill_header) + index * RECORD), RECORD);
}

static bool record_is_there(int fd, int index)
{
    static char bytes[RECORD];
    int there = 0;
    assert_int_equal(pread(fd, bytes, RECORD, (off_t)sizeof(struct spill_header) + index * RECORD), RECORD);
    for (int i = 0; i < RECORD; i++)
        there += bytes[i] != 0;
    assert_true(there == 0 || there > 4000);
    return there > 0;
}

static void what_is_old_is_gone_from_the_disk(void **state)
{
    (void)state;
    struct spill_file f, foreign;
    const struct spill_header header = {SPILL_MAGIC, SPILL_VERSION, RECORD, {0}};
    assert_int_equal(spill_files_expire(folder, INT64_MAX), 0); /* there is no folder yet */
    assert_int_equal(open_as("m", &f), 0);
    assert_int_equal(open_as("foreign", &foreign), 0);
    assert_int_equal(write(foreign.fd, "no such file", 12), 12);
    assert_int_equal(pwrite(f.fd, &header, sizeof header, 0), (ssize_t)sizeof header);
    for (int i = 0; i < 4; i++)
        record_put(f.fd, i, 1000 * i);
    assert_int_equal(spill_files_expire(folder, 2000), 2);
    assert_false(record_is_there(f.fd, 0) || record_is_there(f.fd, 1));
    assert_true(record_is_there(f.fd, 2) && record_is_there(f.fd, 3));
    assert_int_equal(spill_files_expire(folder, INT64_MAX), 2);
    assert_false(record_is_there(f.fd, 2) || record_is_there(f.fd, 3));
    struct spill_header wrong = header; /* sizes that lead nowhere */
    for (uint64_t bytes = 0; bytes < 3; bytes++) {
        wrong.record_bytes = bytes == 2 ? UINT64_MAX : bytes;
        assert_int_equal(pwrite(f.fd, &wrong, sizeof wrong, 0), (ssize_t)sizeof wrong);
        assert_int_equal(spill_files_expire(folder, INT64_MAX), 0);
    }
    spill_file_close(&f);
    spill_file_close(&foreign);
}

static void what_is_old_goes_while_others_go_on(void **state)
{
    (void)state;
    struct spill_file f;
    struct spill_expiry expiry = {0};
    const struct spill_header header = {SPILL_MAGIC, SPILL_VERSION, RECORD, {0}};
    assert_int_equal(open_as("m", &f), 0);
    assert_int_equal(pwrite(f.fd, &header, sizeof header, 0), (ssize_t)sizeof header);
    for (int i = 0; i < 4; i++)
        record_put(f.fd, i, 1000 * i);
    spill_expiry_begin(&expiry, folder, 2000);
    spill_expiry_end(&expiry);
    assert_false(record_is_there(f.fd, 0) || record_is_there(f.fd, 1));
    assert_true(record_is_there(f.fd, 2) && record_is_there(f.fd, 3));
    spill_expiry_end(&expiry); /* there is none any more */
    spill_file_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_kept_file_has_one_key_and_one_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_cut_short_is_an_error_that_says_what_to_do, setup, teardown),
        cmocka_unit_test_setup_teardown(a_nameless_file_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_old_is_gone_from_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_old_goes_while_others_go_on, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
