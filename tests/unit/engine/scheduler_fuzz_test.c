/* The scheduler over models: arrivals, lengths, turns of conversations, pauses and cancels by chance, with
 * fewer pages than all would take, and with drafts of which some are right. Whatever was shared, moved, taken
 * back, brought from a disk that is damaged at times and computed again, each stream is what the model says
 * to its prompt alone, greedily. WEIR_FUZZ_SEED chooses another run. */
#include "engine/worker/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rand.h"
#include "unit/engine/tiny_all.h"
#include "unit/engine/tiny_run.h"

enum { SLOTS = 4, ROOM = 330, PAGES = 9, BATCH = 48, CLIENTS = 40, FEW = 8, ANSWER_MAX = 24, TOLD_MAX = 40 };

struct client {
    int32_t tokens[ROOM + 1], n_prompt, n, wanted;
    int32_t cached;
    int32_t tells, told, best[TOLD_MAX]; /* of the prompt's end: what was likeliest */
    bool ended, cancelled;
    struct sequence *sequence;
    struct run *run;
};

struct run {
    struct loaded x;
    struct model_state *alone, *draft; /* draft: the same model's, or another's of the same vocabulary */
    struct loaded other;
    struct scheduler *scheduler;
    struct rand_pcg r;
    struct client clients[CLIENTS];
    int32_t n_clients;
    struct draft_counts counts;
    int spill; /* a file for pages that make way; -1: none */
};

/* Steps take any time: whether drafts pay changes all along. */
static int64_t now_ns(void)
{
    static int64_t now;
    static uint32_t noise = 1;
    noise = noise * 1664525 + 1013904223;
    return now += noise >> 29;
}

static uint32_t below(struct run *run, uint32_t most)
{
    return rand_pcg_u32(&run->r) % most;
}

static int32_t best_of(const float *row)
{
    int32_t best = 0;
    for (int32_t id = 1; id < DENSE_VOCAB; id++)
        best = row[id] > row[best] ? id : best;
    return best;
}

static int on_started(void *ctx, size_t cached, struct error *err)
{
    struct client *c = ctx;
    (void)err;
    assert_true((int32_t)cached < c->n_prompt);
    c->cached = (int32_t)cached;
    return 0;
}

static int on_logits(void *ctx, float *row, int32_t *next, struct error *err)
{
    struct client *c = ctx;
    (void)err;
    *next = c->tokens[c->n++] = best_of(row);
    return c->n - c->n_prompt < c->wanted;
}

static void on_read(void *ctx, const float *row, int32_t next)
{
    struct client *c = ctx;
    assert_true(c->told < c->tells && c->n == c->n_prompt);
    assert_int_equal(next, c->tokens[c->n_prompt - c->tells + c->told]);
    c->best[c->told++] = best_of(row);
}

static void on_ended(void *ctx, int rc, const struct error *err)
{
    struct client *c = ctx;
    if (rc)
        fail_msg("a sequence failed: %s", err->message);
    const struct draft_counts counts = scheduler_drafts(c->sequence);
    c->run->counts.drafted += counts.drafted;
    c->run->counts.accepted += counts.accepted;
    c->run->counts.by_model += counts.by_model;
    c->ended = true;
    c->sequence = NULL;
}

static const struct sequence_ops ops = {on_started, on_logits, on_ended, on_read};

/* A prompt of its own, one behind a beginning that many have, or the next turn of what was said before. */
static int32_t prompt_draw(struct run *run, int32_t *tokens)
{
    const struct client *before =
        run->n_clients > 0 ? &run->clients[below(run, (uint32_t)run->n_clients)] : NULL;
    int32_t n = 0;
    if (before && before->ended && below(run, 3) == 0) {
        n = before->n < ROOM - 80 ? before->n : ROOM - 80;
        memcpy(tokens, before->tokens, (size_t)n * sizeof *tokens);
    } else if (below(run, 3) > 0) {
        const int32_t which = (int32_t)below(run, 2), most = 64 + (int32_t)below(run, 130);
        for (; n < most; n++)
            tokens[n] = feed_token(n + 1000 * which);
    }
    for (uint32_t more = 1 + below(run, 40); more > 0; more--)
        tokens[n++] = (int32_t)below(run, DENSE_VOCAB);
    return n;
}

/* What the model says alone, with some tokens others, left out or said twice. */
static void expect(struct run *run, struct client *c)
{
    static const int32_t slots[ROOM];
    uint8_t wants[ROOM] = {0};
    struct token_list said = {0};
    struct error err = {0};
    float row[DENSE_VOCAB];
    int32_t next = 0;
    wants[c->n_prompt - 1] = 1;
    model_state_truncate(run->alone, 0, 0);
    assert_int_equal(
        model_decode(run->alone, &(struct model_batch){c->n_prompt, c->tokens, slots, wants}, row, &err), 0);
    for (int32_t i = 0; i < c->wanted; i++) {
        next = best_of(row);
        const uint32_t dice = below(run, 12);
        for (int32_t times = dice == 0 ? 0 : dice == 1 ? 2 : 1; times > 0; times--)
            assert_int_equal(
                token_list_append(&said, dice == 2 ? (int32_t)below(run, DENSE_VOCAB) : next, &err), 0);
        wants[0] = 1;
        assert_int_equal(
            model_decode(run->alone, &(struct model_batch){1, &next, slots, wants}, row, &err), 0);
    }
    scheduler_expect(c->sequence, &said);
    assert_null(said.ids);
}

static void arrive(struct run *run)
{
    struct client *c = &run->clients[run->n_clients];
    struct token_list list = {0};
    struct error err = {0};
    *c = (struct client){.run = run, .wanted = 1 + (int32_t)below(run, ANSWER_MAX)};
    c->n = c->n_prompt = prompt_draw(run, c->tokens);
    for (int32_t i = 0; i < c->n; i++)
        assert_int_equal(token_list_append(&list, c->tokens[i], &err), 0);
    assert_int_equal(scheduler_add(run->scheduler, &list, &ops, c, &c->sequence, &err), 0);
    const uint64_t key = below(run, 3);
    scheduler_owner(c->sequence, key, key / 2);
    if (below(run, 2))
        expect(run, c);
    if (below(run, 2) == 0) {
        const int32_t asked = 1 + (int32_t)below(run, TOLD_MAX);
        c->tells = asked < c->n - 1 ? asked : c->n - 1;
        scheduler_tell(c->sequence, asked);
    }
    run->n_clients++;
}

/* What is in the file gets damaged now and then; at times there is nothing else to do. */
static void disturb_disk(struct run *run)
{
    char noise[64];
    const off_t size = run->spill < 0 ? 0 : lseek(run->spill, 0, SEEK_END);
    if (size > 0 && below(run, 30) == 0) {
        rand_bytes(noise, sizeof noise);
        assert_true(pwrite(run->spill, noise, sizeof noise, (off_t)below(run, (uint32_t)size)) > 0);
    }
    if (below(run, 4) == 0)
        (void)model_state_spill_ahead(run->x.state);
}

static void disturb(struct run *run)
{
    disturb_disk(run);
    struct client *c = run->n_clients > 0 ? &run->clients[below(run, (uint32_t)run->n_clients)] : NULL;
    if (!c || !c->sequence)
        return;
    const uint32_t dice = below(run, 40);
    if (dice == 0) {
        scheduler_cancel(run->scheduler, c->sequence);
        c->sequence = NULL;
        c->cancelled = true;
    } else {
        scheduler_pause(c->sequence, dice < 5);
    }
}

static void check_alone(struct run *run, const struct client *c, const char *name)
{
    static int32_t slots[ROOM];
    static uint8_t wants[ROOM];
    float row[DENSE_VOCAB];
    struct error err = {0};
    model_state_truncate(run->alone, 0, 0);
    for (int32_t at = 0, count = c->n_prompt; at + count < c->n + 1 && at < c->n; at += count, count = 1) {
        memset(wants, 0, sizeof wants);
        wants[count - 1] = 1;
        if (model_decode(run->alone, &(struct model_batch){count, c->tokens + at, slots, wants}, row, &err))
            fail_msg("%s: %s", name, err.message);
        if (at + count < c->n && best_of(row) != c->tokens[at + count])
            fail_msg("%s: token %d of a prompt of %d (%d cached) differs from the run alone", name,
                at + count - c->n_prompt, c->n_prompt, c->cached);
    }
}

static void told_check_alone(struct run *run, const struct client *c, const char *name)
{
    static int32_t slots[ROOM];
    static uint8_t wants[ROOM];
    static float rows[TOLD_MAX * DENSE_VOCAB];
    struct error err = {0};
    assert_true(c->told == c->tells || c->cancelled);
    for (int32_t i = 0; i < ROOM; i++)
        wants[i] = i >= c->n_prompt - 1 - c->tells && i < c->n_prompt - 1;
    model_state_truncate(run->alone, 0, 0);
    if (model_decode(run->alone, &(struct model_batch){c->n_prompt, c->tokens, slots, wants}, rows, &err))
        fail_msg("%s: %s", name, err.message);
    for (int32_t i = 0; i < c->told; i++)
        if (best_of(rows + (size_t)i * DENSE_VOCAB) != c->best[i])
            fail_msg(
                "%s: what was expected at %d of the last %d of a prompt of %d differs from the run alone",
                name, i, c->tells, c->n_prompt);
}

static bool start(struct run *run, int32_t index, const char **name)
{
    size_t size;
    struct error err = {0};
    const char *seed = getenv("WEIR_FUZZ_SEED");
    char *bytes = any_model(index, name, &size);
    *run = (struct run){.n_clients = 0};
    if (!bytes)
        return false;
    if (load_bytes_threads(&run->x, bytes, size, index == 0 ? 2 : 1, &err) != 0)
        fail_msg("%s: %s", *name, err.message);
    const enum tensor_type kept = index % 2 ? model_kv_type(run->x.model) : TENSOR_F32;
    const struct model_room room = {SLOTS, ROOM, PAGES, kept}, one = {1, ROOM, 0, kept};
    if (model_state_create_within(run->x.model, &room, &run->x.state, &err) != 0 ||
        model_state_create_within(run->x.model, &one, &run->alone, &err) != 0)
        fail_msg("%s: %s", *name, err.message);
    const bool own = model_info(run->x.model)->foretells; /* drafts by itself */
    if (!own && index % 3 == 1) {
        const char *other;
        char *others = any_model(0, &other, &size);
        if (load_bytes(&run->other, others, size, &err) != 0 ||
            model_state_create(run->other.model, SLOTS, ROOM, &run->draft, &err) != 0)
            fail_msg("%s: %s", other, err.message);
    }
    if (!own && index % 3 == 2 && model_state_create(run->x.model, SLOTS, ROOM, &run->draft, &err) != 0)
        fail_msg("%s: %s", *name, err.message);
    run->spill = -1;
    if (model_state_shares(run->x.state)) {
        FILE *file = tmpfile();
        run->spill = dup(fileno(file));
        fclose(file);
        const struct spill_options disk = {.fd = run->spill, .most = 3 << 19};
        if (model_state_spill(run->x.state, &disk, STR("a file"), &err) != 0)
            fail_msg("%s: %s", *name, err.message);
    }
    rand_pcg_seed(&run->r, (uint64_t)(seed ? atoll(seed) : 6) + (uint64_t)index);
    const struct scheduler_options o = {.n_slots = SLOTS,
        .n_context = ROOM,
        .n_vocab = DENSE_VOCAB,
        .n_batch = BATCH,
        .now_ns = now_ns,
        .drafts = true,
        .draft = run->draft,
        .draft_vocab = DENSE_VOCAB};
    assert_int_equal(scheduler_create(run->x.state, &o, &run->scheduler, &err), 0);
    return true;
}

static void finish(struct run *run)
{
    scheduler_free(run->scheduler);
    model_state_free(run->alone);
    model_state_free(run->draft);
    if (run->other.model)
        unload(&run->other);
    unload(&run->x);
    if (run->spill >= 0)
        close(run->spill);
}

static void work(struct run *run, int32_t n_clients)
{
    for (int32_t steps = 0; run->n_clients < n_clients || scheduler_ready(run->scheduler); steps++) {
        assert_in_range(steps, 0, 100000);
        if (run->n_clients < n_clients && below(run, 4) == 0)
            arrive(run);
        disturb(run);
        scheduler_step(run->scheduler);
        for (int32_t i = 0; run->n_clients == n_clients && i < n_clients; i++)
            if (run->clients[i].sequence)
                scheduler_pause(run->clients[i].sequence, false);
    }
}

static void streams_are_as_if_alone(void **state)
{
    (void)state;
    static struct run run;
    const char *name;
    int32_t sharing = 0, shared = 0;
    struct draft_counts drafts = {0};
    int64_t spilled = 0;
    int64_t behind = 0; /* of those: where the state cannot go back */
    int64_t own = 0;    /* where a layer of the model's own drafts */
    for (int32_t index = 0; start(&run, index, &name); index++) {
        const bool shares = model_state_shares(run.x.state);
        int32_t ended = 0, cached = 0;
        const bool foretells = model_state_foretells(run.x.state);
        work(&run, sharing == 0 && shares ? CLIENTS : foretells ? 2 * FEW : FEW);
        for (int32_t i = 0; i < run.n_clients; i++) {
            assert_true(run.clients[i].ended || run.clients[i].cancelled);
            ended += run.clients[i].ended;
            cached += run.clients[i].cached;
            check_alone(&run, &run.clients[i], name);
            told_check_alone(&run, &run.clients[i], name);
        }
        assert_true(ended >= run.n_clients / 2);
        shared += shares ? cached : 0;
        spilled += model_state_spilled(run.x.state);
        sharing += shares;
        drafts.drafted += run.counts.drafted;
        drafts.accepted += run.counts.accepted;
        own += foretells ? run.counts.by_model : 0;
        behind += model_state_rewinds(run.x.state) ? 0 : run.counts.accepted;
        /* Nothing is lost: all pages can be had again. */
        if (shares)
            assert_int_equal(model_state_pages_left(run.x.state), PAGES);
        finish(&run);
    }
    assert_true(sharing > 5 && shared > 1000 && spilled > 50);
    assert_in_range(own, 20, 100000);
    assert_true(drafts.accepted > 500 && drafts.drafted > drafts.accepted + 200 && behind > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(streams_are_as_if_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
