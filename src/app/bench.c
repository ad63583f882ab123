#include "app/bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/sort.h"

/* ---- Speeds and shares ---- */

void bench_speed_of(const json_t *seconds, double tokens, struct bench_speed *out)
{
    double speeds[1000];
    size_t n = json_array_size(seconds);
    *out = (struct bench_speed){0};
    n = n < 1000 ? n : 1000;
    for (size_t i = 0; i < n; i++) {
        double s = json_number_value(json_array_get(seconds, i));
        speeds[i] = s > 0 ? tokens / s : 0;
    }
    if (n == 0)
        return;
    sort_doubles(speeds, n);
    /* Of an even number: between the two in the middle. */
    *out = (struct bench_speed){(speeds[(n - 1) / 2] + speeds[n / 2]) / 2, speeds[0], speeds[n - 1], (int)n};
}

/* `times` the layers' operations and `heads` times the output's in `measured` seconds. A limit that is not
 * known leaves the share unknown. The unit is that of most of the time. */
static struct bench_share compute_share(
    const struct bench *b, const struct bench_work *work, double times, double heads, double measured)
{
    static const char *const names[BENCH_UNITS] = {"int8 TOPS", "bf16 TFLOPS", "float TFLOPS"};
    const double limits[BENCH_UNITS] = {b->limits.integers, b->limits.halves, b->limits.floats};
    double all = 0, most = 0;
    int unit = BENCH_FLOATS;
    for (int i = 0; i < BENCH_UNITS; i++) {
        const double operations = work->layers[i] * times + work->head[i] * heads;
        if (operations <= 0)
            continue;
        if (limits[i] <= 0)
            return (struct bench_share){0};
        all += operations / limits[i];
        if (operations / limits[i] >= most) {
            most = operations / limits[i];
            unit = i;
        }
    }
    if (measured <= 0)
        return (struct bench_share){0};
    return (struct bench_share){.share = all / measured, .unit = names[unit], .limit = limits[unit] / 1e12};
}

struct bench_share bench_prefill_share(const struct bench *b, const struct bench_point *p)
{
    if (p->prefill.n == 0)
        return (struct bench_share){0};
    const double tokens = (double)p->prompt;
    return compute_share(b, &p->work, tokens, 1, tokens / p->prefill.median);
}

struct bench_share bench_decode_share(const struct bench *b, const struct bench_point *p)
{
    if (p->decode.n == 0)
        return (struct bench_share){0};
    const double tokens = (double)p->streams, measured = tokens / p->decode.median;
    struct bench_share read = {0}, compute = compute_share(b, &p->work, tokens, tokens, measured);
    if (b->limits.read > 0)
        read = (struct bench_share){p->work.bytes / b->limits.read / measured, "GB/s", b->limits.read / 1e9};
    return compute.share > read.share ? compute : read;
}

/* ---- Text ---- */

static void line(struct buf *out, const char *what, long long tokens, const struct bench_point *p,
    const struct bench_speed *speed, struct bench_share share)
{
    char name[64], where[64] = "";
    if (tokens > 0)
        snprintf(name, sizeof name, "%s %lld", what, tokens);
    else
        snprintf(name, sizeof name, "%s", what);
    if (p->streams > 1 && tokens == 0)
        snprintf(where, sizeof where, "%lld streams", p->streams);
    else if (p->depth > 0)
        snprintf(where, sizeof where, "depth %lld", p->depth);
    buf_appendf(out, "  %-14s%-14s", name, where);
    if (speed->n == 0) {
        buf_append_text(out, "   skipped: it would take longer than --time leaves\n");
        return;
    }
    buf_appendf(out, "%9.1f t/s", speed->median);
    if (share.unit)
        buf_appendf(out, " (%.0f%% of %.*f %s)", 100 * share.share, share.unit[0] == 'G' ? 1 : 3, share.limit,
            share.unit);
    buf_append_char(out, '\n');
}

static void copy_text(const struct bench_copy *c, struct buf *out)
{
    buf_appendf(out, "  %-14s%-14s", "copy", "9 of 10 known");
    if (c->copy.n == 0)
        buf_append_text(out, "   skipped: it would take longer than --time leaves\n");
    else
        buf_appendf(out, "%9.1f t/s (%.2f times %.1f t/s without drafts; %.0f%% of them drawn)\n",
            c->copy.median, c->plain.median > 0 ? c->copy.median / c->plain.median : 0, c->plain.median,
            c->drafted > 0 ? 100 * c->drawn / c->drafted : 0);
}

void bench_text(const struct bench *b, struct buf *out)
{
    const struct bench_limits *l = &b->limits;
    buf_appendf(out, "%s: %s, %d threads, loaded in %.1f s\n", b->file, b->isa, b->threads, b->load_s);
    buf_appendf(out, "  memory %.1f GB/s, one thread %.1f", l->read / 1e9, l->read_one / 1e9);
    if (l->integers > 0)
        buf_appendf(out, "; int8 %.3f TOPS", l->integers / 1e12);
    if (l->halves > 0)
        buf_appendf(out, "; bf16 %.3f TFLOPS", l->halves / 1e12);
    if (l->floats > 0)
        buf_appendf(out, "; float %.3f TFLOPS", l->floats / 1e12);
    buf_append_char(out, '\n');
    for (size_t i = 0; i < b->n; i++)
        if (b->points[i].prompt > 0)
            line(out, "prefill", b->points[i].prompt, &b->points[i], &b->points[i].prefill,
                bench_prefill_share(b, &b->points[i]));
    for (size_t i = 0; i < b->n; i++)
        if (b->points[i].generate > 0)
            line(out, "decode", 0, &b->points[i], &b->points[i].decode, bench_decode_share(b, &b->points[i]));
    if (b->copy.tokens > 0)
        copy_text(&b->copy, out);
}

/* ---- JSON ---- */

static void number_write(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    if (value > 0)
        json_write_double(w, value);
    else
        json_write_null(w);
}

static void speed_write(struct json_writer *w, const char *key, const struct bench_speed *s)
{
    json_key(w, key);
    if (s->n == 0) {
        json_write_null(w);
        return;
    }
    json_object_begin(w);
    number_write(w, "median", s->median);
    number_write(w, "min", s->min);
    number_write(w, "max", s->max);
    json_member_int(w, "n", s->n);
    json_object_end(w);
}

static void limits_write(struct json_writer *w, const struct bench *b)
{
    const struct bench_limits *l = &b->limits;
    json_key(w, "limits");
    json_object_begin(w);
    number_write(w, "read_gbps", l->read / 1e9);
    number_write(w, "read_one_gbps", l->read_one / 1e9);
    number_write(w, "int8_tops", l->integers / 1e12);
    number_write(w, "bf16_tflops", l->halves / 1e12);
    number_write(w, "float_tflops", l->floats / 1e12);
    number_write(w, "prefill_share", bench_prefill_share(b, &b->points[0]).share);
    number_write(w, "decode_share", bench_decode_share(b, &b->points[0]).share);
    json_object_end(w);
}

static void point_write(struct json_writer *w, const struct bench *b, const struct bench_point *p)
{
    json_object_begin(w);
    json_member_int(w, "depth", p->depth);
    json_member_int(w, "parallel", p->streams);
    if (p->prompt > 0) {
        json_member_int(w, "prompt", p->prompt);
        speed_write(w, "prefill_tps", &p->prefill);
        number_write(w, "prefill_share", bench_prefill_share(b, p).share);
    }
    if (p->generate > 0) {
        json_member_int(w, "generate", p->generate);
        speed_write(w, "decode_tps", &p->decode);
        number_write(w, "decode_share", bench_decode_share(b, p).share);
    }
    json_member_bool(w, "skipped", p->skipped);
    json_object_end(w);
}

static void copy_write(struct json_writer *w, const struct bench_copy *c)
{
    json_key(w, "copy");
    json_object_begin(w);
    json_member_int(w, "generate", c->tokens);
    speed_write(w, "decode_tps", &c->copy);
    speed_write(w, "plain_tps", &c->plain);
    json_member_int(w, "drafted", (int64_t)c->drafted);
    json_member_int(w, "drawn", (int64_t)c->drawn);
    json_member_bool(w, "skipped", c->skipped);
    json_object_end(w);
}

void bench_json(const struct bench *b, struct buf *out)
{
    const struct bench_point *first = &b->points[0];
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_text(&w, "model", b->file);
    speed_write(&w, "prefill_tps", &first->prefill);
    speed_write(&w, "decode_tps", &first->decode);
    number_write(&w, "load_s", b->load_s);
    number_write(
        &w, "first_token_s", first->prefill.n > 0 ? (double)first->prompt / first->prefill.median : 0);
    json_member_int(&w, "peak_bytes", b->peak_bytes);
    json_member_text(&w, "isa", b->isa);
    json_member_int(&w, "threads", b->threads);
    limits_write(&w, b);
    json_key(&w, "points");
    json_array_begin(&w);
    for (size_t i = 0; i < b->n; i++)
        point_write(&w, b, &b->points[i]);
    json_array_end(&w);
    if (b->copy.tokens > 0)
        copy_write(&w, &b->copy);
    json_object_end(&w);
    buf_append_char(out, '\n');
}
