/* What it costs to judge a request (findings, complexity, task, language, size): `judge_bench [SECONDS]`.
 * Ordinary prose, texts that are all different (as a gateway's are: their words are not in the caches) and
 * text dense with findings, a kilobyte each, and long texts in megabytes a second of one core. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/sort.h"
#include "bench_prose.h"
#include "router/facts.h"

enum { MOST_RUNS = 200000, SHORT = 1024, LONG = 1024 * 1024 };

static const char *const prose[] = {"A weir is a low wall across a river that holds back some of the water "
                                    "and lets the rest run over its top. ",
    "Could you explain to me in plain words how the height of such a wall changes what happens upstream? ",
    "Please compare three designs, say which of them is best for small rivers, and give your reasons in "
    "order. ",
    "Most people in our village think that the old one should stay, although nobody has looked after it "
    "lately. "};
static const char *const german[] = {
    "Ein Wehr staut das Wasser eines Flusses, und was zu viel ist, l\xC3\xA4uft \xC3\xBC"
    "ber seine Krone ab. ",
    "K\xC3\xB6nntest du mir erkl\xC3\xA4ren, wie sich die H\xC3\xB6he auf den Wasserstand oberhalb "
    "auswirkt? "};
static const char *const code[] = {
    "static int rows_read(struct table *t, size_t n)\n{\n    for (size_t i = 0; i < n; i++)\n",
    "        if (t->row[i].key == NULL || t->row[i].value < 10)\n            return error_set(err, "
    "42);\n}\n"};
static const char *const dense[] = {
    "Mrs Hollis Bramwell, 9 Sparrow Mews, Leeds LS6 2QT, hollis.bramwell@northpine.net, +44 113 496 0712. ",
    "Card 4539 5787 6362 1486, IBAN DE07 1234 1234 1234 1234 12, SSN 536-22-8714, born 02.11.1949, "
    "diabetes. ",
    "api_key = \"q7Rt2xLm9Zp4Vb8Nc3Ks6Wd1\", password: Trout-Pond-88, from 81.2.69.142 by "
    "00:1b:44:11:3a:b7. ",
    "token=ghp_a8Kd92LmQpZx73VbNcRt56YwHj41FsGe0UiO https://root:p4ssw0rd-9z@db.northpine.net/ "};

struct sample {
    const char *name;
    const char *const *lines;
    size_t n;
};
#define SAMPLE(lines)                                                                                        \
    {                                                                                                        \
#lines, lines, sizeof lines / sizeof *lines                                                          \
    }
static const struct sample samples[] = {SAMPLE(prose), SAMPLE(german), SAMPLE(code), SAMPLE(dense)};

/* Lines in turn, cut at a character's end. */
static struct str text_make(const struct sample *s, size_t size)
{
    char *text = malloc(size);
    size_t n = 0;
    for (size_t i = 0; text && n < size; i++) {
        struct str line = str_slice(str_from(s->lines[i % s->n]), 0, size - n);
        memcpy(text + n, line.data, line.len);
        n += line.len;
    }
    return (struct str){text, text ? str_utf8_floor(text, n) : 0};
}

/* Of this thread's work, so that others on the machine do not count. */
/* What was judged before is remembered (detect_memo.c): each text begins with a word of its own. */
static void text_stamp(struct str text)
{
    static uint32_t serial;
    uint32_t left = serial++;
    for (size_t i = 0; i < 6 && i < text.len; i++, left /= 26)
        ((char *)text.data)[i] = (char)('a' + left % 26);
}

/* Nanoseconds for all facts of a request of one message. */
static int64_t judge(struct str text)
{
    text_stamp(text);
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct chat_part part = {.kind = CHAT_PART_TEXT, .text = text};
    struct chat_message message = {.role = CHAT_USER, .parts = &part, .n_parts = 1};
    struct chat_request r = {.arena = a, .messages = &message, .n_messages = 1};
    struct facts f;
    int64_t start = clock_cpu_ns();
    facts_init(&f, NULL, &r, NULL);
    (void)facts_findings(&f);
    (void)facts_complexity(&f);
    (void)facts_tokens(&f);
    (void)facts_task(&f);
    (void)facts_language(&f);
    int64_t ns = clock_cpu_ns() - start;
    if (f.detector_failed)
        fprintf(stderr, "judge_bench: %s\n", f.failure);
    arena_free(a);
    return ns;
}

/* `text`: the first of n, one behind the other. */
static void short_measure(const char *name, struct str text, size_t n_texts, double seconds)
{
    static double ns[MOST_RUNS];
    int64_t end = clock_mono_ns() + (int64_t)(seconds * 1e9);
    size_t n = 0;
    while (n < MOST_RUNS && (n < 100 || clock_mono_ns() < end)) {
        ns[n] = (double)judge((struct str){text.data + n % n_texts * text.len, text.len});
        n++;
    }
    sort_doubles(ns, n);
    printf("  1 KB of %s: %.1f \xC2\xB5s at the median, %.1f at the 5th and %.1f at the 99th percentile\n",
        name, ns[n / 2] / 1e3, ns[n / 20] / 1e3, ns[n * 99 / 100] / 1e3);
}

/* As many different texts as the caches cannot hold, in turn. */
static void fresh_measure(double seconds)
{
    enum { TEXTS = 4096 };
    uint64_t chance = 1;
    char *texts = malloc((size_t)TEXTS * SHORT);
    for (size_t i = 0; texts && i < TEXTS; i++)
        prose_fill(&chance, texts + i * SHORT, SHORT);
    short_measure("prose, each another", (struct str){texts, texts ? SHORT : 0}, TEXTS, seconds);
    free(texts);
}

static void long_measure(const struct sample *s, double seconds)
{
    struct str text = text_make(s, LONG);
    int64_t best = INT64_MAX, end = clock_mono_ns() + (int64_t)(seconds * 1e9);
    do {
        int64_t ns = judge(text);
        best = ns < best ? ns : best;
    } while (clock_mono_ns() < end);
    printf("  1 MB of %s: %.1f MB/s\n", s->name, (double)text.len * 1e3 / (double)best);
    free((char *)text.data);
}

int main(int argc, char **argv)
{
    struct error err = {0};
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    if (router_detect_init(&err)) {
        fprintf(stderr, "judge_bench: %s\n", err.message);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("judgement: all facts of a request, one core\n");
    fresh_measure(seconds);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct str text = text_make(&samples[i], SHORT);
        short_measure(samples[i].name, text, 1, seconds);
        free((char *)text.data);
    }
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        long_measure(&samples[i], seconds);
    return 0;
}
