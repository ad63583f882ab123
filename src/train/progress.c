#include "train/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define SECOND 1000000000
enum { BAR = 10, LINE_SECONDS = 10 };

void progress_size(double bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    snprintf(out, 32, "%.*f %s", unit ? 1 : 0, bytes, units[unit]);
}

void progress_time(double seconds, char out[32])
{
    const int64_t s = (int64_t)fmin(round(seconds), 1e9);
    if (s < 100)
        snprintf(out, 32, "%d s", (int)s);
    else if (s < 6000)
        snprintf(out, 32, "%d min", (int)((s + 30) / 60));
    else
        snprintf(out, 32, "%" PRId64 " h %02d min", s / 3600, (int)(s % 3600 / 60));
}

void progress_init(struct progress *p, const struct run *r)
{
    *p = (struct progress){.terminal = isatty(STDERR_FILENO) == 1, .first = r->state.step};
}

/* On a terminal the line is drawn anew, with a bar; elsewhere lines follow one another. */
static void line_begin(bool terminal, int64_t done, int64_t all)
{
    char bar[BAR + 1];
    const int filled = (int)(done * BAR / all);
    if (!terminal)
        return;
    memset(bar, '.', BAR);
    memset(bar, '#', (size_t)filled);
    bar[BAR] = '\0';
    fprintf(stderr, "\r\033[K[%s] ", bar);
}

/* Is it time for another line? */
static bool line_due(bool terminal, int64_t *shown_ns)
{
    const int64_t now = clock_mono_ns(), wait = terminal ? SECOND / 5 : (int64_t)LINE_SECONDS * SECOND;
    if (*shown_ns && now - *shown_ns < wait)
        return false;
    *shown_ns = now;
    return true;
}

void progress_bar_init(struct progress_bar *b)
{
    const int64_t now = clock_mono_ns();
    *b = (struct progress_bar){isatty(STDERR_FILENO) == 1, now, now};
}

void progress_bar_show(struct progress_bar *b, int64_t done, int64_t all, const char *text)
{
    char left[32];
    if (!line_due(b->terminal, &b->shown_ns) || done < 1)
        return;
    progress_time((double)(b->shown_ns - b->began_ns) / 1e9 / (double)done * (double)(all - done), left);
    line_begin(b->terminal, done, all);
    fprintf(stderr, "%" PRId64 "/%" PRId64 "  %s  %s left%s", done, all, text, left, b->terminal ? "" : "\n");
    fflush(stderr);
}

void progress_bar_end(const struct progress_bar *b)
{
    if (b->terminal)
        fputs("\r\033[K", stderr);
}

/* Means of the last steps: one alone says little. */
static double loss_recent(const struct run *r)
{
    const int64_t n = r->state.step < 10 ? r->state.step : 10;
    double sum = 0;
    for (int64_t i = r->state.step - n; i < r->state.step; i++)
        sum += (double)r->points[i].loss;
    return n > 0 ? sum / (double)n : 0;
}

void progress_show(struct progress *p, const struct run *r, bool always)
{
    char left[32], check[48] = "";
    if (always)
        p->shown_ns = 0;
    if (!line_due(p->terminal, &p->shown_ns))
        return;
    const double seconds = (double)r->step_ns / 1e9, done = (double)(r->state.step - p->first);
    progress_time(done > 0 ? seconds / done * (double)(r->steps - r->state.step) : 0, left);
    if (r->state.n_checks > 0) {
        const struct run_check *c = &r->checks[r->state.n_checks - 1];
        snprintf(check, sizeof check, "  validation %.4f (%.1f%%)", c->loss, 100 * c->accuracy);
    }
    line_begin(p->terminal, r->state.step, r->steps);
    fprintf(stderr, "%" PRId64 "/%" PRId64 "  loss %.4f%s  %.0f tokens/s  %s left%s", r->state.step, r->steps,
        loss_recent(r), check, seconds > 0 ? (double)r->step_tokens / seconds : 0, left,
        p->terminal ? "" : "\n");
    fflush(stderr);
}

void progress_end(const struct progress *p)
{
    if (p->terminal)
        fputs("\n", stderr);
}

void progress_plan(const struct run *r)
{
    const struct run_plan *plan = &r->plan;
    char all[32], weights[32], optimizer[32], passes[32], data[32];
    progress_size((double)(plan->weights + plan->optimizer + plan->passes + plan->data), all);
    progress_size((double)plan->weights, weights);
    progress_size((double)plan->optimizer, optimizer);
    progress_size((double)plan->passes, passes);
    progress_size((double)plan->data, data);
    fprintf(stderr,
        "%.2f M parameters, %.2f M of them trained; %zu examples, %.2f M tokens (%.2f M to learn), %zu to "
        "validate\n",
        (double)train_model_parameters(r->model) / 1e6, (double)r->n_values / 1e6, r->data.n_docs,
        (double)r->data.n_tokens / 1e6, (double)r->data.n_learned / 1e6, r->validation.n_docs);
    if (r->data.too_long + r->validation.too_long > 0)
        fprintf(stderr, "left out: %" PRId64 " examples longer than %d tokens\n",
            r->data.too_long + r->validation.too_long, (int)r->data.most);
    if (r->data.nothing_to_learn + r->validation.nothing_to_learn > 0)
        fprintf(stderr, "left out: %" PRId64 " examples without an assistant's message to learn\n",
            r->data.nothing_to_learn + r->validation.nothing_to_learn);
    fprintf(stderr, "memory: %s (weights %s, optimiser %s, passes %s, data %s); %d x %d threads, %s\n", all,
        weights, optimizer, passes, data, (int)plan->teams, (int)plan->threads_each, r->products->isa);
    if (r->products->rounds)
        fprintf(stderr, "products take bfloat16 and sum in f32%s%s\n",
            plan->narrow ? ", and passes keep bfloat16: they take less memory" : "",
            r->products->panels == r->kernels->panels ? "; it takes no less time" : "");
    fprintf(stderr, "%" PRId64 " steps of %" PRId64 " tokens: %.1f epochs; learning rate %.2g\n", r->steps,
        r->config->schedule.batch_tokens,
        (double)r->steps * (double)r->config->schedule.batch_tokens / (double)r->data.n_tokens,
        r->config->schedule.learning_rate);
}
