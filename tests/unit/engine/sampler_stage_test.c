/* Each stage of the sampler alone, against values worked out by hand or a plain reference written here. */
#include "unit/engine/sampler_rig.h"
#include "unit/engine/vocab.h"

/* ---- Which tokens survive ---- */

/* A high temperature makes all that are left about as likely: who is not drawn in so many draws was cut. */
static void survivors(struct chat_sampling p, const float *logits, int32_t n, bool *seen)
{
    p.temperature = 100;
    struct sampler *s = create(&p, n);
    memset(seen, 0, (size_t)n * sizeof *seen);
    for (int i = 0; i < 60 * n; i++)
        seen[draw_one(s, logits, n)] = true;
    sampler_free(s);
}

static void expect_survivors(
    const struct chat_sampling *p, const float *logits, int32_t n, const bool *expected, const char *what)
{
    bool seen[64];
    survivors(*p, logits, n, seen);
    for (int32_t i = 0; i < n; i++)
        if (seen[i] != expected[i])
            fail_msg("%s: token %d is %s", what, i, seen[i] ? "left" : "cut");
}

static double share(const float *logits, int32_t n, int32_t id)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)logits[i]);
    return exp((double)logits[id]) / sum;
}

/* Mean 2, standard deviation 2: one sigma below 6 is 4, 1.6 are 2.8. */
static void test_top_n_sigma_by_hand(void **state)
{
    (void)state;
    const float logits[] = {6, 1, 0, 1, 1, 4, 1, 2};
    struct chat_sampling p = plain(1);
    p.top_n_sigma = 1.6;
    expect_survivors(&p, logits, 8, (bool[]){1, 0, 0, 0, 0, 1, 0, 0}, "1.6 sigma");
    p.top_n_sigma = 0.5;
    expect_survivors(&p, logits, 8, (bool[]){1, 0, 0, 0, 0, 0, 0, 0}, "0.5 sigma");
    p.top_n_sigma = 0;
    expect_survivors(&p, logits, 8, (bool[]){1, 1, 1, 1, 1, 1, 1, 1}, "off");
    p.top_n_sigma = 0.5;
    p.min_keep = 3;
    expect_survivors(&p, logits, 8, (bool[]){1, 0, 0, 0, 0, 1, 0, 1}, "min_keep");
}

/* Shares 0.5, 0.25, 0.125, 0.125: the entropy is 1.213, the surprises 0.693, 1.386, 2.079, 2.079; nearest to
 * it is the second, then the first. */
static void test_typical_by_hand(void **state)
{
    (void)state;
    const float logits[] = {logf(0.5f), logf(0.25f), logf(0.125f), logf(0.125f)};
    struct chat_sampling p = plain(2);
    p.typical_p = 0.2;
    expect_survivors(&p, logits, 4, (bool[]){0, 1, 0, 0}, "0.2");
    p.typical_p = 0.5;
    expect_survivors(&p, logits, 4, (bool[]){1, 1, 0, 0}, "0.5");
    p.typical_p = 0.8;
    expect_survivors(&p, logits, 4, (bool[]){1, 1, 1, 0}, "0.8");
    p.typical_p = 0.2;
    p.min_keep = 2;
    expect_survivors(&p, logits, 4, (bool[]){1, 1, 0, 0}, "min_keep");
    /* The likeliest is cut: what follows goes by what is left. */
    p.min_keep = 0;
    p.min_p = 1;
    expect_survivors(&p, logits, 4, (bool[]){0, 1, 0, 0}, "then min_p");
}

static void typical_reference(const float *logits, int32_t n, double p, bool *kept)
{
    double entropy = 0, held = 0;
    for (int32_t i = 0; i < n; i++)
        entropy -= share(logits, n, i) * log(share(logits, n, i));
    memset(kept, 0, (size_t)n * sizeof *kept);
    while (held <= p) {
        int32_t best = -1;
        double nearest = INFINITY;
        for (int32_t i = 0; i < n; i++) {
            double distance = fabs(-log(share(logits, n, i)) - entropy);
            if (!kept[i] && distance < nearest) {
                nearest = distance;
                best = i;
            }
        }
        if (best < 0)
            return;
        kept[best] = true;
        held += share(logits, n, best);
    }
}

static void test_typical_against_a_plain_reference(void **state)
{
    (void)state;
    struct rand_pcg r;
    float logits[40];
    bool kept[40];
    rand_pcg_seed(&r, 11);
    for (int round = 0; round < 30; round++) {
        struct chat_sampling p = plain(round);
        p.typical_p = 0.05 + 0.9 * rand_pcg_double(&r);
        random_logits(&r, logits, 40);
        typical_reference(logits, 40, p.typical_p, kept);
        expect_survivors(&p, logits, 40, kept, "typical");
    }
}

/* Shares 0.4, 0.3, 0.2, 0.1. */
static void test_xtc_by_hand(void **state)
{
    (void)state;
    const float logits[] = {logf(0.2f), logf(0.4f), logf(0.1f), logf(0.3f)};
    struct chat_sampling p = plain(3);
    p.xtc_probability = 1;
    p.xtc_threshold = 0.15;
    expect_survivors(&p, logits, 4, (bool[]){1, 0, 1, 0}, "the least likely of three stays");
    p.xtc_threshold = 0.35;
    expect_survivors(&p, logits, 4, (bool[]){1, 1, 1, 1}, "a single top choice stays");
    p.xtc_threshold = 0.51;
    expect_survivors(&p, logits, 4, (bool[]){1, 1, 1, 1}, "off over one half");
    p.xtc_threshold = 0.15;
    p.min_keep = 3;
    expect_survivors(&p, logits, 4, (bool[]){1, 1, 1, 1}, "min_keep");
}

/* It strikes as often as its probability says. */
static void test_xtc_strikes_by_chance(void **state)
{
    (void)state;
    const float logits[] = {5, 5, -20};
    struct chat_sampling p = plain(4);
    p.xtc_probability = 0.3;
    p.xtc_threshold = 0.1;
    struct sampler *s = create(&p, 3);
    int first = 0;
    for (int i = 0; i < DRAWS; i++)
        first += draw_one(s, logits, 3) == 0;
    sampler_free(s);
    /* The first of two equals is excluded in 0.3 of the draws, else one half: 0.35; sigma is 0.0034. */
    assert_true(fabs((double)first / DRAWS - 0.35) < 0.017);
}

static void test_min_keep_holds_for_top_k_top_p_and_min_p(void **state)
{
    (void)state;
    const float logits[] = {0, 9, 1, 8, 2};
    for (int stage = 0; stage < 3; stage++) {
        struct chat_sampling p = plain(stage);
        p.min_keep = 3;
        if (stage == 0)
            p.top_k = 1;
        else if (stage == 1)
            p.top_p = 0.01;
        else
            p.min_p = 1;
        expect_survivors(&p, logits, 5, (bool[]){0, 1, 0, 1, 1}, "min_keep");
    }
}

/* ---- How often ---- */

/* Counts of independent draws against expected numbers and their variances. */
static void expect_counts(const int *seen, const double *expected, const double *variance, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (fabs(seen[i] - expected[i]) > 5 * sqrt(variance[i]) + 3)
            fail_msg("token %d: drawn %d times, expected %.1f", i, seen[i], expected[i]);
}

static void test_dynamic_temperature_follows_the_entropy(void **state)
{
    (void)state;
    static const float shapes[][4] = {{0, 0, 0, 0}, {9, 0, 0, 0}, {2, 1, 0, -1}};
    for (size_t k = 0; k < 3; k++) {
        const float *logits = shapes[k];
        struct chat_sampling p = plain((int64_t)k);
        double entropy = 0, expected[4], variance[4], sum = 0;
        int seen[4] = {0};
        p.temperature = 1;
        p.dynatemp_range = 0.6;
        p.dynatemp_exponent = 1.5;
        for (int i = 0; i < 4; i++)
            entropy -= share(logits, 4, i) * log(share(logits, 4, i));
        double temperature = 0.4 + 1.2 * pow(entropy / log(4), 1.5);
        for (int i = 0; i < 4; i++)
            sum += exp((double)logits[i] / temperature);
        for (int i = 0; i < 4; i++) {
            expected[i] = exp((double)logits[i] / temperature) / sum * DRAWS;
            variance[i] = expected[i] * (1 - expected[i] / DRAWS);
        }
        struct sampler *s = create(&p, 4);
        for (int i = 0; i < DRAWS; i++)
            seen[draw_one(s, logits, 4)]++;
        sampler_free(s);
        expect_counts(seen, expected, variance, 4);
    }
}

/* How many the paper's first algorithm leaves of tokens in order of preference. */
static int32_t mirostat_left(const double *shares, int32_t n, double mu)
{
    double products = 0, squares = 0;
    for (int32_t i = 0; i + 1 < n && i < 99; i++) {
        double t = log((i + 2.0) / (i + 1.0));
        products += t * log(shares[i] / shares[i + 1]);
        squares += t * t;
    }
    double s = products / squares;
    double k = pow((s - 1) * pow(2, mu) / (1 - pow(n, -(s - 1))), 1 / s);
    return k < 1 ? 1 : k > n ? n : (int32_t)k;
}

static void mirostat_follow(int version)
{
    enum { N = 300, STEPS = 3000 };
    float logits[N];
    double shares[N], mu = 2 * 3.0, surprise = 0;
    struct chat_sampling p = plain(5);
    p.mirostat = version;
    p.mirostat_tau = 3;
    p.mirostat_eta = 0.05;
    p.top_k = 1; /* not asked: mirostat stands in for the filters */
    for (int i = 0; i < N; i++)
        logits[i] = -1.2f * logf((float)(i + 1)); /* in order of preference, as Zipf has it */
    for (int i = 0; i < N; i++)
        shares[i] = share(logits, N, i);
    struct sampler *s = create(&p, N);
    for (int step = 0; step < STEPS; step++) {
        int32_t left = 0;
        if (version == 1)
            left = mirostat_left(shares, N, mu);
        else
            while (left < N && (left == 0 || -log2(shares[left]) <= mu))
                left++;
        double sum = 0;
        for (int32_t i = 0; i < left; i++)
            sum += shares[i];
        int32_t token = draw_one(s, logits, N);
        /* One more for what rounding does to the border. */
        if (token > left)
            fail_msg("step %d: token %d of %d left", step, token, left);
        mu -= 0.05 * (-log2(shares[token] / sum) - 3);
        surprise += -log2(shares[token] / sum);
    }
    sampler_free(s);
    assert_true(fabs(surprise / STEPS - 3) < 0.1); /* what it is for */
}

static void test_mirostat(void **state)
{
    (void)state;
    mirostat_follow(1);
    mirostat_follow(2);
}

/* Each draw's distribution, from the formula and what was drawn before, against what is drawn. */
static void test_adaptive_p(void **state)
{
    (void)state;
    enum { N = 6 };
    const float logits[N] = {3, 2.5f, 1, 0.5f, 0, -2};
    double expected[N] = {0}, variance[N] = {0}, chance[N], held = 0, weight = 1 / (1 - 0.8),
           total = 0.3 * weight;
    int seen[N] = {0};
    struct chat_sampling p = plain(6);
    p.adaptive_target = 0.3;
    p.adaptive_decay = 0.8;
    struct sampler *s = create(&p, N);
    for (int step = 0; step < DRAWS; step++) {
        double aim = fmin(1, fmax(0, 2 * 0.3 - total / weight)), sum = 0;
        for (int i = 0; i < N; i++) {
            double far = fabs(share(logits, N, i) - aim) / 0.3;
            chance[i] = exp(5 - 10 * far * far / (1 + far));
            sum += chance[i];
        }
        for (int i = 0; i < N; i++) {
            expected[i] += chance[i] / sum;
            variance[i] += chance[i] / sum * (1 - chance[i] / sum);
        }
        int32_t token = draw_one(s, logits, N);
        seen[token]++;
        held += share(logits, N, token);
        total = share(logits, N, token) + 0.8 * total;
        weight = 1 + 0.8 * weight;
    }
    sampler_free(s);
    expect_counts(seen, expected, variance, N);
    assert_true(fabs(held / DRAWS - 0.3) < 0.05);
}

/* ---- Bias and ends ---- */

static void test_logit_bias(void **state)
{
    (void)state;
    const struct chat_bias bias[] = {{2, STR_NONE, 5}, {0, STR_NONE, -INFINITY}};
    const struct chat_bias beyond = {4, STR_NONE, 1};
    struct chat_sampling p = plain(1);
    float logits[] = {9, 1, 0, 3};
    int32_t token;
    struct error err;
    p.logit_bias = bias;
    p.n_logit_bias = 2;
    p.temperature = 0;
    struct sampler *s = create(&p, 4);
    assert_int_equal(sampler_draw(s, logits, &token, &err), 0);
    assert_true(token == 2 && logits[2] == 5 && isinf(logits[0]) && logits[1] == 1);
    sampler_free(s);
    p.logit_bias = &beyond;
    p.n_logit_bias = 1;
    const struct sampler_setup setup = {.sampling = &p, .n_vocab = 4, .n_context = 8};
    assert_int_equal(sampler_create(&setup, &s, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "token 4"));
}

/* Two letters that merge, a newline, and an end. */
static void letters_open(struct vocab *v)
{
    static const struct vocab_token tokens[] = {{"<end>", VOCAB_CONTROL, 0}, {"a", VOCAB_NORMAL, 0},
        {"b", VOCAB_NORMAL, 0}, {"c", VOCAB_NORMAL, 0}, {"y", VOCAB_NORMAL, 0}, {"\xC4\x8A", VOCAB_NORMAL, 0},
        {"b\xC4\x8A", VOCAB_NORMAL, 0}, {NULL, VOCAB_NORMAL, 0}};
    struct gguf_writer w;
    struct error err = {0};
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("gpt2"));
    gguf_write_str(&w, "tokenizer.ggml.pre", STR("gpt-2"));
    vocab_write(&w, tokens, false);
    gguf_write_strs(&w, "tokenizer.ggml.merges", (const struct str[]){STR("b \xC4\x8A")}, 1);
    gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", 0);
    if (vocab_open(&w, v, &err))
        fail_msg("%s", err.message);
}

static void test_an_end_that_may_not_come_yet(void **state)
{
    (void)state;
    struct vocab v;
    struct sampler *s;
    struct error err = {0};
    struct chat_sampling p = plain(1);
    letters_open(&v);
    const struct sampler_setup setup = {&p, v.t, 7, 8};
    const float logits[] = {9, 1, 2, 0, 0, 0, 0}, only_end[] = {9, -INFINITY, NAN, -INFINITY, NAN, NAN, NAN};
    p.temperature = 0;
    p.min_tokens = 2;
    assert_int_equal(sampler_create(&setup, &s, &err), 0);
    assert_int_equal(draw_one(s, logits, 7), 2);
    assert_int_equal(draw_one(s, only_end, 7), 0); /* a grammar left nothing else */
    assert_int_equal(draw_one(s, logits, 7), 0);
    sampler_free(s);
    p.min_tokens = -1;
    p.ignore_eos = true;
    assert_int_equal(sampler_create(&setup, &s, &err), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(draw_one(s, logits, 7), 2);
    sampler_free(s);
    vocab_close(&v);
}

/* ---- DRY ---- */

static struct sampler *dry_create(
    struct chat_sampling *p, const struct tokenizer *t, int32_t n_vocab, int32_t n_context)
{
    struct sampler *s;
    struct error err = {0};
    const struct sampler_setup setup = {p, t, n_vocab, n_context};
    if (sampler_create(&setup, &s, &err))
        fail_msg("%s", err.message);
    return s;
}

/* What the stage takes from each logit. */
static void penalties_of(struct sampler *s, float *logits, int32_t n)
{
    int32_t token;
    struct error err;
    memset(logits, 0, (size_t)n * sizeof *logits);
    assert_int_equal(sampler_draw(s, logits, &token, &err), 0);
}

static struct chat_sampling dry(double base)
{
    struct chat_sampling p = plain(1);
    p.temperature = 0;
    p.dry_multiplier = 1;
    p.dry_base = base;
    return p;
}

/* a b c c b c y a b c: another c would repeat "a b c c", of which three stand at the end already; y would
 * repeat "b c y"; b only "c b". */
static void test_dry_by_hand(void **state)
{
    (void)state;
    static const int32_t said[] = {1, 2, 3, 3, 2, 3, 4, 1, 2, 3};
    struct chat_sampling p = dry(3);
    float logits[7];
    struct sampler *s = dry_create(&p, NULL, 7, 64);
    for (size_t i = 0; i < 10; i++)
        sampler_accept(s, said[i]);
    penalties_of(s, logits, 7);
    const float expected[] = {0, 0, 0, -3, -1, 0, 0};
    assert_memory_equal(logits, expected, sizeof expected);
    sampler_free(s);
    p.dry_allowed_length = 3;
    s = dry_create(&p, NULL, 7, 64);
    for (size_t i = 0; i < 10; i++)
        sampler_accept(s, said[i]);
    penalties_of(s, logits, 7);
    assert_true(logits[3] == -1 && logits[4] == 0 && logits[2] == 0);
    sampler_free(s);
    p.dry_penalty_last_n = 9; /* the first a is out of sight: only "b c" is seen before the second c */
    p.dry_allowed_length = 2;
    s = dry_create(&p, NULL, 7, 64);
    for (size_t i = 0; i < 10; i++)
        sampler_accept(s, said[i]);
    penalties_of(s, logits, 7);
    assert_true(logits[3] == -1 && logits[4] == -1);
    sampler_free(s);
}

/* A newline ends what can be repeated, as a token of its own or within one; and is never held back itself. */
static void test_dry_stops_at_breakers(void **state)
{
    (void)state;
    static const int32_t over[] = {1, 2, 5, 3, 1, 2, 5}, within[] = {3, 1, 1, 4, 6, 3, 1, 1};
    struct vocab v;
    struct chat_sampling p = dry(2);
    float logits[7];
    letters_open(&v);
    p.dry_allowed_length = 1;
    struct sampler *s = dry_create(&p, v.t, 7, 64);
    for (size_t i = 0; i < 7; i++)
        sampler_accept(s, over[i]);
    penalties_of(s, logits, 7);
    for (int i = 0; i < 7; i++)
        assert_true(logits[i] == 0);
    sampler_free(s);
    s = dry_create(&p, v.t, 7, 64);
    for (size_t i = 0; i < 8; i++)
        sampler_accept(s, within[i]);
    penalties_of(s, logits, 7);
    assert_true(logits[4] == -4 && logits[1] == -1); /* "c a a" -> y; "a" -> a */
    sampler_free(s);

    const struct str own[] = {STR("ya")};
    static const int32_t split[] = {3, 3, 3, 4, 1, 3, 3};
    p.dry_breakers = own;
    p.n_dry_breakers = 1;
    p.has_dry_breakers = true;
    s = dry_create(&p, v.t, 7, 64);
    for (size_t i = 0; i < 7; i++)
        sampler_accept(s, split[i]);
    penalties_of(s, logits, 7);
    assert_true(logits[3] == -2 && logits[4] == -2); /* "c c", no further back than the breaker */
    sampler_free(s);
    vocab_close(&v);
}

/* Every place is tried, every length counted. */
static void dry_reference(
    const int32_t *said, int32_t n, int32_t allowed, double base, double *penalty, int32_t n_vocab)
{
    for (int32_t id = 0; id < n_vocab; id++) {
        int32_t longest = -1;
        for (int32_t end = 0; end + 1 < n; end++) {
            int32_t length = 0;
            while (length <= end && said[end - length] == said[n - 1 - length])
                length++;
            if (said[end + 1] == id && length >= allowed && length > longest)
                longest = length;
        }
        penalty[id] = longest < 0 ? 0 : pow(base, longest - allowed);
    }
}

static void test_dry_against_a_plain_reference(void **state)
{
    (void)state;
    enum { MOST = 120, N = 4 };
    struct rand_pcg r;
    rand_pcg_seed(&r, 3);
    for (int round = 0; round < 200; round++) {
        int32_t said[MOST], n = 1 + (int32_t)(rand_pcg_u32(&r) % (MOST - 1));
        int32_t window = round % 2 ? MOST : 1 + (int32_t)(rand_pcg_u32(&r) % MOST);
        struct chat_sampling p = dry(1.25);
        double expected[N];
        float logits[N];
        p.dry_allowed_length = round % 4;
        p.dry_penalty_last_n = window;
        struct sampler *s = dry_create(&p, NULL, N, MOST);
        for (int32_t i = 0; i < n; i++) {
            said[i] = (int32_t)(rand_pcg_u32(&r) % (round % 3 ? 2 : N));
            sampler_accept(s, said[i]);
        }
        penalties_of(s, logits, N);
        int32_t seen = n < window ? n : window;
        dry_reference(said + n - seen, seen, (int32_t)p.dry_allowed_length, 1.25, expected, N);
        for (int32_t i = 0; i < N && seen > p.dry_allowed_length; i++)
            if (fabs((double)logits[i] + fmin(expected[i], 1e6)) > 1e-4 * (1 + expected[i]))
                fail_msg("round %d: token %d is held back by %g, not %g", round, i, (double)-logits[i],
                    expected[i]);
        sampler_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_top_n_sigma_by_hand),
        cmocka_unit_test(test_typical_by_hand),
        cmocka_unit_test(test_typical_against_a_plain_reference),
        cmocka_unit_test(test_xtc_by_hand),
        cmocka_unit_test(test_xtc_strikes_by_chance),
        cmocka_unit_test(test_min_keep_holds_for_top_k_top_p_and_min_p),
        cmocka_unit_test(test_dynamic_temperature_follows_the_entropy),
        cmocka_unit_test(test_mirostat),
        cmocka_unit_test(test_adaptive_p),
        cmocka_unit_test(test_logit_bias),
        cmocka_unit_test(test_an_end_that_may_not_come_yet),
        cmocka_unit_test(test_dry_by_hand),
        cmocka_unit_test(test_dry_stops_at_breakers),
        cmocka_unit_test(test_dry_against_a_plain_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
