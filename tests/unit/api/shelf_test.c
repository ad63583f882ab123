#include "api/shelf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"

static char folder[] = "/tmp/weir-shelf-XXXXXX";

static int folder_make(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_drop(void **state)
{
    (void)state;
    shelf_purge(folder, INT64_MAX, NULL);
    return rmdir(folder);
}

static void put(const char *id, const char *key, int64_t created_s)
{
    struct error err;
    json_t *about = json_pack("{s:s,s:s,s:I}", "id", id, "key", key, "created_at", (json_int_t)created_s);
    assert_int_equal(shelf_write(folder, str_from(id), about, &err), 0);
    assert_int_equal(shelf_write_data(folder, str_from(id), STR("data"), &err), 0);
    json_decref(about);
}

static size_t count(const char *key)
{
    json_t *list = shelf_list(folder, "file-", key);
    size_t n = json_array_size(list);
    json_decref(list);
    return n;
}

static void what_is_put_there_is_its_keys_own(void **state)
{
    struct error err;
    struct buf data;
    struct stat st;
    char path[PATH_MAX];
    json_t *about;
    (void)state;
    put("file-a", "one", 10);
    put("file-b", "two", 20);
    put("file-c", "one", 30);
    assert_int_equal(count("one"), 2);
    assert_int_equal(count("three"), 0);
    json_t *list = shelf_list(folder, "file-", NULL);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "id")), "file-c");
    json_decref(list);
    assert_int_equal(shelf_read(folder, STR("file-a"), "one", &about, &err), 0);
    json_decref(about);
    assert_int_equal(shelf_read(folder, STR("file-a"), "two", &about, &err), ERROR_NOT_FOUND);
    assert_int_equal(shelf_read(folder, STR("file-x"), "one", &about, &err), ERROR_NOT_FOUND);
    buf_init(&data, KIB * 128);
    assert_int_equal(shelf_read_data(folder, STR("file-a"), &data, &err), 0);
    assert_true(str_is(buf_str(&data), "data"));
    buf_free(&data);
    assert_true(shelf_path(folder, STR("file-a"), ".data", path));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void no_id_leads_elsewhere(void **state)
{
    static const char *const bad[] = {
        "", "x", "file-../a", "file-a/b", "file-a.json", "../file-a", "file-\n"};
    char path[PATH_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(shelf_path(folder, str_from(bad[i]), ".json", path));
}

static void a_purge_leaves_what_is_younger_and_no_orphans(void **state)
{
    struct error err;
    char path[PATH_MAX];
    (void)state;
    assert_int_equal(shelf_write_data(folder, STR("file-orphan"), STR("x"), &err), 0);
    shelf_purge(folder, 25, NULL);
    assert_int_equal(count("one"), 1);
    assert_int_equal(count("two"), 0);
    assert_true(shelf_path(folder, STR("file-orphan"), ".data", path));
    assert_int_equal(access(path, F_OK), 0); /* it may belong to a batch that runs */
    shelf_purge(folder, INT64_MAX, NULL);
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_there_is_its_keys_own),
        cmocka_unit_test(no_id_leads_elsewhere),
        cmocka_unit_test(a_purge_leaves_what_is_younger_and_no_orphans),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_drop);
}
