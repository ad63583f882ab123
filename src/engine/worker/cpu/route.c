/* Which experts a token goes to (Shazeer et al. 2017, arxiv.org/abs/1701.06538; groups and a bias for the
 * choice: DeepSeek-V3, arxiv.org/abs/2412.19437). */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/worker/cpu/cpu.h"

/* The best untaken of [from, to), or -1; ties to the lowest id; NaNs are found last but found. */
static int32_t best_of(const float *scores, const float *taken, int32_t from, int32_t to)
{
    int32_t best = -1;
    for (int32_t i = from; i < to; i++)
        if (taken[i] == 0 && (best < 0 || scores[i] > scores[best] || isnan(scores[best])))
            best = i;
    return best;
}

/* A group stands for its two best experts; those of all but the best groups count as taken. */
static void close_groups(const struct routing *how, const float *scores, float *taken, int32_t n_experts)
{
    const int32_t size = n_experts / how->n_groups;
    assert(size > 0); /* the loader has looked */
    float *group = taken + n_experts, *open = group + how->n_groups;
    for (int32_t g = 0; g < how->n_groups; g++) {
        int32_t first = best_of(scores, taken, g * size, (g + 1) * size);
        taken[first] = 1;
        int32_t second = best_of(scores, taken, g * size, (g + 1) * size);
        taken[first] = 0;
        group[g] = scores[first] + (second < 0 ? 0 : scores[second]);
        open[g] = 0;
    }
    for (int32_t i = 0; i < how->n_groups_used; i++)
        open[best_of(group, open, 0, how->n_groups)] = 1;
    for (int32_t e = 0; e < n_experts; e++)
        taken[e] = open[e / size] == 0;
}

static void weigh(const struct cpu_task *task, const struct routing *how, const float *ids, float *weights)
{
    float sum = 0, max = -INFINITY;
    if (how->score == ROUTING_CHOSEN)
        sum = task->cpu->kernels->softmax_terms(weights, 1, &max, how->n_used);
    else
        for (int32_t i = 0; i < how->n_used; i++)
            sum += weights[i];
    bool divide = how->normalized || how->score == ROUTING_CHOSEN;
    for (int32_t i = 0; i < how->n_used; i++)
        weights[i] = (divide ? weights[i] / sum : weights[i]) * how->scale *
                     (how->factors ? how->factors[(int32_t)ids[i]] : 1);
}

void cpu_route_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    const struct routing *how = &task->op->routing;
    const int32_t n_experts = program_value(c->program, task->op->a)->width;
    /* score of each expert, score for the choice, taken, and for each group its score and whether it is open
     */
    float *scores = task->scratch->sums, *choice = scores + n_experts, *taken = choice + n_experts;
    float *ids = cpu_row(c, task->op->out, row), *weights = ids + how->n_used;
    assert(5 * (size_t)n_experts <= sizeof task->scratch->sums / sizeof *scores);
    memcpy(scores, cpu_row(c, task->op->a, row), (size_t)n_experts * sizeof *scores);
    if (how->score == ROUTING_SOFTMAX) {
        float max = -INFINITY, sum = c->kernels->softmax_terms(scores, 1, &max, n_experts);
        for (int32_t e = 0; e < n_experts; e++)
            scores[e] /= sum;
    } else if (how->score == ROUTING_SIGMOID) {
        for (int32_t e = 0; e < n_experts; e++)
            scores[e] = 1 / (1 + expf(-scores[e]));
    }
    for (int32_t e = 0; e < n_experts; e++) {
        choice[e] = scores[e] + (how->bias ? how->bias[e] : 0);
        taken[e] = 0;
    }
    if (how->n_groups > 1)
        close_groups(how, choice, taken, n_experts);
    for (int32_t i = 0; i < how->n_used; i++) {
        int32_t best = best_of(choice, taken, 0, n_experts);
        taken[best] = 1;
        ids[i] = (float)best;
        weights[i] = scores[best];
    }
    weigh(task, how, ids, weights);
}
