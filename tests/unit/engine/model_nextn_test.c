/* The layer that drafts (multi-token prediction): held to a plain one that the test works out in doubles, of
 * the file's own tensors; the same to the bit however a sequence was read; and broken ones are refused. That
 * it changes no answer is what model_special_test.c, scheduler_fuzz_test.c and speculate_test.c say. */
#include "engine/worker/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/worker/program.h"
#include "unit/engine/tiny_all.h"
#include "unit/engine/tiny_run.h"

enum { READ = 11, AHEAD = 4, WIDTH = 24, VOCAB = DENSE_VOCAB, LAYER = 4, HEADS = 4, KEYS = 2, HEAD = 6 };

/* ---- In doubles ---- */

/* Position by position: what the layer has kept. */
struct plain {
    const struct gguf *gguf;
    double k[READ + AHEAD][KEYS * HEAD], v[READ + AHEAD][KEYS * HEAD];
};

static const float *data_of(const struct plain *p, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%d.%s", LAYER, name);
    const struct tensor *t = gguf_tensor_find(p->gguf, full);
    return t ? t->data : NULL;
}

static void norm(const float *weight, const double *x, int n, double *y)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < n; i++)
        y[i] = x[i] / sqrt(sum / n + 1e-5) * (double)weight[i];
}

static void rows_of(const float *matrix, const float *bias, int n_in, int n_out, const double *x, double *y)
{
    for (int o = 0; o < n_out; o++) {
        y[o] = bias ? (double)bias[o] : 0;
        for (int i = 0; i < n_in; i++)
            y[o] += (double)matrix[o * n_in + i] * x[i];
    }
}

static void product(const struct plain *p, const char *name, int n_in, int n_out, const double *x, double *y)
{
    char weight[48], bias[48];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    assert_non_null(data_of(p, weight));
    rows_of(data_of(p, weight), data_of(p, bias), n_in, n_out, x, y);
}

/* Each head's norm, where it has one, and its rotation. */
static void turn(const struct plain *p, const char *norm_name, double *heads, int n_heads, int position)
{
    const float *weight = data_of(p, norm_name);
    for (double *h = heads; h < heads + n_heads * HEAD; h += HEAD) {
        if (weight)
            norm(weight, h, HEAD, h);
        for (int i = 0; i < HEAD / 2; i++) {
            const double angle = position * pow(10000, -2.0 * i / HEAD), a = h[i], b = h[i + HEAD / 2];
            h[i] = a * cos(angle) - b * sin(angle);
            h[i + HEAD / 2] = a * sin(angle) + b * cos(angle);
        }
    }
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void attend(const struct plain *p, const double *x, int position, double *y)
{
    const bool gated = gguf_tensor_find(p->gguf, "blk.4.attn_q.weight")->shape[1] == 2 * HEADS * HEAD;
    double both[2 * HEADS * HEAD], q[HEADS * HEAD], gate[HEADS * HEAD], mixed[HEADS * HEAD] = {0};
    product(p, "attn_q", WIDTH, (gated ? 2 : 1) * HEADS * HEAD, x, both);
    for (int i = 0; i < HEADS * HEAD; i++) {
        const int at = gated ? i / HEAD * 2 * HEAD + i % HEAD : i;
        q[i] = both[at];
        gate[i] = gated ? sigmoid(both[at + HEAD]) : 1;
    }
    turn(p, "attn_q_norm.weight", q, HEADS, position);
    for (int h = 0; h < HEADS; h++) {
        const int from = h / (HEADS / KEYS) * HEAD;
        double score[READ + AHEAD], sum = 0;
        for (int at = 0; at <= position; at++) {
            score[at] = 0;
            for (int i = 0; i < HEAD; i++)
                score[at] += q[h * HEAD + i] * p->k[at][from + i] / sqrt(HEAD);
            sum += score[at] = exp(score[at]);
        }
        for (int at = 0; at <= position; at++)
            for (int i = 0; i < HEAD; i++)
                mixed[h * HEAD + i] += score[at] / sum * p->v[at][from + i];
    }
    for (int i = 0; i < HEADS * HEAD; i++)
        mixed[i] *= gate[i];
    product(p, "attn_output", HEADS * HEAD, WIDTH, mixed, y);
}

static void gated_network(const float *gate, const float *up, const float *down, int n_ff, const double *x,
    double factor, double *y)
{
    double a[64], b[64], out[WIDTH];
    rows_of(gate, NULL, WIDTH, n_ff, x, a);
    rows_of(up, NULL, WIDTH, n_ff, x, b);
    for (int i = 0; i < n_ff; i++)
        a[i] *= sigmoid(a[i]) * b[i];
    rows_of(down, NULL, n_ff, WIDTH, a, out);
    for (int i = 0; i < WIDTH; i++)
        y[i] += factor * out[i];
}

/* The best two of four experts by sigmoid and bias, weighed by the sigmoid alone, and a shared one. */
static void mixture(const struct plain *p, const double *x, double *y)
{
    enum { EXPERTS = 4, FF = 10, SHARED = 8 };
    const float *bias = data_of(p, "exp_probs_b.bias");
    double score[EXPERTS];
    product(p, "ffn_gate_inp", WIDTH, EXPERTS, x, score);
    for (int e = 0; e < EXPERTS; e++)
        score[e] = sigmoid(score[e]);
    int first = 0, second = -1;
    for (int e = 1; e < EXPERTS; e++)
        first = score[e] + (double)bias[e] > score[first] + (double)bias[first] ? e : first;
    for (int e = 0; e < EXPERTS; e++)
        if (e != first && (second < 0 || score[e] + (double)bias[e] > score[second] + (double)bias[second]))
            second = e;
    const int best[2] = {first, second};
    for (int i = 0; i < 2; i++)
        gated_network(data_of(p, "ffn_gate_exps.weight") + best[i] * WIDTH * FF,
            data_of(p, "ffn_up_exps.weight") + best[i] * WIDTH * FF,
            data_of(p, "ffn_down_exps.weight") + best[i] * WIDTH * FF, FF, x,
            score[best[i]] / (score[first] + score[second]), y);
    gated_network(data_of(p, "ffn_gate_shexp.weight"), data_of(p, "ffn_up_shexp.weight"),
        data_of(p, "ffn_down_shexp.weight"), SHARED, x, 1, y);
}

/* The token at `position` and what stands for its predecessor; `hidden` becomes what stands for itself. */
static void plain_step(struct plain *p, int32_t token, int position, double *hidden, double *logits)
{
    const struct tensor *table = gguf_tensor_find(p->gguf, "blk.4.nextn.embed_tokens.weight");
    const struct tensor *head = gguf_tensor_find(p->gguf, "blk.4.nextn.shared_head_head.weight");
    double both[2 * WIDTH], x[WIDTH], h[WIDTH], y[WIDTH], embedding[WIDTH];
    table = table ? table : gguf_tensor_find(p->gguf, "token_embd.weight");
    head = head ? head : gguf_tensor_find(p->gguf, "output.weight");
    for (int i = 0; i < WIDTH; i++)
        embedding[i] = (double)((const float *)table->data)[token * WIDTH + i];
    norm(data_of(p, "nextn.enorm.weight"), embedding, WIDTH, both);
    norm(data_of(p, "nextn.hnorm.weight"), hidden, WIDTH, both + WIDTH);
    product(p, "nextn.eh_proj", 2 * WIDTH, WIDTH, both, x);
    norm(data_of(p, "attn_norm.weight"), x, WIDTH, h);
    product(p, "attn_k", WIDTH, KEYS * HEAD, h, p->k[position]);
    product(p, "attn_v", WIDTH, KEYS * HEAD, h, p->v[position]);
    turn(p, "attn_k_norm.weight", p->k[position], KEYS, position);
    attend(p, h, position, y);
    for (int i = 0; i < WIDTH; i++)
        x[i] += y[i];
    norm(data_of(p, "post_attention_norm.weight"), x, WIDTH, h);
    if (data_of(p, "ffn_gate_inp.weight"))
        mixture(p, h, x);
    else
        gated_network(data_of(p, "ffn_gate.weight"), data_of(p, "ffn_up.weight"),
            data_of(p, "ffn_down.weight"), 20, h, 1, x);
    norm(data_of(p, "nextn.shared_head_norm.weight"), x, WIDTH, hidden);
    rows_of(head->data, NULL, WIDTH, VOCAB, hidden, logits);
}

/* ---- The engine's ---- */

/* What the model's last norm gave: what its output matrix is given. */
struct watched {
    const void *output;
    float rows[READ][WIDTH];
};

static void product_seen(void *ctx, const struct op *op, struct program_rows a, struct program_rows b)
{
    struct watched *w = ctx;
    (void)b;
    if (op->kind == OP_MATMUL && op->linear->weight.data == w->output && a.rows == READ)
        memcpy(w->rows, a.data, sizeof w->rows);
}

static void start(struct loaded *x, const struct special *d, int32_t n_slots)
{
    struct error err = {0};
    size_t size;
    char *bytes = special_model(d, NULL, &size);
    if (load_bytes(x, bytes, size, &err) != 0 ||
        model_state_create(x->model, n_slots, 256, &x->state, &err) != 0)
        fail_msg("%s: %s", d->name, err.message);
}

static bool drafts(const struct special *d)
{
    return strstr(d->keys, "nextn_predict_layers") != NULL;
}

static void foretell(struct loaded *x, int32_t slot, int32_t position, int32_t token, float *logits)
{
    struct error err = {0};
    const uint8_t wants = 1;
    if (model_foretell(x->state, &(struct model_batch){1, &token, &slot, &wants}, &position, logits, &err) !=
        0)
        fail_msg("%s", err.message);
}

static int32_t best_of(const float *row)
{
    int32_t best = 0;
    for (int32_t id = 1; id < VOCAB; id++)
        best = row[id] > row[best] ? id : best;
    return best;
}

static void check_plain(const struct special *d)
{
    static struct watched w;
    static struct plain plain;
    struct loaded x;
    struct error err = {0};
    int32_t tokens[READ], slots[READ] = {0};
    uint8_t wants[READ];
    float rows[READ * VOCAB], got[VOCAB];
    double hidden[WIDTH] = {0}, expected[VOCAB];
    start(&x, d, 1);
    w.output = gguf_tensor_find(x.gguf, "output.weight")->data;
    plain.gguf = x.gguf;
    model_state_watch(x.state, &(struct program_watch){product_seen, &w});
    for (int32_t i = 0; i < READ; i++) {
        tokens[i] = feed_token(i);
        wants[i] = 1;
    }
    assert_int_equal(model_decode(x.state, &(struct model_batch){READ, tokens, slots, wants}, rows, &err), 0);
    model_state_watch(x.state, NULL);
    for (int32_t at = 0; at < READ; at++) {
        plain_step(&plain, tokens[at], at, hidden, expected);
        for (int i = 0; i < WIDTH; i++)
            hidden[i] = (double)w.rows[at][i];
    }
    int32_t next = best_of(rows + (READ - 1) * VOCAB);
    for (int32_t k = 0; k < AHEAD; k++) {
        foretell(&x, 0, READ + k, next, got);
        plain_step(&plain, next, READ + k, hidden, expected);
        for (int32_t id = 0; id < VOCAB; id++)
            if (!(fabs(expected[id] - (double)got[id]) < 1e-3))
                fail_msg("%s: %d ahead the logit of %d is %g, not %g", d->name, k, id, (double)got[id],
                    expected[id]);
        next = best_of(got);
    }
    model_foretell_end(x.state, 0, READ);
    unload(&x);
}

static void it_foretells_what_the_paper_says(void **state)
{
    (void)state;
    int checked = 0;
    for (const struct special *d = special_all; d->name; d++)
        if (drafts(d) && (strcmp(d->name, "glm4moe") == 0 || strcmp(d->name, "qwen35") == 0)) {
            check_plain(d);
            checked++;
        }
    assert_int_equal(checked, 2);
}

/* Three tokens are foretold behind `length` that were read in pieces of `run`; drafts before, that came to
 * nothing, leave no trace. */
static void read_and_foretell(
    struct loaded *x, int32_t slot, int32_t length, int32_t run, float out[3][VOCAB])
{
    float logits[VOCAB];
    for (int32_t at = model_state_length(x->state, slot), n; at < length; at += n) {
        n = length - at < run ? length - at : run;
        for (int32_t k = 0; at > 0 && at % 3 == 0 && k < 4; k++)
            foretell(x, slot, at + k, (at + k) % VOCAB, logits);
        model_foretell_end(x->state, slot, at);
        feed(x, slot, at, at + n, logits);
    }
    for (int32_t k = 0; k < 3; k++)
        foretell(x, slot, length + k, feed_token(length + k), out[k]);
    model_foretell_end(x->state, slot, length);
}

static void how_it_was_read_does_not_matter(void **state)
{
    (void)state;
    int checked = 0;
    for (const struct special *d = special_all; d->name; d++) {
        float whole[3][VOCAB], other[3][VOCAB], logits[VOCAB];
        struct loaded x;
        if (!drafts(d))
            continue;
        start(&x, d, 3);
        assert_true(model_info(x.model)->foretells && model_state_foretells(x.state));
        read_and_foretell(&x, 0, 150, 150, whole);
        read_and_foretell(&x, 1, 150, 7, other);
        for (int k = 0; k < 3; k++)
            check_same(d->name, "what is foretold depends on how it was read", whole[k], other[k]);
        /* Gone back and forked: the row before the place is still there. */
        feed(&x, 1, 150, 160, logits);
        const int32_t kept = model_state_truncate(x.state, 1, 150);
        read_and_foretell(&x, 1, 150, 150, other);
        assert_true(kept == 150 || d->recurrent);
        check_same(d->name, "what is foretold depends on what was taken back", whole[0], other[0]);
        assert_int_equal(model_state_fork(x.state, 0, 2, 150), 150);
        read_and_foretell(&x, 2, 150, 150, other);
        check_same(d->name, "what is foretold depends on a fork", whole[2], other[2]);
        checked++;
        unload(&x);
    }
    assert_true(checked >= 4);
}

/* ---- Files ---- */

static int load_changed(const char *from, const char *to, bool foretells, struct loaded *x, struct error *err)
{
    char tensors[2048];
    struct special d = {0};
    size_t size;
    for (const struct special *s = special_all; s->name; s++)
        d = drafts(s) && strcmp(s->name, "glm4moe") == 0 ? *s : d;
    const char *at = strstr(d.tensors, from);
    assert_non_null(at);
    snprintf(tensors, sizeof tensors, "%.*s%s%s", (int)(at - d.tensors), d.tensors, to, at + strlen(from));
    d.tensors = tensors;
    *x = (struct loaded){.bytes = special_model(&d, NULL, &size)};
    int rc = gguf_open_memory(x->bytes, size, &x->gguf, err);
    rc = rc ? rc : backend_cpu_create(1, &x->backend, err);
    return rc ? rc
              : model_load_with(
                    x->gguf, &(struct model_options){.foretells = foretells}, x->backend, &x->model, err);
}

/* One that lacks something of the layer, or has it wrong, was refused: it runs, and says what is missing. */
static void a_file_with_half_of_the_layer_was_refused(void **state)
{
    (void)state;
    static const char *const changes[][3] = {
        {"nextn.eh_proj.weight? 48x24", "nextn.eh_proj.weight? 24x24", "nextn.eh_proj"},
        {"nextn.eh_proj.weight?", "nextn.other?", "lacks the tensor 'blk.4.nextn.eh_proj.weight'"},
        {"nextn.enorm.weight 24", "nextn.enorm.weight 23", "nextn.enorm"},
        {"nextn.enorm.weight", "nextn.other", "lacks the tensor 'blk.4.nextn.enorm.weight'"},
        {"nextn.hnorm.weight 24", "nextn.hnorm.weight 48", "nextn.hnorm"},
        {"nextn.shared_head_norm.weight? 24", "nextn.shared_head_norm.weight? 12", "shared_head_norm"},
        {"nextn.embed_tokens.weight? 24x41", "nextn.embed_tokens.weight? 24x40", "embed_tokens"},
        {"nextn.shared_head_head.weight? 24x41", "nextn.shared_head_head.weight? 41x24", "shared_head_head"},
        {"4:attn_q 24x24", "4:attn_q 24x25", "blk.4.attn_q"},
        {"4:attn_q 24x24", "4:attn_other 24x24", "lacks the tensor 'blk.4.attn_q.weight'"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        for (int foretells = 0; foretells < 2; foretells++) {
            struct loaded x;
            struct error err = {0};
            float logits[VOCAB];
            if (load_changed(changes[i][0], changes[i][1], foretells, &x, &err) != 0 ||
                model_state_create(x.model, 1, 64, &x.state, &err) != 0)
                fail_msg("%s: %s", changes[i][1], err.message);
            const char *why = model_info(x.model)->foretells_not;
            if (foretells ? !why || !strstr(why, changes[i][2]) : why != NULL)
                fail_msg("%s: %s", changes[i][1], why ? why : "it does not say why");
            assert_false(model_info(x.model)->foretells || model_state_foretells(x.state));
            feed(&x, 0, 0, 3, logits);
            unload(&x);
        }
}

/* What the model itself lacks is what is said, not what its layer lacks. */
static void a_broken_model_is_refused_as_ever(void **state)
{
    (void)state;
    for (int foretells = 0; foretells < 2; foretells++) {
        struct loaded x;
        struct error err = {0};
        assert_int_equal(
            load_changed("0:ffn_gate 24x", "0:ffn_other 24x", foretells, &x, &err), ERROR_INVALID);
        assert_non_null(strstr(err.message, "blk.0.ffn_gate"));
        unload(&x);
    }
}

static void without_being_asked_nothing_is_foretold(void **state)
{
    (void)state;
    struct loaded x;
    struct error err = {0};
    assert_int_equal(load_changed("4:attn_q 24x24", "4:attn_q 24x24", false, &x, &err), 0);
    assert_int_equal(model_state_create(x.model, 1, 64, &x.state, &err), 0);
    assert_false(model_info(x.model)->foretells || model_state_foretells(x.state));
    unload(&x);
}

/* The layer's keys and values, and the rows that it is given, are counted before they are there. */
static void its_memory_is_counted(void **state)
{
    (void)state;
    uint64_t bytes[2];
    for (int foretells = 0; foretells < 2; foretells++) {
        struct loaded x;
        struct error err = {0};
        assert_int_equal(load_changed("4:attn_q 24x24", "4:attn_q 24x24", foretells, &x, &err), 0);
        bytes[foretells] = model_state_bytes(x.model, 2, 256);
        unload(&x);
    }
    assert_true(bytes[1] - bytes[0] > 2 * 256 * 2 * KEYS * HEAD * sizeof(float));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_foretells_what_the_paper_says),
        cmocka_unit_test(how_it_was_read_does_not_matter),
        cmocka_unit_test(a_file_with_half_of_the_layer_was_refused),
        cmocka_unit_test(a_broken_model_is_refused_as_ever),
        cmocka_unit_test(without_being_asked_nothing_is_foretold),
        cmocka_unit_test(its_memory_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
