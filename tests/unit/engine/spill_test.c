/* Pages on disk: what was written comes back to the bit or not at all, whatever happened to the file. */
#include "engine/worker/spill.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/pages.h"
#include "engine/worker/scheduler.h"
#include "unit/engine/tiny_all.h"
#include "unit/engine/tiny_run.h"

enum {
    PAGE = 3000,
    RECORD = (int)sizeof(struct spill_head) + PAGE + SPILL_TAG_BYTES,
    HEADER = (int)sizeof(struct spill_header)
};

static int file_make(void)
{
    FILE *f = tmpfile();
    assert_non_null(f);
    const int fd = dup(fileno(f));
    fclose(f);
    return fd;
}

static struct spill_options options_for(int fd, int records)
{
    struct spill_options o = {
        .fd = fd, .most = (uint64_t)(HEADER + records * RECORD), .page_bytes = PAGE, .owner = STR("a model")};
    memset(o.key, 7, sizeof o.key);
    return o;
}

static struct spill *open_with(const struct spill_options *o)
{
    struct spill *s;
    struct error err = {0};
    if (spill_open(o, &s, &err) != 0)
        fail_msg("%s", err.message);
    return s;
}

static struct spill_name named(const struct spill *s, int page)
{
    struct spill_name name;
    spill_name(s, NULL, &page, sizeof page, &name);
    return name;
}

static void put(struct spill *s, int page)
{
    const struct spill_name name = named(s, page);
    memset(spill_page(s), 'A' + page, PAGE);
    spill_write(s, &name);
}

static bool get(struct spill *s, int page)
{
    const struct spill_name name = named(s, page);
    if (!spill_read(s, &name))
        return false;
    for (int i = 0; i < PAGE; i++)
        assert_int_equal(spill_page(s)[i], 'A' + page);
    return true;
}

static off_t size_of(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size;
}

static void what_was_written_comes_back_also_later(void **state)
{
    (void)state;
    const struct spill_options o = options_for(file_make(), 8);
    struct spill *s = open_with(&o);
    for (int i = 0; i < 5; i++)
        put(s, i);
    put(s, 3);
    assert_int_equal(spill_count(s), 5);
    assert_int_equal(size_of(o.fd), HEADER + 5 * RECORD);
    assert_false(get(s, 5));
    spill_close(s);
    s = open_with(&o);
    assert_int_equal(spill_count(s), 5);
    for (int i = 0; i < 5; i++)
        assert_true(get(s, i));
    spill_close(s);
    close(o.fd);
}

static void the_longest_unused_makes_way_and_the_limit_is_held(void **state)
{
    (void)state;
    struct spill_options o = options_for(file_make(), 3);
    o.most += RECORD - 1; /* not quite four */
    struct spill *s = open_with(&o);
    for (int i = 0; i < 3; i++)
        put(s, i);
    assert_true(get(s, 0));
    for (int i = 3; i < 5; i++)
        put(s, i);
    assert_true(get(s, 0) && get(s, 3) && get(s, 4));
    assert_false(get(s, 1) || get(s, 2));
    assert_int_equal(size_of(o.fd), HEADER + 3 * RECORD);
    spill_close(s);
    o.most = HEADER + 2 * RECORD; /* it is to be smaller now */
    s = open_with(&o);
    assert_int_equal(spill_count(s), 2);
    assert_int_equal(size_of(o.fd), HEADER + 2 * RECORD);
    spill_close(s);
    struct error err = {0};
    o.most = HEADER + RECORD - 1;
    assert_int_equal(spill_open(&o, &s, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "kv_disk"));
    close(o.fd);
}

static void another_owner_or_key_finds_nothing(void **state)
{
    (void)state;
    const struct spill_options o = options_for(file_make(), 4);
    struct spill_options other = o;
    for (int i = 0; i < 2; i++) {
        struct spill *s = open_with(&o);
        put(s, 1);
        spill_close(s);
        other = o;
        if (i == 0)
            other.owner = STR("a madel");
        else
            other.key[31] ^= 1;
        s = open_with(&other);
        assert_int_equal(spill_count(s), 0);
        assert_false(get(s, 1));
        assert_int_equal(size_of(o.fd), HEADER);
        spill_close(s);
    }
    close(o.fd);
}

static void names_depend_on_all_before(void **state)
{
    (void)state;
    const struct spill_options o = options_for(file_make(), 2);
    struct spill *s = open_with(&o);
    const struct spill_name a = named(s, 1), b = named(s, 2);
    struct spill_name behind_a, behind_b;
    spill_name(s, &a, "x", 1, &behind_a);
    spill_name(s, &b, "x", 1, &behind_b);
    assert_memory_not_equal(&behind_a, &behind_b, sizeof behind_a);
    assert_memory_not_equal(&a, &b, sizeof a);
    spill_close(s);
    close(o.fd);
}

/* Two files of one key: what was copied from one to the other was taken for the other model's. */
static void a_record_out_of_another_models_file_is_not_read(void **state)
{
    (void)state;
    const struct spill_options o = options_for(file_make(), 4);
    struct spill_options other = o;
    char record[RECORD];
    struct spill *s = open_with(&o);
    put(s, 1);
    spill_close(s);
    assert_int_equal(pread(o.fd, record, RECORD, HEADER), RECORD);
    other.owner = STR("a madel");
    spill_close(open_with(&other));
    assert_int_equal(pwrite(o.fd, record, RECORD, HEADER), RECORD);
    s = open_with(&other);
    assert_int_equal(spill_count(s), 1);
    assert_false(get(s, 1));
    spill_close(s);
    close(o.fd);
}

/* A page that is wanted was written over by the one that made way for it. */
static void what_was_looked_for_is_not_written_over_first(void **state)
{
    (void)state;
    const struct spill_options o = options_for(file_make(), 3);
    struct spill *s = open_with(&o);
    for (int i = 0; i < 3; i++)
        put(s, i);
    const struct spill_name first = named(s, 0);
    assert_true(spill_has(s, &first));
    put(s, 3);
    assert_true(get(s, 0));
    assert_false(get(s, 1));
    spill_close(s);
    close(o.fd);
}

/* Each byte of a record in turn. */
static void a_record_with_any_byte_changed_is_not_read(void **state)
{
    (void)state;
    const struct spill_options o = options_for(file_make(), 1);
    struct spill *s = open_with(&o);
    for (int at = 0; at < RECORD; at += at < 120 || at > RECORD - 20 ? 1 : 97) {
        char byte;
        put(s, 1);
        assert_int_equal(pread(o.fd, &byte, 1, HEADER + at), 1);
        byte = (char)(byte ^ 4);
        assert_int_equal(pwrite(o.fd, &byte, 1, HEADER + at), 1);
        if (get(s, 1))
            fail_msg("byte %d was changed", at);
        assert_int_equal(spill_count(s), 0);
    }
    put(s, 1);
    assert_true(get(s, 1));
    spill_close(s);
    close(o.fd);
}

/* A record that a killed process left half written, a file cut short, one emptied by whoever purges, one that
 * is no such file at all, one of heads without end. */
static void a_broken_file_loses_pages_and_nothing_else(void **state)
{
    (void)state;
    struct spill_options o = options_for(file_make(), 4);
    struct spill *s = open_with(&o);
    put(s, 1);
    put(s, 2);
    assert_int_equal(ftruncate(o.fd, HEADER + RECORD + RECORD / 2), 0);
    assert_true(get(s, 1));
    assert_false(get(s, 2));
    assert_int_equal(ftruncate(o.fd, 0), 0);
    assert_false(get(s, 1));
    put(s, 3);
    assert_true(get(s, 3));
    spill_close(s);
    for (int round = 0; round < 20; round++) {
        char noise[2 * RECORD];
        rand_bytes(noise, sizeof noise);
        assert_int_equal(pwrite(o.fd, noise, sizeof noise, round % 2 ? HEADER : 0), (ssize_t)sizeof noise);
        const struct spill_head head = {
            .magic = SPILL_RECORD, .written_ms = round % 4 ? INT64_MIN : INT64_MAX};
        for (int i = 0; i < 4 && round % 2; i++)
            assert_int_equal(pwrite(o.fd, &head, sizeof head, HEADER + i * RECORD), (ssize_t)sizeof head);
        o.keep_ms = round % 3 ? 1 << 30 : 0; /* such an age is beyond 64 bits */
        s = open_with(&o);
        for (int i = 0; i < 4; i++) {
            const struct spill_name none = {{0}};
            assert_false(get(s, i));
            assert_false(spill_read(s, &none));
        }
        put(s, 1);
        assert_true(get(s, 1));
        spill_close(s);
    }
    close(o.fd);
}

/* As a full disk: the system refuses to let a file grow. */
static void a_full_disk_is_no_error(void **state)
{
    (void)state;
    const struct spill_options o = options_for(file_make(), 4);
    struct spill *s = open_with(&o);
    struct rlimit before, small;
    put(s, 1);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){HEADER + RECORD + 100, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    put(s, 2); /* is cut off */
    put(s, 3); /* is not even tried */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(get(s, 1));
    assert_false(get(s, 2) || get(s, 3));
    put(s, 2); /* nor at once after that */
    assert_false(get(s, 2));
    assert_int_equal(size_of(o.fd), HEADER + RECORD + 100);
    spill_close(s);
    close(o.fd);
}

static void what_is_on_disk_tells_nothing(void **state)
{
    (void)state;
    const struct spill_options o = options_for(file_make(), 4);
    char first[RECORD], second[RECORD], run[16];
    struct spill *s = open_with(&o);
    for (int round = 0; round < 2; round++) {
        put(s, 1);
        assert_int_equal(pread(o.fd, round ? second : first, RECORD, HEADER), RECORD);
        memset(run, 'B', sizeof run);
        assert_null(memmem(round ? second : first, RECORD, run, sizeof run));
        assert_int_equal(ftruncate(o.fd, HEADER), 0);
        assert_false(get(s, 1));
    }
    /* The same page, another nonce: nothing behind the name is the same. */
    assert_memory_not_equal(((struct spill_head *)(void *)first)->nonce,
        ((struct spill_head *)(void *)second)->nonce, SPILL_NONCE_BYTES);
    assert_memory_not_equal(first + sizeof(struct spill_head), second + sizeof(struct spill_head), 16);
    spill_close(s);
    close(o.fd);
}

static void what_is_older_than_it_may_be_is_not_used(void **state)
{
    (void)state;
    struct spill_options o = options_for(file_make(), 4);
    o.keep_ms = 60000;
    struct spill *s = open_with(&o);
    put(s, 1);
    assert_true(get(s, 1));
    spill_close(s);
    o.keep_ms = 1;
    nanosleep(&(struct timespec){0, 20 * 1000000}, NULL);
    s = open_with(&o);
    assert_false(get(s, 1));
    spill_close(s);
    close(o.fd);
}

/* ---- Of a model ---- */

enum { ROOM = 5 * PAGE_POSITIONS, PAGES = 7, PROMPT = 3 * PAGE_POSITIONS + 20 };

static void model_start_of(
    struct loaded *x, int fd, const char *identity, uint64_t most, enum tensor_type kept)
{
    size_t size;
    const char *name;
    struct error err = {0};
    char *bytes = any_model(0, &name, &size);
    struct spill_options o = {.fd = fd, .most = most};
    memset(o.key, 3, sizeof o.key);
    if (load_bytes(x, bytes, size, &err) != 0 ||
        model_state_create_within(x->model, &(struct model_room){2, ROOM, PAGES, kept}, &x->state, &err) !=
            0 ||
        model_state_spill(x->state, &o, str_from(identity), &err) != 0)
        fail_msg("%s", err.message);
}

static void model_start_within(struct loaded *x, int fd, const char *identity, uint64_t most)
{
    model_start_of(x, fd, identity, most, TENSOR_F32);
}

static void model_start(struct loaded *x, int fd, const char *identity)
{
    model_start_within(x, fd, identity, 1 << 20);
}

static const int32_t *prompt(int32_t from)
{
    static int32_t tokens[PROMPT];
    for (int32_t i = 0; i < PROMPT; i++)
        tokens[i] = feed_token(from + i);
    return tokens;
}

/* A sequence of the scope reads the tokens [from, from + PROMPT), leaves them to others, and gives the last
 * logits. */
static int32_t read_prompt(struct loaded *x, uint64_t scope, int32_t from, float *logits)
{
    const struct pages_kin kin = {scope, NULL};
    const int32_t *tokens = prompt(from);
    for (bool disk_free = true; model_state_recall(x->state, &kin, tokens, PROMPT - 1, &disk_free);)
        disk_free = true;
    const int32_t had = model_state_adopt(x->state, 0, scope, tokens, PROMPT - 1);
    feed(x, 0, from + had, from + PROMPT, logits);
    model_state_keep(x->state, 0, scope, tokens, true);
    return had;
}

static void a_prompt_that_memory_had_no_room_for_comes_from_disk(void **state)
{
    (void)state;
    const int fd = file_make();
    float first[DENSE_VOCAB], again[DENSE_VOCAB];
    struct loaded x;
    model_start(&x, fd, "one");
    assert_int_equal(read_prompt(&x, 1, 0, first), 0);
    assert_int_equal(read_prompt(&x, 1, 300, again), 0);
    assert_int_equal(read_prompt(&x, 1, 600, again), 0); /* two do not fit beside it */
    assert_true(model_state_spilled(x.state) >= 3);
    assert_int_equal(read_prompt(&x, 2, 0, again), 0); /* another scope has none of it */
    assert_int_equal(read_prompt(&x, 1, 0, again), 3 * PAGE_POSITIONS);
    check_same("dense", "logits behind pages from disk differ", first, again);
    /* The process ends, with what it has had no time to write. */
    unload(&x);
    model_start(&x, fd, "one");
    assert_true(model_state_spilled(x.state) >= 3);
    assert_int_equal(read_prompt(&x, 2, 300, again), 0);
    assert_int_equal(read_prompt(&x, 1, 0, again), 3 * PAGE_POSITIONS);
    check_same("dense", "logits behind pages of another process differ", first, again);
    unload(&x);
    model_start(&x, fd, "another file");
    assert_int_equal(model_state_spilled(x.state), 0);
    assert_int_equal(read_prompt(&x, 1, 0, again), 0);
    unload(&x);
    close(fd);
}

/* Pages of both are as large. */
static void pages_of_halves_are_not_read_as_bfloat16(void **state)
{
    (void)state;
    const int fd = file_make();
    float logits[DENSE_VOCAB];
    struct loaded x;
    model_start_of(&x, fd, "one", 1 << 20, TENSOR_F16);
    (void)read_prompt(&x, 1, 0, logits);
    while (model_state_spill_ahead(x.state))
        ;
    assert_int_equal(model_state_spilled(x.state), 3);
    unload(&x);
    model_start_of(&x, fd, "one", 1 << 20, TENSOR_F16);
    assert_int_equal(model_state_spilled(x.state), 3);
    unload(&x);
    model_start_of(&x, fd, "one", 1 << 20, TENSOR_BF16);
    assert_int_equal(model_state_spilled(x.state), 0);
    unload(&x);
    close(fd);
}

static void pages_are_written_ahead_each_once(void **state)
{
    (void)state;
    const int fd = file_make();
    float logits[DENSE_VOCAB];
    struct loaded x;
    int32_t written = 0;
    model_start(&x, fd, "one");
    assert_false(model_state_spill_ahead(x.state));
    (void)read_prompt(&x, 1, 0, logits);
    while (model_state_spill_ahead(x.state))
        written++;
    assert_int_equal(written, 3);
    assert_int_equal(model_state_spilled(x.state), 3);
    (void)read_prompt(&x, 1, 0, logits);
    assert_false(model_state_spill_ahead(x.state));
    unload(&x);
    close(fd);
}

/* The file is full of two prompts, memory of two others, which make way for the first as it comes back. */
static void what_makes_way_is_not_written_over_what_comes(void **state)
{
    (void)state;
    const int fd = file_make();
    float logits[DENSE_VOCAB];
    struct loaded x;
    model_start(&x, fd, "one");
    (void)read_prompt(&x, 1, 0, logits);
    while (model_state_spill_ahead(x.state))
        ;
    const off_t record = (size_of(fd) - HEADER) / 3;
    unload(&x);
    assert_int_equal(ftruncate(fd, 0), 0);
    model_start_within(&x, fd, "one", (uint64_t)(HEADER + 6 * record));
    for (int32_t i = 0; i < 4; i++)
        assert_int_equal(read_prompt(&x, 1, 300 * i, logits), 0);
    assert_int_equal(model_state_spilled(x.state), 6);
    assert_int_equal(read_prompt(&x, 1, 0, logits), 3 * PAGE_POSITIONS);
    unload(&x);
    close(fd);
}

/* ---- Of a scheduler ---- */

enum { FOUR_PAGES = 4 * PAGE_POSITIONS + 20 };

struct reader {
    size_t cached;
    bool ended;
};

static int on_started(void *ctx, size_t cached, struct error *err)
{
    (void)err;
    ((struct reader *)ctx)->cached = cached;
    return 0;
}

static int on_logits(void *ctx, float *row, int32_t *next, struct error *err)
{
    (void)ctx;
    (void)row;
    (void)next;
    (void)err;
    return 0;
}

static void on_ended(void *ctx, int rc, const struct error *err)
{
    (void)err;
    assert_int_equal(rc, 0);
    ((struct reader *)ctx)->ended = true;
}

static void reader_add(struct scheduler *s, struct reader *r, int32_t from)
{
    static const struct sequence_ops ops = {.started = on_started, .logits = on_logits, .ended = on_ended};
    struct token_list tokens = {0};
    struct sequence *q;
    struct error err = {0};
    *r = (struct reader){0};
    for (int32_t i = 0; i < FOUR_PAGES; i++)
        assert_int_equal(token_list_append(&tokens, feed_token(from + i), &err), 0);
    assert_int_equal(scheduler_add(s, &tokens, &ops, r, &q, &err), 0);
}

/* Memory holds either of them: they brought their pages in turn, each in place of the other's, for ever. */
static void two_prompts_from_disk_that_have_no_room_together_both_run(void **state)
{
    (void)state;
    const int fd = file_make();
    struct reader readers[2];
    struct loaded x;
    struct scheduler *s;
    struct error err = {0};
    model_start(&x, fd, "one");
    const struct scheduler_options o = {
        .n_slots = 2, .n_context = ROOM, .n_vocab = DENSE_VOCAB, .n_batch = 64};
    assert_int_equal(scheduler_create(x.state, &o, &s, &err), 0);
    for (int i = 0; i < 2; i++) {
        reader_add(s, &readers[i], 1000 * i);
        while (scheduler_ready(s))
            scheduler_step(s);
        while (model_state_spill_ahead(x.state))
            ;
    }
    assert_int_equal(model_state_spilled(x.state), 8);
    for (int i = 0; i < 2; i++)
        reader_add(s, &readers[i], 1000 * i);
    for (int steps = 0; steps < 1000 && scheduler_ready(s); steps++)
        scheduler_step(s);
    for (int i = 0; i < 2; i++)
        assert_true(readers[i].ended && readers[i].cached == 4 * PAGE_POSITIONS);
    scheduler_free(s);
    unload(&x);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_comes_back_also_later),
        cmocka_unit_test(the_longest_unused_makes_way_and_the_limit_is_held),
        cmocka_unit_test(another_owner_or_key_finds_nothing),
        cmocka_unit_test(names_depend_on_all_before),
        cmocka_unit_test(a_record_out_of_another_models_file_is_not_read),
        cmocka_unit_test(what_was_looked_for_is_not_written_over_first),
        cmocka_unit_test(a_record_with_any_byte_changed_is_not_read),
        cmocka_unit_test(a_broken_file_loses_pages_and_nothing_else),
        cmocka_unit_test(a_full_disk_is_no_error),
        cmocka_unit_test(what_is_on_disk_tells_nothing),
        cmocka_unit_test(what_is_older_than_it_may_be_is_not_used),
        cmocka_unit_test(a_prompt_that_memory_had_no_room_for_comes_from_disk),
        cmocka_unit_test(pages_of_halves_are_not_read_as_bfloat16),
        cmocka_unit_test(pages_are_written_ahead_each_once),
        cmocka_unit_test(what_makes_way_is_not_written_over_what_comes),
        cmocka_unit_test(two_prompts_from_disk_that_have_no_room_together_both_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
