/* LFM 2 on a tiny model against the sums written out in double precision: there are no reference vectors of
 * it. */
#include "engine/worker/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/engine/isa.h"
#include "unit/engine/tiny_dense.h"

enum { TOKENS = 20, E = DENSE_EMBED, F = DENSE_FF, W = DENSE_KEY, TAPS = 3 };

static const struct gguf *file;

static const float *weights(const char *fmt, int layer)
{
    char name[64];
    snprintf(name, sizeof name, fmt, layer);
    const struct tensor *t = gguf_tensor_find(file, name);
    assert_non_null(t);
    return t->data;
}

/* y[n_out] = W x */
static void multiply(double *y, const float *w, const double *x, int n_out, int n_in)
{
    for (int o = 0; o < n_out; o++) {
        y[o] = 0;
        for (int i = 0; i < n_in; i++)
            y[o] += (double)w[o * n_in + i] * x[i];
    }
}

static void normalize(double *y, const float *w, const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < n; i++)
        y[i] = x[i] / sqrt(sum / n + 1e-5) * (double)w[i];
}

/* Norms each head and turns its halves. */
static void place(double *x, const float *norm, int n_heads, int position)
{
    for (int h = 0; h < n_heads; h++, x += W) {
        normalize(x, norm, x, W);
        for (int i = 0; i < W / 2; i++) {
            double angle = position * pow(10000, -2.0 * i / W), a = x[i], b = x[i + W / 2];
            x[i] = a * cos(angle) - b * sin(angle);
            x[i + W / 2] = a * sin(angle) + b * cos(angle);
        }
    }
}

static double inputs[DENSE_LAYERS][TOKENS][E]; /* of the convolutions */
static double keys[DENSE_LAYERS][TOKENS][DENSE_KV_HEADS * W],
    values[DENSE_LAYERS][TOKENS][DENSE_KV_HEADS * W];

static void convolve(double *y, int layer, int t, const double *x)
{
    double all[3 * E];
    const float *conv = weights("blk.%d.shortconv.conv.weight", layer);
    multiply(all, weights("blk.%d.shortconv.in_proj.weight", layer), x, 3 * E, E);
    for (int i = 0; i < E; i++) {
        inputs[layer][t][i] = all[i] * all[2 * E + i];
        double sum = 0;
        for (int back = 0; back < TAPS && back <= t; back++)
            sum += (double)conv[i * TAPS + TAPS - 1 - back] * inputs[layer][t - back][i];
        all[E + i] *= sum;
    }
    multiply(y, weights("blk.%d.shortconv.out_proj.weight", layer), all + E, E, E);
}

static void attend(double *y, int layer, int t, const double *x)
{
    double q[DENSE_HEADS * W], mixed[DENSE_HEADS * W] = {0};
    double *k = keys[layer][t];
    multiply(q, weights("blk.%d.attn_q.weight", layer), x, DENSE_HEADS * W, E);
    multiply(k, weights("blk.%d.attn_k.weight", layer), x, DENSE_KV_HEADS * W, E);
    multiply(values[layer][t], weights("blk.%d.attn_v.weight", layer), x, DENSE_KV_HEADS * W, E);
    place(q, weights("blk.%d.attn_q_norm.weight", layer), DENSE_HEADS, t);
    place(k, weights("blk.%d.attn_k_norm.weight", layer), DENSE_KV_HEADS, t);
    for (int h = 0; h < DENSE_HEADS; h++) {
        int from = h / (DENSE_HEADS / DENSE_KV_HEADS) * W;
        double terms[TOKENS], sum = 0;
        for (int p = 0; p <= t; p++) {
            double score = 0;
            for (int i = 0; i < W; i++)
                score += q[h * W + i] * keys[layer][p][from + i];
            sum += terms[p] = exp(score / sqrt(W));
        }
        for (int p = 0; p <= t; p++)
            for (int i = 0; i < W; i++)
                mixed[h * W + i] += terms[p] / sum * values[layer][p][from + i];
    }
    multiply(y, weights("blk.%d.attn_output.weight", layer), mixed, E, DENSE_HEADS * W);
}

static void step(double *logits, int32_t token, int t)
{
    double x[E], h[E], y[E], gate[F], up[F];
    const float *table = weights("token_embd.weight", 0);
    for (int i = 0; i < E; i++)
        x[i] = (double)table[token * E + i];
    for (int layer = 0; layer < DENSE_LAYERS; layer++) {
        normalize(h, weights("blk.%d.attn_norm.weight", layer), x, E);
        (layer % 2 ? attend : convolve)(y, layer, t, h);
        for (int i = 0; i < E; i++)
            x[i] += y[i];
        normalize(h, weights("blk.%d.ffn_norm.weight", layer), x, E);
        multiply(gate, weights("blk.%d.ffn_gate.weight", layer), h, F, E);
        multiply(up, weights("blk.%d.ffn_up.weight", layer), h, F, E);
        for (int i = 0; i < F; i++)
            up[i] *= gate[i] / (1 + exp(-gate[i]));
        multiply(y, weights("blk.%d.ffn_down.weight", layer), up, E, F);
        for (int i = 0; i < E; i++)
            x[i] += y[i];
    }
    normalize(h, weights("token_embd_norm.weight", 0), x, E);
    multiply(logits, table, h, DENSE_VOCAB, E);
}

static void sums_agree(void **state)
{
    (void)state;
    const struct dense *d = dense_all;
    while (strcmp(d->name, "lfm2") != 0)
        d++;
    size_t size;
    char *bytes = dense_model(d, NULL, &size);
    struct gguf *g;
    struct model *m;
    struct model_state *s;
    struct error err = {0};
    struct backend *b = backend_for("scalar", 2);
    if (gguf_open_memory(bytes, size, &g, &err) != 0 || model_load(g, b, &m, &err) != 0 ||
        model_state_create(m, 1, TOKENS, &s, &err) != 0)
        fail_msg("%s", err.message);
    file = g;
    int32_t tokens[TOKENS], slots[TOKENS] = {0};
    uint8_t wants[TOKENS];
    float logits[TOKENS][DENSE_VOCAB];
    for (int32_t i = 0; i < TOKENS; i++) {
        tokens[i] = (i * i * 5 + 3 * i + 1) % DENSE_VOCAB;
        wants[i] = 1;
    }
    struct model_batch batch = {TOKENS, tokens, slots, wants};
    assert_int_equal(model_decode(s, &batch, logits[0], &err), 0);
    for (int t = 0; t < TOKENS; t++) {
        double exact[DENSE_VOCAB];
        step(exact, tokens[t], t);
        for (int i = 0; i < DENSE_VOCAB; i++)
            if (!(fabs(exact[i] - (double)logits[t][i]) <= 1e-4))
                fail_msg("token %d: %g, not %g", t, (double)logits[t][i], exact[i]);
    }
    model_state_free(s);
    model_free(m);
    gguf_close(g);
    backend_free(b);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
