/* Three charts beside each other: prefill and decode, in tokens a second, against what the cache holds (each
 * to its own scale: one is some ten times the other), and decode against parallel streams. */
#include "app/bench.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 420, HEIGHT = 300, LEFT = 64, TOP = 40, RIGHT = 16, BOTTOM = 48, TICKS = 4 };

struct dot {
    double x, y;
};

struct series {
    const char *name, *colour;
    struct dot dots[BENCH_POINTS_MAX];
    size_t n;
};

static void series_add(struct series *s, double x, const struct bench_speed *speed)
{
    size_t i = s->n;
    if (speed->n == 0)
        return;
    for (; i > 0 && s->dots[i - 1].x > x; i--)
        s->dots[i] = s->dots[i - 1];
    s->dots[i] = (struct dot){x, speed->median};
    s->n++;
}

/* The next of 1, 2, 5, 10, 20, ... that is not less. */
static double rounded_up(double value)
{
    double unit = pow(10, floor(log10(value > 0 ? value : 1)));
    return value <= unit ? unit : value <= 2 * unit ? 2 * unit : value <= 5 * unit ? 5 * unit : 10 * unit;
}

static void text_at(struct buf *out, double x, double y, const char *anchor, const char *text)
{
    buf_appendf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, text);
}

static void axes(struct buf *out, const char *title, const char *x_name, double x_most, double y_most)
{
    const double w = WIDTH - LEFT - RIGHT, h = HEIGHT - TOP - BOTTOM;
    char number[32];
    text_at(out, LEFT + w / 2, TOP - 16, "middle", title);
    text_at(out, LEFT + w / 2, HEIGHT - 10, "middle", x_name);
    for (int i = 0; i <= TICKS; i++) {
        const double x = LEFT + w * i / TICKS, y = TOP + h - h * i / TICKS;
        buf_appendf(out, "<path d=\"M%d %.1fh%.1f\" stroke=\"#ddd\"/>\n", LEFT, y, w);
        snprintf(number, sizeof number, "%g", y_most * i / TICKS);
        text_at(out, LEFT - 6, y + 4, "end", number);
        snprintf(number, sizeof number, "%g", x_most * i / TICKS);
        text_at(out, x, HEIGHT - BOTTOM + 18, "middle", number);
    }
}

static void chart(
    struct buf *out, int column, const char *title, const char *x_name, const struct series *line)
{
    const double w = WIDTH - LEFT - RIGHT, h = HEIGHT - TOP - BOTTOM;
    double x_most = 1, y_most = 0;
    for (size_t i = 0; i < line->n; i++) {
        x_most = fmax(x_most, line->dots[i].x);
        y_most = fmax(y_most, line->dots[i].y);
    }
    y_most = rounded_up(y_most);
    buf_appendf(out, "<g transform=\"translate(%d 0)\">\n", column * WIDTH);
    axes(out, title, x_name, x_most, y_most);
    buf_appendf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", line->colour);
    for (size_t i = 0; i < line->n; i++)
        buf_appendf(out, "%s%.1f,%.1f", i ? " " : "", LEFT + w * line->dots[i].x / x_most,
            TOP + h - h * line->dots[i].y / y_most);
    buf_append_text(out, "\"/>\n");
    for (size_t i = 0; i < line->n; i++)
        buf_appendf(out,
            "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"><title>%s %g: %.1f "
            "t/s</title></circle>\n",
            LEFT + w * line->dots[i].x / x_most, TOP + h - h * line->dots[i].y / y_most, line->colour,
            line->name, line->dots[i].x, line->dots[i].y);
    buf_append_text(out, "</g>\n");
}

void bench_svg(const struct bench *b, struct buf *out)
{
    struct series prefill = {.name = "prefill", .colour = "#1f6feb"},
                  decode = {.name = "decode", .colour = "#d1242f"}, streams = decode;
    const long long prompt = b->points[0].prompt;
    for (size_t i = 0; i < b->n; i++) {
        const struct bench_point *p = &b->points[i];
        if (p->prompt == prompt)
            series_add(&prefill, (double)p->depth, &p->prefill);
        if (p->streams == 1)
            series_add(&decode, (double)p->depth, &p->decode);
        if (p->depth == b->points[0].depth)
            series_add(&streams, (double)p->streams, &p->decode);
    }
    buf_appendf(out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
        3 * WIDTH, HEIGHT);
    chart(out, 0, "prefill, tokens a second", "tokens in the cache", &prefill);
    chart(out, 1, "decode, tokens a second", "tokens in the cache", &decode);
    chart(out, 2, "decode, tokens a second, all streams", "parallel streams", &streams);
    buf_append_text(out, "</svg>\n");
}
