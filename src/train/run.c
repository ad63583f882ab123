#include "train/run.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/pages.h"
#include "engine/memory.h"
#include "train/muon.h"

#define CHUNK ((int64_t)1 << 14) /* values of the weights that are one piece of work */
enum { PACKED_SHARE = 8 };       /* matrices are packed once where that takes less of the memory */

/* ---- Setting up ---- */
static int64_t steps_of(const struct train_config *c, const struct train_data *d)
{
    const struct train_schedule *s = &c->schedule;
    const double tokens = (double)d->n_tokens * (double)s->epochs;
    return s->steps > 0 ? s->steps : (int64_t)fmax(1, ceil(tokens / (double)s->batch_tokens));
}

/* The team that has all threads: many small teams or one large one. */
static struct team *all_threads(struct run *r)
{
    return r->n_teams > 1 ? &r->outer : &r->teams[0].team;
}

/* Of a layer's matrices; what is looked up and the output layer stay with AdamW. */
static bool takes_muon(const struct run *r, const struct train_weight *w)
{
    return r->config->schedule.optimizer == TRAIN_MUON && w->at >= 0 && !w->vector &&
           w != r->model->embedding && w != r->model->output;
}

/* What a step of it takes beside the moments, of each thread. */
static int64_t muon_work_most(const struct run *r)
{
    int64_t most = 0;
    for (int32_t i = 0; i < r->model->n_weights; i++) {
        const struct train_weight *w = &r->model->weights[i];
        const int64_t work = takes_muon(r, w) ? muon_work(w->n_out, w->n_in) : 0;
        most = work > most ? work : most;
    }
    return most;
}

/* As many teams as there are threads, but where their memory would be most of what there is. */
static struct run_plan plan_make(const struct run *r, int32_t threads, int64_t available)
{
    const size_t values = (size_t)r->n_values * sizeof(float);
    const int64_t sequences =
        (int64_t)train_batch_parts((size_t)r->config->schedule.batch_tokens, (size_t)r->sequence);
    struct run_plan p = {.narrow = train_pass_narrows(r->model, r->products, r->sequence),
        .weights = values,
        .optimizer = values * (r->config->schedule.patience > 0 ? 4 : 3) +
                     (size_t)threads * (size_t)r->work_each * sizeof(float),
        .data = (r->data.n_tokens + r->validation.n_tokens) * (sizeof(int32_t) + 1),
        .teams = sequences < 1         ? 1
                 : sequences < threads ? (int32_t)sequences
                                       : threads};
    const size_t all = train_model_packed_bytes(r->model, r->products, true),
                 frozen = train_model_packed_bytes(r->model, r->products, false);
    p.packed_trained = r->products->k_step > 1 && (int64_t)all < available / PACKED_SHARE;
    p.packed = (int64_t)frozen < available / PACKED_SHARE;
    for (;; p.teams--) {
        p.threads_each = threads / p.teams;
        p.passes = (p.packed_trained ? all
                       : p.packed    ? frozen
                                     : 0) +
                   (size_t)p.teams * (values + train_pass_bytes(r->model, r->products, p.narrow, r->sequence,
                                                   p.threads_each));
        if (p.teams == 1 || (int64_t)(p.weights + p.optimizer + p.data + p.passes) < available / 4 * 3)
            return p;
    }
}

static uint64_t identity_of(const struct run *r)
{
    const struct train_shape *s = &r->model->shape;
    const struct train_schedule *t = &r->config->schedule;
    const double numbers[] = {s->n_layers, s->n_embed, s->n_heads, s->n_kv_heads, s->n_ffn, s->n_vocab,
        s->n_context, s->tied, (double)s->rope_base, (double)s->norm_eps, (double)t->steps, (double)t->epochs,
        (double)t->batch_tokens, (double)t->warmup, (double)t->validate_every, (double)t->patience,
        t->learning_rate, t->final_rate, t->weight_decay, t->beta1, t->beta2, t->clip, t->prompt_loss,
        (double)t->optimizer, (double)t->seed, (double)r->n_values, (double)r->model->lora_rank,
        (double)r->model->lora_scale};
    uint64_t sum = checkpoint_sum(0, numbers, sizeof numbers);
    sum = checkpoint_sum(sum, r->model->values, (size_t)r->n_values * sizeof(float));
    for (int32_t i = 0; i < r->model->n_weights; i++) {
        const struct train_weight *w = &r->model->weights[i];
        if (w->at < 0)
            sum = checkpoint_sum(sum, w->frozen, tensor_row_bytes(w->type, w->n_in) * (size_t)w->n_out);
    }
    sum = checkpoint_sum(sum, r->products->isa, strlen(r->products->isa));
    sum = checkpoint_sum(sum, r->data.tokens, r->data.n_tokens * sizeof *r->data.tokens);
    sum = checkpoint_sum(sum, r->data.learned, r->data.n_tokens);
    return checkpoint_sum(sum, r->validation.tokens, r->validation.n_tokens * sizeof *r->validation.tokens);
}

static float *values_alloc(int64_t n)
{
    float *out = pages_alloc((size_t)n * sizeof *out);
    if (out)
        memset(out, 0, (size_t)n * sizeof *out);
    return out;
}

/* Said before memory is taken: the kernel would grant it and end the process later. */
static int plan_check(const struct run_plan *p, int64_t available, struct error *err)
{
    const double needed = (double)(p->optimizer + p->passes), gib = 1024.0 * 1024 * 1024;
    if (needed < (double)available)
        return 0;
    return error_set(err, ERROR_MEMORY,
        "training takes %.1f GiB more and %.1f GiB are available: choose a smaller model or context, or an "
        "adapter",
        needed / gib, (double)available / gib);
}

static int teams_create(struct run *r, struct error *err)
{
    r->n_teams = r->plan.teams;
    r->teams = must(calloc((size_t)r->n_teams, sizeof *r->teams));
    int rc = team_create(r->kernels, r->n_teams, &r->outer, err);
    if (rc == 0 && r->plan.packed)
        rc = train_model_pack(r->model, r->products, r->plan.packed_trained, &r->outer, err);
    for (int32_t i = 0; i < r->n_teams && rc == 0; i++) {
        rc = team_create(r->products, r->plan.threads_each, &r->teams[i].team, err);
        rc = rc ? rc
                : train_pass_create(
                      r->model, &r->teams[i].team, r->plan.narrow, r->sequence, &r->teams[i].pass, err);
    }
    return rc;
}

int run_create(const struct train_config *c, struct train_model *m, struct train_data *data,
    struct train_data *validation, int32_t threads, struct run *r, struct error *err)
{
    *r = (struct run){
        .config = c, .model = m, .data = *data, .validation = *validation, .n_values = m->n_values};
    *data = *validation = (struct train_data){0};
    r->sequence = m->shape.n_context;
    r->state.best = INFINITY;
    if (r->data.n_docs == 0)
        return error_set(err, ERROR_INVALID,
            "the data hold no example that fits %d tokens and has something to learn", (int)r->data.most);
    int rc = train_kernels_select(getenv("WEIR_ISA"), &r->kernels, err);
    if (rc)
        return rc;
    r->products = c->schedule.precision == TRAIN_BF16 ? r->kernels->rounding : r->kernels;
    const int64_t available = engine_memory_available();
    r->steps = steps_of(c, &r->data);
    r->work_each = muon_work_most(r);
    r->plan = plan_make(r, threads, available);
    rc = plan_check(&r->plan, available, err);
    if (rc)
        return rc;
    r->total = values_alloc(r->n_values);
    r->m = values_alloc(r->n_values);
    r->v = values_alloc(r->n_values);
    r->best = c->schedule.patience > 0 ? values_alloc(r->n_values) : NULL;
    r->work = r->work_each > 0 ? values_alloc(threads * r->work_each) : NULL;
    r->points = calloc((size_t)r->steps + 1, sizeof *r->points);
    r->checks = calloc((size_t)(r->steps / c->schedule.validate_every) + 3, sizeof *r->checks);
    if (!r->total || !r->m || !r->v || (c->schedule.patience > 0 && !r->best) ||
        (r->work_each > 0 && !r->work) || !r->points || !r->checks)
        return error_set(err, ERROR_MEMORY, "no memory for the optimiser: choose a smaller model");
    r->identity = identity_of(r);
    rc = data_order_create(&r->data, c->schedule.seed, &r->order, err);
    if (rc == 0 && r->validation.n_docs > 0)
        rc = train_batch_make(&r->validation, r->validation.n_docs, r->sequence, &r->validation_batch, err);
    return rc ? rc : teams_create(r, err);
}

void run_free(struct run *r)
{
    for (int32_t i = 0; i < r->n_teams; i++) {
        train_pass_free(&r->teams[i].pass);
        team_free(&r->teams[i].team);
    }
    free(r->teams);
    team_free(&r->outer);
    train_batch_free(&r->validation_batch);
    data_order_free(&r->order);
    data_free(&r->data);
    data_free(&r->validation);
    free(r->total);
    free(r->m);
    free(r->v);
    free(r->best);
    free(r->work);
    free(r->points);
    free(r->checks);
    *r = (struct run){0};
}

/* ---- A batch through the model ---- */
struct batch_task {
    struct run *r;
    const struct batch *b;
    bool back;
    float scale;
    struct train_loss *losses; /* of each sequence */
    pthread_mutex_t lock;
    pthread_cond_t turned;
    int64_t turn; /* the sequence whose gradient is next */
};

/* Gradients are added in the order of the sequences, whoever made them. */
static void gradient_add(struct batch_task *t, int64_t item, struct train_pass *p)
{
    struct run *r = t->r;
    pthread_mutex_lock(&t->lock);
    while (t->turn != item)
        pthread_cond_wait(&t->turned, &t->lock);
    pthread_mutex_unlock(&t->lock);
    for (int64_t i = 0; i < r->n_values; i += CHUNK) {
        const int64_t n = r->n_values - i < CHUNK ? r->n_values - i : CHUNK;
        r->kernels->add(r->total + i, p->gradients + i, n);
        memset(p->gradients + i, 0, (size_t)n * sizeof *p->gradients);
    }
    pthread_mutex_lock(&t->lock);
    t->turn++;
    pthread_cond_broadcast(&t->turned);
    pthread_mutex_unlock(&t->lock);
}

static void sequence_run(void *ctx, int64_t item, int32_t thread)
{
    struct batch_task *t = ctx;
    struct train_pass *p = &t->r->teams[thread].pass;
    train_pass_run(p, &t->b->sequences[item], t->back, t->scale, &t->losses[item]);
    if (t->back)
        gradient_add(t, item, p);
}

static struct train_loss batch_run(struct run *r, const struct batch *b, bool back)
{
    struct train_loss sum = {0};
    struct batch_task t = {.r = r, .b = b, .back = back, .scale = b->weight > 0 ? (float)(1 / b->weight) : 0};
    t.losses = must(calloc(b->n_sequences + 1, sizeof *t.losses));
    train_model_pack_trained(r->model, r->products, all_threads(r));
    pthread_mutex_init(&t.lock, NULL);
    pthread_cond_init(&t.turned, NULL);
    team_each(&r->outer, (int64_t)b->n_sequences, sequence_run, &t);
    pthread_mutex_destroy(&t.lock);
    pthread_cond_destroy(&t.turned);
    for (size_t i = 0; i < b->n_sequences; i++) {
        sum.loss += t.losses[i].loss;
        sum.weight += t.losses[i].weight;
        sum.right += t.losses[i].right;
        sum.targets += t.losses[i].targets;
    }
    free(t.losses);
    return sum;
}

/* ---- A step ---- */
struct update_task {
    struct run *r;
    struct train_adam adam, vectors; /* vectors do not decay */
    double *squares;                 /* of each chunk */
};

static int64_t chunk_end(const struct run *r, int64_t item)
{
    return (item + 1) * CHUNK < r->n_values ? (item + 1) * CHUNK : r->n_values;
}

static void squares_run(void *ctx, int64_t item, int32_t thread)
{
    const struct update_task *t = ctx;
    const float *g = t->r->total + item * CHUNK;
    (void)thread;
    t->squares[item] = (double)t->r->kernels->dot(g, g, chunk_end(t->r, item) - item * CHUNK);
}

static void weight_muon(const struct update_task *t, const struct train_weight *w, int32_t thread)
{
    struct run *r = t->r;
    muon(r->products, &t->adam, w->n_out, w->n_in, r->model->values + w->at, r->m + w->at, r->total + w->at,
        r->work + thread * r->work_each, &all_threads(r)->scratch[thread]);
}

static void weight_run(void *ctx, int64_t item, int32_t thread)
{
    const struct update_task *t = ctx;
    struct run *r = t->r;
    const struct train_weight *w = &r->model->weights[item];
    const struct train_adam *a = w->vector ? &t->vectors : &t->adam;
    if (takes_muon(r, w))
        weight_muon(t, w, thread);
    else if (w->at >= 0)
        r->kernels->adam(
            r->model->values + w->at, r->m + w->at, r->v + w->at, r->total + w->at, a, w->n_in * w->n_out);
    const int64_t at[] = {w->lora_a, w->lora_b},
                  n[] = {r->model->lora_rank * w->n_in, r->model->lora_rank * w->n_out};
    for (int i = 0; i < 2 && w->lora_a >= 0; i++)
        r->kernels->adam(
            r->model->values + at[i], r->m + at[i], r->v + at[i], r->total + at[i], &t->adam, n[i]);
}

/* Linear warm-up, then half a cosine (Loshchilov and Hutter 2016, arxiv.org/abs/1608.03983). */
static double rate_of(const struct run *r, int64_t step)
{
    const struct train_schedule *s = &r->config->schedule;
    if (step < s->warmup)
        return s->learning_rate * (double)(step + 1) / (double)s->warmup;
    const double span = (double)(r->steps - s->warmup),
                 done = span > 0 ? (double)(step - s->warmup) / span : 1;
    return s->learning_rate * (s->final_rate + (1 - s->final_rate) * (1 + cos(M_PI * done)) / 2);
}

static double update(struct run *r, double rate)
{
    const struct train_schedule *s = &r->config->schedule;
    const int64_t chunks = (r->n_values + CHUNK - 1) / CHUNK;
    const double t = (double)r->state.step + 1;
    double norm = 0;
    struct update_task task = {.r = r, .squares = must(calloc((size_t)chunks, sizeof *task.squares))};
    team_each(all_threads(r), chunks, squares_run, &task);
    for (int64_t i = 0; i < chunks; i++)
        norm += task.squares[i];
    free(task.squares);
    norm = sqrt(norm);
    task.adam = (struct train_adam){.rate = (float)rate,
        .decay = (float)s->weight_decay,
        .beta1 = (float)s->beta1,
        .beta2 = (float)s->beta2,
        .epsilon = 1e-8f,
        .correction1 = (float)(1 / (1 - pow(s->beta1, t))),
        .correction2 = (float)(1 / (1 - pow(s->beta2, t))),
        .scale = s->clip > 0 && norm > s->clip ? (float)(s->clip / norm) : 1};
    task.vectors = task.adam;
    task.vectors.decay = 0;
    team_each(all_threads(r), r->model->n_weights, weight_run, &task);
    return norm;
}

/* The first step computes with the weights as they came: no rate could have spoiled them. */
static int no_number(const struct run *r, struct error *err)
{
    if (r->state.step == 1)
        return error_set(err, ERROR_INVALID,
            "the loss is no number before anything was learned: the model's file is broken, fetch it again");
    return error_set(err, ERROR_INVALID,
        "the loss of step %lld is no number any more: choose a smaller learning_rate or a longer warmup",
        (long long)r->state.step);
}

int run_step(struct run *r, struct error *err)
{
    const struct train_schedule *s = &r->config->schedule;
    const int64_t start = clock_mono_ns();
    struct batch b = {0};
    int rc = train_batch_take(&r->order, s->batch_tokens, r->sequence, s->prompt_loss, &b, err);
    if (rc == 0) {
        const double rate = rate_of(r, r->state.step);
        memset(r->total, 0, (size_t)r->n_values * sizeof *r->total);
        const struct train_loss l = batch_run(r, &b, true);
        const double norm = update(r, rate), loss = l.weight > 0 ? l.loss / l.weight : 0;
        r->points[r->state.step++] = (struct run_point){(float)loss, (float)norm, (float)rate};
        r->state.epoch = r->order.epoch;
        r->state.next = r->order.next;
        r->state.tokens += b.n_tokens;
        r->step_tokens += b.n_tokens;
        r->step_ns += clock_mono_ns() - start;
        if (!isfinite(loss) || !isfinite(norm))
            rc = no_number(r, err);
    }
    train_batch_free(&b);
    return rc;
}

/* ---- Validation ---- */
void run_validate(struct run *r)
{
    if (r->validation.n_docs == 0)
        return;
    const struct train_loss l = batch_run(r, &r->validation_batch, false);
    struct run_check *c = &r->checks[r->state.n_checks++];
    *c = (struct run_check){.step = r->state.step,
        .loss = l.weight > 0 ? l.loss / l.weight : 0,
        .accuracy = l.targets ? (double)l.right / (double)l.targets : 0};
    if (c->loss < r->state.best) {
        r->state.best = c->loss;
        r->state.worse = 0;
        if (r->best)
            memcpy(r->best, r->model->values, (size_t)r->n_values * sizeof *r->best);
    } else {
        r->state.worse++;
    }
}

bool run_is_stale(const struct run *r)
{
    return r->config->schedule.patience > 0 && r->state.worse >= r->config->schedule.patience;
}

void run_take_best(struct run *r)
{
    if (r->best && isfinite(r->state.best))
        memcpy(r->model->values, r->best, (size_t)r->n_values * sizeof *r->best);
}
