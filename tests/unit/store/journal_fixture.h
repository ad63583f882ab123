/* For tests that need a state with a journal. */
#ifndef WEIR_TESTS_STORE_JOURNAL_FIXTURE_H
#define WEIR_TESTS_STORE_JOURNAL_FIXTURE_H

#include "unit/store/store_fixture.h"

static inline struct store *journal_open(struct fixture *f)
{
    struct error err = {0};
    struct store *s = fixture_open(f);
    int rc = store_claim(s, &err);
    if (rc == 0)
        rc = store_journal(s, STR_NONE, &err);
    if (rc)
        print_error("%s\n", err.message);
    assert_int_equal(rc, 0);
    return s;
}

static inline void file_path(const struct fixture *f, int file, char out[160])
{
    snprintf(out, 160, "%s.journal.%d", f->path, file);
}

static inline off_t file_bytes(const struct fixture *f, int file)
{
    char path[160];
    struct stat st;
    file_path(f, file, path);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static inline int count_row(void *ctx, const struct store_egress *row)
{
    (void)row;
    ++*(int *)ctx;
    return 0;
}

static inline int egress_count(struct store *s)
{
    struct error err;
    int n = 0;
    assert_int_equal(store_egress_list(s, 0, count_row, &n, &err), 0);
    return n;
}

static inline void egress_add(struct fixture *f, struct store *s, int number)
{
    struct error err;
    char id[32];
    snprintf(id, sizeof id, "request-%d", number);
    struct store_egress row = egress_row(id, number);
    assert_int_equal(store_egress_record(s, &row, fixture_done(f), &err), 0);
}

#endif
