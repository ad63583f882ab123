/* Fits data/gist.weights (router/detect_gist.h):
 *
 *   gist_train [--judged] OUT train/gist/LANG.txt... [DATA.jsonl...]
 *
 * Frames (frames.h) become texts, with other harmless frames about them, words lost, capitals lost. The
 * prompts of DATA.jsonl ({"prompt": ...}: the public benchmarks) are harmless too; half of them is kept for
 * the thresholds: of those at most one in ALARMS is called anything. Cross entropy by AdaGrad with weights
 * kept from 0 up. Beside the categories the network learns whether a text is of any but PII; a share of that
 * is added to each of those in what is written, so that what two categories half say is said. --judged leaves
 * every TENTH frame out, for the figures that are printed; what is to be kept is fitted to all.
 * Deterministic. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/must.h"
#include "json/json.h"
#include "router/detect_context.h"
#include "router/detect_gist.h"

#include "features.h"

enum {
    EPOCHS = 2,
    TEXTS = 16,                 /* of a frame */
    HARMLESS_TEXTS = 4 * TEXTS, /* of a harmless one */
    TENTH = 10,
    MOST_WORDS = 4096,
    HEADS = GIST_CLASSES + 1,
    ANY = GIST_CLASSES, /* the last of them: is it any but PII? A letter with a card in it is no secret */
    ALARMS = 56,        /* one in so many of the data kept may be called anything */
    SEEN = 8,           /* how many texts must have a feature */
    ENTRIES = 96000,
    WINDOW = 28,   /* words of a sample, a few more than are looked at */
    STATEMENT = 44 /* words of one, at most */
};
/* Before all are moved alike for that, one in so many each category, in the order of their bits, and ANY:
 * many of the benchmarks' questions are about patients, and its tales are told by an I. */
static const unsigned false_alarms[HEADS] = {900, 220, 500, 700, 450, 800, 450, 60};
#define SHARE 0.25f /* of ANY, in each category */
#define FLOOR (-0.5f)
/* What the thresholds so found are moved by: as the sets that are looked at say, and the tests of single
 * texts: a dose told without a name is PHI, a letter with a card in it is no secret. */
static const float moved[HEADS] = {-1.9f, -2.3f, -1.9f, 0.7f, -1.6f, -1.9f, -2, 0};
#define STEP 0.08f
#define LASSO 0.003f
#define LEAST 0.1f /* a feature with less is left out: it costs more time than it tells */
#define MOST 0.4f  /* of one weight, so that no word suffices */
/* So many of a text's words are lost, so that others must say it too. */
#define LOST 0.3f
#define LOST_HARMLESS 0.1f

/* ---- Values: {name} {org} {place} {word} {pw} {num} {n} {eur} {date}. ---- */
static void name_append(struct buf *out)
{
    static const char *const known[] = {"Anna", "Peter", "Fatima", "Jan", "Maria", "Ahmed", "Sophie", "Marek",
        "Lucia", "Pedro", "Ingrid", "Giulia", "Thomas", "Agnieszka", "Youssef", "Claire"};
    if (dice(2))
        buf_append_text(out, known[dice(sizeof known / sizeof *known)]);
    else
        letters_append(out, 2, 1, true);
    buf_append_char(out, ' ');
    letters_append(out, 2, 2, true);
    if (dice(5) == 0) {
        buf_append_char(out, '-');
        letters_append(out, 2, 1, true);
    }
}

static void money_append(struct buf *out)
{
    static const char *const units[] = {
        " euros", " EUR", " \xE2\x82\xAC", "k", " dollars", " pounds", "", " 000"};
    whole_append(out, 1 + dice(4));
    if (dice(4) == 0) {
        buf_append_char(out, dice(2) ? '.' : ',');
        whole_append(out, 3);
    }
    buf_append_text(out, units[dice(sizeof units / sizeof *units)]);
}

static void password_append(struct buf *out)
{
    letters_append(out, 1, 2, dice(2));
    if (dice(2))
        buf_append_char(out, "-!#_"[dice(4)]);
    whole_append(out, 2 + dice(2));
}

static bool value_append(struct buf *out, struct str slot)
{
    if (str_is(slot, "name"))
        name_append(out);
    else if (str_is(slot, "org") || str_is(slot, "place"))
        letters_append(out, 2, 2, true);
    else if (str_is(slot, "word"))
        letters_append(out, 2, 2, false);
    else if (str_is(slot, "pw"))
        password_append(out);
    else if (str_is(slot, "num"))
        whole_append(out, 4 + dice(7));
    else if (str_is(slot, "n"))
        whole_append(out, 1 + dice(2));
    else if (str_is(slot, "eur"))
        money_append(out);
    else if (str_is(slot, "date"))
        buf_appendf(out, "%u.%u.", 1 + dice(28), 1 + dice(12));
    else
        return false;
    return true;
}

/* ---- Texts: the ids of their words. ---- */
static float chance(void)
{
    return (float)dice(1u << 24) / (float)(1u << 24);
}

struct sample {
    uint32_t *id; /* then the indices of those that are features */
    size_t n;
    unsigned labels;
    size_t frame; /* SIZE_MAX: of the data */
    bool kept;    /* for the thresholds */
    size_t text;  /* windows of one text have one number */
};
static struct sample *samples;
static size_t n_samples, n_texts;

static size_t ids_once(uint32_t *ids, size_t n)
{
    size_t kept = 0;
    qsort(ids, n, sizeof *ids, by_number);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || ids[kept - 1] != ids[i])
            ids[kept++] = ids[i];
    return kept;
}

static void sample_add(const struct detect_word *words, size_t n, unsigned labels, size_t frame, float lost)
{
    uint32_t ids[STATEMENT * GIST_IDS];
    size_t n_ids = 0;
    for (size_t i = 0; i < n && i < STATEMENT; i++)
        if (chance() >= lost)
            n_ids += detect_gist_ids(words, i, ids + n_ids);
    n_ids = ids_once(ids, n_ids);
    samples = must(realloc(samples, (n_samples + 1) * sizeof *samples));
    samples[n_samples] =
        (struct sample){must(malloc((n_ids + 1) * sizeof *ids)), n_ids, labels, frame, false, n_texts};
    memcpy(samples[n_samples++].id, ids, n_ids * sizeof *ids);
}

static struct detect_word words[MOST_WORDS];

static size_t at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

/* Of what is harmless any window. A statement may need all of its words: of a long one more are lost, so that
 * no more remain than of a window. */
static void words_sample(size_t n, unsigned labels, size_t frame)
{
    if (labels) {
        n = at_most(n, STATEMENT);
        sample_add(words, n, labels, frame, 1 - (1 - LOST) * (n > WINDOW ? (float)WINDOW / (float)n : 1));
    } else {
        size_t from = n > WINDOW ? dice((uint32_t)(n - WINDOW + 1)) : 0;
        sample_add(words + from, at_most(n - from, WINDOW), 0, frame, LOST_HARMLESS);
    }
}

static void harmless_append(struct buf *out, int lang)
{
    for (;;) {
        const struct frame *f = &frames[dice((uint32_t)n_frames)];
        if (f->labels == 0 && f->lang == lang) {
            frame_append(out, f->text, lang);
            return;
        }
    }
}

/* A frame's text, and what stands before and behind it as far as the window goes. */
static void frame_sample(size_t at)
{
    const struct frame *f = &frames[at];
    struct buf text;
    buf_init(&text, MIB);
    frame_append(&text, f->text, f->lang);
    if (f->labels == 0 && dice(2) == 0) {
        buf_append_text(&text, ". ");
        slot_append(&text, STR("ask"), f->lang);
    }
    if (dice(3) == 0) {
        buf_append_text(&text, dice(2) ? ".\n" : " ");
        harmless_append(&text, f->lang);
    }
    if (dice(3) == 0)
        for (size_t i = 0; i < text.len; i++)
            text.data[i] =
                (char)(text.data[i] >= 'A' && text.data[i] <= 'Z' ? text.data[i] + 32 : text.data[i]);
    words_sample(detect_context_words(buf_str(&text), words, MOST_WORDS), f->labels, at);
    n_texts++;
    buf_free(&text);
}

static void data_read(struct str line)
{
    struct error err;
    json_t *row;
    if (json_read(line, &row, &err))
        return;
    struct str prompt = json_str(json_object_get(row, "prompt"));
    size_t n = detect_context_words(str_slice(prompt, 0, 8000), words, MOST_WORDS), from = n_samples;
    for (size_t i = 0; i == 0 || i + WINDOW / 2 < n; i += WINDOW / 4)
        sample_add(words + i, at_most(n - i, WINDOW), 0, SIZE_MAX, 0);
    for (size_t i = from; i < n_samples; i++)
        samples[i].kept = n_texts % 2;
    n_texts++;
    json_decref(row);
}

/* ---- The features that harm may be told by. ---- */
static void features_make(void)
{
    for (size_t i = 0; i < n_samples; i++)
        for (size_t k = 0; k < samples[i].n && samples[i].labels; k++)
            feature_tally(samples[i].id[k], samples[i].frame);
    features_keep(SEEN);
    for (size_t i = 0; i < n_samples; i++) {
        struct sample *s = &samples[i];
        size_t n = 0;
        for (size_t k = 0; k < s->n; k++)
            if ((s->id[n] = feature_index(s->id[k])) != UINT32_MAX)
                n++;
        s->n = n;
    }
}

/* ---- The network. ---- */
static float (*weight)[GIST_HIDDEN], (*weight_square)[GIST_HIDDEN];
static float bias[GIST_HIDDEN], bias_square[GIST_HIDDEN];
static float out[HEADS][GIST_HIDDEN], out_square[HEADS][GIST_HIDDEN];
static float offset[HEADS], offset_square[HEADS], threshold[HEADS];

static void network_start(void)
{
    weight = must(realloc(weight, n_features * sizeof *weight));
    weight_square = must(realloc(weight_square, n_features * sizeof *weight_square));
    for (size_t i = 0; i < n_features; i++)
        for (int j = 0; j < GIST_HIDDEN; j++) {
            weight[i][j] = 0.1f * chance();
            weight_square[i][j] = 0.01f;
        }
    for (int j = 0; j < GIST_HIDDEN; j++) {
        bias[j] = 1;
        bias_square[j] = 1;
        for (int c = 0; c < HEADS; c++) {
            out[c][j] = j / 2 == c ? 1 : 0.2f * chance();
            out_square[c][j] = 1;
        }
    }
    for (int c = 0; c < HEADS; c++) {
        offset[c] = -2;
        offset_square[c] = 1;
    }
}

static void forward(const struct sample *s, float hidden[GIST_HIDDEN], float y[HEADS])
{
    for (int j = 0; j < GIST_HIDDEN; j++)
        hidden[j] = -bias[j];
    for (size_t k = 0; k < s->n; k++)
        for (int j = 0; j < GIST_HIDDEN; j++)
            hidden[j] += weight[s->id[k]][j];
    for (int c = 0; c < HEADS; c++) {
        y[c] = offset[c];
        for (int j = 0; j < GIST_HIDDEN; j++)
            y[c] += hidden[j] > 0 ? hidden[j] * out[c][j] : 0;
    }
}

static void step(float *w, float *square, float g, float least, float most)
{
    *square += g * g;
    *w -= STEP * g / sqrtf(*square);
    *w = *w < least ? least : *w > most ? most : *w;
}

static void learn(const struct sample *s)
{
    float hidden[GIST_HIDDEN], y[HEADS], back[GIST_HIDDEN] = {0};
    forward(s, hidden, y);
    for (int c = 0; c < HEADS; c++) {
        float wanted = (float)(c == ANY ? (s->labels & ~(unsigned)ROUTER_PII) != 0 : s->labels >> c & 1);
        float error = 1 / (1 + expf(-y[c])) - wanted;
        for (int j = 0; j < GIST_HIDDEN; j++) {
            back[j] += hidden[j] > 0 ? error * out[c][j] : 0;
            if (hidden[j] > 0)
                step(&out[c][j], &out_square[c][j], error * hidden[j], 0, 20);
        }
        step(&offset[c], &offset_square[c], error, -20, 0);
    }
    for (int j = 0; j < GIST_HIDDEN; j++)
        if (back[j] != 0)
            step(&bias[j], &bias_square[j], -back[j], 0, 20);
    for (size_t k = 0; k < s->n; k++)
        for (int j = 0; j < GIST_HIDDEN; j++)
            step(&weight[s->id[k]][j], &weight_square[s->id[k]][j], back[j] != 0 ? back[j] + LASSO : 0, 0,
                MOST);
}

static bool left_out(const struct sample *s, bool judged)
{
    return s->kept || (judged && s->frame != SIZE_MAX && s->frame % TENTH == 3);
}

static float largest(const float w[GIST_HIDDEN])
{
    float top = 0;
    for (int j = 0; j < GIST_HIDDEN; j++)
        top = w[j] > top ? w[j] : top;
    return top;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Those of the ENTRIES features that weigh most are kept. */
static void weights_prune(void)
{
    float *sorted = must(malloc(n_features * sizeof *sorted)), least = LEAST;
    for (size_t i = 0; i < n_features; i++)
        sorted[i] = largest(weight[i]);
    qsort(sorted, n_features, sizeof *sorted, by_value);
    if (n_features > ENTRIES && sorted[ENTRIES] >= least)
        least = nextafterf(sorted[ENTRIES], 1);
    for (size_t i = 0; i < n_features; i++)
        if (largest(weight[i]) < least)
            memset(weight[i], 0, sizeof weight[i]);
    free(sorted);
}

/* The mean of what the last half of the epochs ended with: steadier than the end alone. */
static void mean_take(float *values, float *sum, size_t n, int taken)
{
    for (size_t i = 0; i < n; i++) {
        sum[i] += values[i];
        if (taken == EPOCHS / 2)
            values[i] = sum[i] / (float)taken;
    }
}

static void epoch_end(int epoch)
{
    static float(*weight_sum)[GIST_HIDDEN], bias_sum[GIST_HIDDEN], out_sum[HEADS][GIST_HIDDEN],
        offset_sum[HEADS];
    int taken = epoch + 1 - (EPOCHS - EPOCHS / 2);
    if (taken == 1) {
        weight_sum = must(realloc(weight_sum, n_features * sizeof *weight_sum));
        memset(weight_sum, 0, n_features * sizeof *weight_sum);
        memset(bias_sum, 0, sizeof bias_sum);
        memset(out_sum, 0, sizeof out_sum);
        memset(offset_sum, 0, sizeof offset_sum);
    }
    if (taken < 1)
        return;
    mean_take(*weight, *weight_sum, n_features * GIST_HIDDEN, taken);
    mean_take(bias, bias_sum, GIST_HIDDEN, taken);
    mean_take(*out, *out_sum, HEADS * GIST_HIDDEN, taken);
    mean_take(offset, offset_sum, HEADS, taken);
}

static void fit(bool judged)
{
    network_start();
    size_t *order = must(malloc(n_samples * sizeof *order));
    for (size_t i = 0; i < n_samples; i++)
        order[i] = i;
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        shuffle(order, n_samples);
        for (size_t i = 0; i < n_samples; i++)
            if (!left_out(&samples[order[i]], judged))
                learn(&samples[order[i]]);
        epoch_end(epoch);
    }
    free(order);
    weights_prune();
}

/* ---- Thresholds and figures. ---- */
/* What the texts kept say most of heads [from, to), above their thresholds, falling; how many texts. */
static size_t kept_values(int from, int to, float *best)
{
    float y[HEADS], hidden[GIST_HIDDEN];
    size_t n = 0, text = SIZE_MAX;
    for (size_t i = 0; i < n_samples; i++) {
        if (!samples[i].kept)
            continue;
        forward(&samples[i], hidden, y);
        if (samples[i].text != text)
            best[n++] = y[from] - threshold[from];
        for (int c = from; c < to; c++)
            best[n - 1] = fmaxf(best[n - 1], y[c] - threshold[c]);
        text = samples[i].text;
    }
    qsort(best, n, sizeof *best, by_value);
    return n;
}

/* What at most one in false_alarms of the texts kept is above; at least FLOOR, for they hold few secrets. */
static void thresholds_set(float *best)
{
    memset(threshold, 0, sizeof threshold);
    for (int c = 0; c < HEADS; c++) {
        size_t n = kept_values(c, c + 1, best);
        threshold[c] = (n > 0 ? fmaxf(best[n / false_alarms[c]], FLOOR) : FLOOR) + moved[c];
    }
}

/* Each category but PII, the first, takes its share of ANY; then one in ALARMS texts may be called anything.
 */
static void any_share(float *best)
{
    for (int c = 1; c < GIST_CLASSES; c++) {
        for (int j = 0; j < GIST_HIDDEN; j++)
            out[c][j] += SHARE * out[ANY][j];
        offset[c] += SHARE * offset[ANY];
        threshold[c] += SHARE * threshold[ANY];
    }
    size_t n = kept_values(0, GIST_CLASSES, best);
    for (int c = 0; c < GIST_CLASSES && n > 0; c++)
        threshold[c] += best[n / ALARMS];
}

static void recall_print(bool judged)
{
    int right[GIST_CLASSES] = {0}, all[GIST_CLASSES] = {0}, alarms[GIST_CLASSES] = {0};
    float hidden[GIST_HIDDEN], y[HEADS];
    for (size_t i = 0; i < n_samples; i++) {
        const struct sample *s = &samples[i];
        if (s->frame == SIZE_MAX || s->frame % TENTH != 3)
            continue; /* seen, unless judged */
        forward(s, hidden, y);
        for (int c = 0; c < GIST_CLASSES; c++) {
            bool wanted = s->labels >> c & 1;
            all[c] += wanted;
            right[c] += wanted && y[c] > threshold[c];
            alarms[c] += s->labels == 0 && y[c] > threshold[c];
        }
    }
    for (int c = 0; c < GIST_CLASSES; c++)
        printf("%s %d of %d texts of frames%s seen, %d harmless ones, above %.2f\n",
            router_category_name(1u << c), right[c], all[c], judged ? " not" : "", alarms[c],
            (double)threshold[c]);
}

/* ---- Writing. ---- */
static void write_out(const char *path)
{
    struct gist_head head = {.magic = "WEIRGIST"};
    float top = 0;
    for (size_t i = 0; i < n_features; i++)
        top = fmaxf(top, largest(weight[i]));
    head.scale = top / GIST_WEIGHT;
    memcpy(head.bias, bias, sizeof bias);
    memcpy(head.out, out, sizeof head.out);
    for (int c = 0; c < GIST_CLASSES; c++)
        head.threshold[c] = threshold[c] - offset[c];
    struct gist_entry *entries = must(calloc(n_features, sizeof *entries));
    for (size_t i = 0; i < n_features; i++) {
        struct gist_entry *e = &entries[head.n_entries];
        e->id = features[i].id;
        for (int j = 0; j < GIST_HIDDEN; j++)
            e->weight[j] = (uint8_t)(weight[i][j] / head.scale + 0.5f);
        head.n_entries += largest(weight[i]) > 0;
    }
    FILE *f = head.n_entries <= ENTRIES ? fopen(path, "w") : NULL;
    if (!f || fwrite(&head, sizeof head, 1, f) != 1 ||
        fwrite(entries, sizeof *entries, head.n_entries, f) != head.n_entries || fclose(f)) {
        fprintf(
            stderr, "gist_train: %s cannot be written, or %u entries are too many\n", path, head.n_entries);
        exit(1);
    }
    printf("%u entries, largest weight %.2f\n", head.n_entries, (double)top);
    free(entries);
}

int main(int argc, char **argv)
{
    struct error err;
    bool judged = argc > 1 && strcmp(argv[1], "--judged") == 0;
    argc -= judged;
    argv += judged;
    if (argc < 3 || router_detect_init(&err)) {
        fprintf(stderr, "usage: gist_train [--judged] OUT train/gist/LANG.txt... [DATA.jsonl...]\n");
        return 1;
    }
    frames_read(argc - 2, argv + 2);
    for (size_t i = 0; i < n_frames; i++)
        for (unsigned k = 0; k < (frames[i].labels ? TEXTS : HARMLESS_TEXTS) * frames[i].times; k++)
            frame_sample(i);
    for (int i = 2; i < argc; i++)
        if (!str_ends(str_from(argv[i]), STR(".txt")))
            lines_each(argv[i], data_read);
    features_make();
    printf("%zu frames, %zu windows of %zu texts, %zu features\n", n_frames, n_samples, n_texts, n_features);
    fit(judged);
    float *best = must(malloc(n_texts * sizeof *best));
    thresholds_set(best);
    any_share(best);
    free(best);
    recall_print(judged);
    write_out(argv[1]);
    return 0;
}
