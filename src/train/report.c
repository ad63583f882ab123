/* What a run leaves beside the model: OUT.log.json with every step, and OUT.svg, the learning curve. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "train/files.h"
#include "train/run.h"

/* ---- The dense layers' speed ---- */
/* The most that the products' instructions make here: operations a second of one thread, a multiply-add being
 * two. The best of short tries: what the machine does when nothing else holds it up. */
static double peak_of(const struct train_kernels *kernels)
{
    enum { TRIES = 50 };
    float numbers[3] = {0.5f, 1, 0};
    double best = 0;
    for (int try = 0; try < TRIES; try++) {
        const int64_t start = clock_mono_ns(), flops = kernels->bare(numbers);
        best = fmax(best, (double)flops / (double)(clock_mono_ns() - start) * 1e9);
    }
    return best;
}

static double dense_speed(const struct run *r)
{
    int64_t ns = 0, flops = 0;
    for (int32_t i = 0; i < r->n_teams; i++) {
        ns += atomic_load(&r->teams[i].team.dense_ns);
        flops += r->teams[i].team.dense_flops;
    }
    return ns > 0 ? (double)flops / (double)ns * 1e9 : 0;
}

/* ---- The log ---- */
static void speed_write(const struct run *r, struct json_writer *w)
{
    const double peak = peak_of(r->products), dense = dense_speed(r);
    json_member_double(w, "tokens_per_second",
        r->step_ns ? round((double)r->step_tokens / (double)r->step_ns * 1e10) / 10 : 0);
    json_member_text(w, "isa", r->kernels->isa);
    json_member_text(w, "precision", r->products->rounds ? "bf16" : "f32");
    json_member_double(w, "peak_gflops_a_thread", round(peak / 1e8) / 10);
    json_member_double(w, "dense_gflops_a_thread", round(dense / 1e8) / 10);
    json_member_double(w, "dense_share_of_peak", peak > 0 ? round(dense / peak * 1000) / 1000 : 0);
}

static void points_write(const struct run *r, struct json_writer *w)
{
    json_key(w, "steps");
    json_array_begin(w);
    for (int64_t i = 0; i < r->state.step; i++) {
        json_object_begin(w);
        json_member_int(w, "step", i + 1);
        json_key(w, "loss");
        json_write_float(w, r->points[i].loss);
        json_key(w, "gradient_norm");
        json_write_float(w, r->points[i].norm);
        json_key(w, "learning_rate");
        json_write_float(w, r->points[i].rate);
        json_object_end(w);
    }
    json_array_end(w);
    json_key(w, "validations");
    json_array_begin(w);
    for (int64_t i = 0; i < r->state.n_checks; i++) {
        json_object_begin(w);
        json_member_int(w, "step", r->checks[i].step);
        json_member_double(w, "loss", r->checks[i].loss);
        json_member_double(w, "token_accuracy", r->checks[i].accuracy);
        json_object_end(w);
    }
    json_array_end(w);
}

static void log_make(const struct run *r, struct json_writer *w)
{
    json_object_begin(w);
    json_member_str(w, "name", r->config->name);
    json_member_int(w, "parameters", train_model_parameters(r->model));
    json_member_int(w, "trained", r->n_values);
    json_member_int(w, "examples", (int64_t)r->data.n_docs);
    json_member_int(w, "tokens_seen", r->state.tokens);
    speed_write(r, w);
    points_write(r, w);
    json_object_end(w);
}

/* ---- The curve ---- */
enum { WIDTH = 800, HEIGHT = 400, LEFT = 60, RIGHT = 20, TOP = 40, BOTTOM = 40, POINTS_SHOWN = 400 };

struct axes {
    double low, high; /* loss */
    int64_t steps;
};

static double at_x(const struct axes *a, double step)
{
    return LEFT + step / (double)a->steps * (WIDTH - LEFT - RIGHT);
}

static double at_y(const struct axes *a, double loss)
{
    return TOP + (a->high - loss) / (a->high - a->low) * (HEIGHT - TOP - BOTTOM);
}

static struct axes axes_of(const struct run *r)
{
    struct axes a = {.low = 0, .high = 0.1, .steps = r->state.step > 0 ? r->state.step : 1};
    for (int64_t i = 0; i < r->state.step; i++)
        a.high = fmax(a.high, (double)r->points[i].loss);
    for (int64_t i = 0; i < r->state.n_checks; i++)
        a.high = fmax(a.high, r->checks[i].loss);
    return a;
}

static void grid_draw(const struct axes *a, struct buf *b)
{
    for (int i = 0; i <= 4; i++) {
        const double loss = a->high * i / 4, step = (double)a->steps * i / 4;
        buf_appendf(b,
            "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
            "text-anchor=\"end\">%.2f</text>\n",
            LEFT, at_y(a, loss), WIDTH - RIGHT, LEFT - 6, at_y(a, loss) + 4, loss);
        buf_appendf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n", at_x(a, step),
            HEIGHT - BOTTOM + 18, step);
    }
}

/* Means of runs of steps, so that the line can be read. */
static void training_draw(const struct run *r, const struct axes *a, struct buf *b)
{
    const int64_t run = r->state.step / POINTS_SHOWN + 1;
    buf_append_text(b, "<polyline fill=\"none\" stroke=\"#2a6f97\" stroke-width=\"1.5\" points=\"");
    for (int64_t i = 0; i < r->state.step; i += run) {
        const int64_t end = i + run < r->state.step ? i + run : r->state.step;
        double sum = 0;
        for (int64_t j = i; j < end; j++)
            sum += (double)r->points[j].loss;
        buf_appendf(b, "%.1f,%.1f ", at_x(a, (double)(i + end) / 2), at_y(a, sum / (double)(end - i)));
    }
    buf_append_text(b, "\"/>\n");
}

static void validation_draw(const struct run *r, const struct axes *a, struct buf *b)
{
    buf_append_text(b, "<polyline fill=\"none\" stroke=\"#c8553d\" stroke-width=\"2\" points=\"");
    for (int64_t i = 0; i < r->state.n_checks; i++)
        buf_appendf(b, "%.1f,%.1f ", at_x(a, (double)r->checks[i].step), at_y(a, r->checks[i].loss));
    buf_append_text(b, "\"/>\n");
}

static void curve_draw(const struct run *r, struct buf *b)
{
    const struct axes a = axes_of(r);
    buf_appendf(b,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n"
        "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n"
        "<text x=\"%d\" y=\"20\" font-size=\"14\">Loss by step: <tspan "
        "fill=\"#2a6f97\">training</tspan>%s</text>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT,
        r->state.n_checks > 0 ? ", <tspan fill=\"#c8553d\">validation</tspan>" : "");
    grid_draw(&a, b);
    training_draw(r, &a, b);
    if (r->state.n_checks > 0)
        validation_draw(r, &a, b);
    buf_append_text(b, "</svg>\n");
}

/* ---- Files ---- */
static int text_write(const char *out, const char *suffix, const struct buf *text, struct error *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s%s", out, suffix);
    if (n < 0 || (size_t)n >= sizeof path)
        return error_set(err, ERROR_LIMIT, "the name of the report is too long");
    return file_put(path, text, err);
}

int report_write(const struct run *r, const char *out, struct error *err)
{
    struct buf log, curve;
    struct json_writer w;
    buf_init(&log, GIB);
    buf_init(&curve, 16 * MIB);
    json_writer_init(&w, &log);
    log_make(r, &w);
    buf_append_char(&log, '\n');
    curve_draw(r, &curve);
    int rc = text_write(out, ".log.json", &log, err);
    rc = rc ? rc : text_write(out, ".svg", &curve, err);
    buf_free(&log);
    buf_free(&curve);
    return rc;
}
