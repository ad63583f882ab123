/* Fits data/tag.weights (router/detect_tag.h):   tag_train [--judged] OUT TEXT.txt... DATA.jsonl...
 *
 * The .txt are frames (frames.h; those of train/tag and train/gist). DATA.jsonl: {"text", "entities":
 * [{"type", "start", "end"}], "template"} are labelled; the parts of an address are not, there the likeliest
 * ones are learnt.
 * {"prompt"} are texts without postal addresses; who is named in them is not known. Averaged structured
 * perceptron. Every TENTH frame and every second template are left out of a first fit, of which the figures
 * printed are; the second, of all, is written (--judged: the first). Deterministic. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/must.h"
#include "json/json.h"
#include "router/detect_context.h"
#include "router/detect_tag.h"

#include "features.h"
#include "tag_text.h"

enum {
    EPOCHS = 8,
    TEXTS = 48,       /* of a frame with markup */
    TEXTS_PLAIN = 24, /* of one without */
    TENTH = 10,
    MOST_WORDS = 4096,
    TIMES = 3, /* each labelled text counts as */
    SEEN = 3,  /* how many texts must have a feature */
    ENTRIES = 24000
};
#define NO_ADDRESS_TAGS (1u << TAG_NONE | 1u << TAG_PERSON | 1u << TAG_PERSON_ON | 1u << TAG_TOWN)

/* Words that prompts have in lower case: with a capital they are no names, but for those of the lexicon. */
enum { COMMON_BITS = 1 << 22 };
static uint64_t common[COMMON_BITS / 64];

/* ---- Samples: the runs of words that are tagged. ---- */
struct sample {
    uint32_t (*id)[TAG_IDS]; /* then the index of the feature, or UINT32_MAX */
    uint8_t *n_ids;
    uint16_t *may; /* the tags that a word may have */
    size_t n;
    size_t frame; /* or that of a template; SIZE_MAX: of the data */
    bool left_out;
};
static struct sample *samples;
static size_t n_samples;
static struct detect_word words[MOST_WORDS];

/* What a word of a text may be of which only is known that it has no postal address. */
static unsigned unlabelled(const struct detect_word *w)
{
    bool name = w->kinds & (CUE(given) | CUE(surname) | CUE(both)),
         known = common[w->hash / 64 % (COMMON_BITS / 64)] >> w->hash % 64 & 1;
    if (w->flags & WORD_DIGIT || (!(w->flags & WORD_CAPITAL) && !(w->kinds & CUE(particle))))
        return 1u << TAG_NONE;
    return known && !name && !(w->flags & WORD_UPPER) ? 1u << TAG_NONE : NO_ADDRESS_TAGS;
}

/* Of an address only the whole or a part is known: what its words may be. A street begins with it or behind a
 * number that stands first. */
static unsigned address_may(size_t at, const struct range *r, bool first)
{
    const struct detect_word *w = &words[at];
    bool second = !first && w[-1].flags & WORD_DIGITS && (at < 2 || words[at - 2].start < r->start);
    unsigned street = 1u << (first ? TAG_STREET : TAG_STREET_ON) | (second ? 1u << TAG_STREET : 0);
    if (w->flags & WORD_DIGITS && first)
        return w->end >= r->end && (w->flags & WORD_LINE || !w[1].end || w[1].sentence != w->sentence)
                   ? 1u << TAG_CODE
                   : 1u << TAG_STREET;
    if (w->flags & WORD_DIGIT)
        return street | 1u << TAG_UNIT | 1u << TAG_CODE;
    return street | (w->kinds & CUE(unit) ? 1u << TAG_UNIT : 0) | (first ? 0 : 1u << TAG_TOWN);
}

static unsigned may_be(size_t at, unsigned otherwise)
{
    const size_t start = words[at].start;
    for (size_t i = 0; i < n_ranges; i++) {
        const struct range *r = &ranges[i];
        bool first = true;
        if (start < r->start || start >= r->end)
            continue;
        for (size_t w = 0; w < MOST_WORDS && words[w].start < start; w++)
            first = first && words[w].start < r->start;
        switch (r->mark) {
        case 'P':
            return 1u << (first ? TAG_PERSON : TAG_PERSON_ON);
        case 'H':
        case 'S':
            return 1u << (first ? TAG_STREET : TAG_STREET_ON);
        case 'O':
            return 1u << TAG_NONE;
        case 'A':
            return address_may(at, r, first);
        default:
            return 1u << (r->mark == 'U' ? TAG_UNIT : r->mark == 'T' ? TAG_TOWN : TAG_CODE);
        }
    }
    return otherwise;
}

static void samples_add(struct str text, unsigned otherwise, size_t frame, bool left_out)
{
    size_t n = detect_context_words(text, words, MOST_WORDS - 1), from = 0, to = 0;
    words[n].end = 0;
    for (; n < MOST_WORDS - 1 && detect_tag_run(words, n, &from, &to);) {
        struct sample s = {.n = to - from, .frame = frame, .left_out = left_out};
        s.id = must(malloc(s.n * sizeof *s.id));
        s.n_ids = must(malloc(s.n));
        s.may = must(malloc(s.n * sizeof *s.may));
        for (size_t i = 0; i < s.n; i++) {
            s.n_ids[i] = (uint8_t)detect_tag_ids(text, words, n, from + i, s.id[i]);
            s.may[i] = (uint16_t)(otherwise ? may_be(from + i, otherwise) : unlabelled(&words[from + i]));
        }
        if (n_samples % 4096 == 0)
            samples = must(realloc(samples, (n_samples + 4096) * sizeof *samples));
        samples[n_samples++] = s;
    }
}

/* Another text of that language, before or behind. */
static void other_append(struct buf *out, const struct frame *f)
{
    const struct frame *other = &frames[dice((uint32_t)n_frames)];
    if (other->lang == f->lang && (size_t)(other - frames) % TENTH != 3)
        frame_append(out, other->text, other->lang);
}

static void frame_sample(size_t at)
{
    const struct frame *f = &frames[at];
    struct buf text;
    buf_init(&text, MIB);
    n_ranges = 0;
    if (dice(4) == 0) {
        other_append(&text, f);
        buf_append_text(&text, ONE_OF("\n", " ", "\n\n", ". "));
    }
    frame_append(&text, f->text, f->lang);
    buf_append_text(&text, ONE_OF("", "", "", ".", "\n"));
    if (dice(3) == 0) {
        buf_append_text(&text, ONE_OF("\n", " ", "\n\n", ". ", " - "));
        other_append(&text, f);
    }
    if (dice(20) == 0)
        for (size_t i = 0; i < text.len; i++)
            text.data[i] =
                (char)(text.data[i] >= 'A' && text.data[i] <= 'Z' ? text.data[i] + 32 : text.data[i]);
    if (dice(30) == 0)
        for (size_t i = 0; i < text.len; i++)
            text.data[i] =
                (char)(text.data[i] >= 'a' && text.data[i] <= 'z' ? text.data[i] - 32 : text.data[i]);
    samples_add(buf_str(&text), 1u << TAG_NONE, at, at % TENTH == 3);
    buf_free(&text);
}

/* Offsets of code points become those of bytes. */
static size_t byte_at(struct str text, json_int_t points)
{
    size_t at = 0;
    for (; at < text.len && points > 0; points--)
        do
            at++;
        while (at < text.len && ((unsigned char)text.data[at] & 0xC0) == 0x80);
    return at;
}

static void common_read(struct str line)
{
    struct error err;
    json_t *row;
    if (json_read(line, &row, &err))
        return;
    size_t n = detect_context_words(json_text(row, "prompt"), words, MOST_WORDS);
    for (size_t i = 0; i < n; i++)
        if (!(words[i].flags & (WORD_CAPITAL | WORD_DIGIT)))
            common[words[i].hash / 64 % (COMMON_BITS / 64)] |= (uint64_t)1 << words[i].hash % 64;
    json_decref(row);
}

static void data_read(struct str line)
{
    static const struct {
        const char *type;
        char mark;
    } marks[] = {
        {"PERSON", 'P'}, {"STREET_ADDRESS", 'A'}, {"GPE", 'T'}, {"ORGANIZATION", 'O'}, {"ZIP_CODE", 'Z'}};
    struct error err;
    json_t *row;
    if (json_read(line, &row, &err))
        return;
    struct str text = json_text(row, "text"), prompt = json_text(row, "prompt");
    const json_t *entities = json_object_get(row, "entities");
    size_t template = (size_t)json_integer_value(json_object_get(row, "template"));
    n_ranges = 0;
    for (size_t i = 0; i < json_array_size(entities) && n_ranges < MOST_RANGES; i++) {
        const json_t *e = json_array_get(entities, i);
        for (size_t m = 0; m < sizeof marks / sizeof *marks; m++)
            if (str_is(json_text(e, "type"), marks[m].type))
                ranges[n_ranges++] =
                    (struct range){byte_at(text, json_integer_value(json_object_get(e, "start"))),
                        byte_at(text, json_integer_value(json_object_get(e, "end"))), marks[m].mark};
    }
    if (prompt.len)
        samples_add(str_slice(prompt, 0, 4000), 0, SIZE_MAX, false);
    for (int k = 0; entities && prompt.len == 0 && k < TIMES; k++)
        samples_add(text, 1u << TAG_NONE, 1u << 20 | template, template % 2 == 1);
    json_decref(row);
}

/* ---- Features. ---- */
/* Prompts without labels bring no features of their own. */
static void features_make(void)
{
    for (size_t i = 0; i < n_samples; i++)
        for (size_t w = 0; w < samples[i].n && samples[i].frame != SIZE_MAX; w++)
            for (size_t k = 0; k < samples[i].n_ids[w]; k++)
                feature_tally(samples[i].id[w][k], samples[i].frame);
    features_keep(SEEN);
    for (size_t i = 0; i < n_samples; i++)
        for (size_t w = 0; w < samples[i].n; w++)
            for (size_t k = 0; k < samples[i].n_ids[w]; k++)
                samples[i].id[w][k] = feature_index(samples[i].id[w][k]);
}

/* ---- The perceptron. A weight's mean over all steps is its value less what `late` gathered over the steps.
 * ---- */
static float (*weight)[N_TAGS], (*late)[N_TAGS];
static float step_weight[N_TAGS][N_TAGS], step_late[N_TAGS][N_TAGS];

static bool follows(int from, int to)
{
    return (to != TAG_PERSON_ON || from == TAG_PERSON || from == TAG_PERSON_ON) &&
           (to != TAG_STREET_ON || from == TAG_STREET || from == TAG_STREET_ON);
}

/* The best tags, of those a word may have if `bound`. */
static void viterbi(const struct sample *s, bool bound, uint8_t *tags)
{
    static uint8_t came[MOST_WORDS][N_TAGS];
    float score[N_TAGS], next[N_TAGS];
    for (int tag = 0; tag < N_TAGS; tag++)
        score[tag] = tag == TAG_NONE ? 0 : -1e9f;
    for (size_t i = 0; i < s->n; i++) {
        for (int to = 0; to < N_TAGS; to++) {
            float best = -1e12f;
            for (int from = 0; from < N_TAGS; from++) {
                float here = score[from] + (follows(from, to) ? step_weight[from][to] : -1e8f);
                if (here > best) {
                    best = here;
                    came[i][to] = (uint8_t)from;
                }
            }
            for (size_t k = 0; k < s->n_ids[i]; k++)
                best += s->id[i][k] != UINT32_MAX ? weight[s->id[i][k]][to] : 0;
            next[to] = bound && !(s->may[i] >> to & 1) ? best - 1e8f : best;
        }
        memcpy(score, next, sizeof score);
    }
    int best = 0;
    for (int tag = 0; tag < N_TAGS; tag++)
        if (score[tag] + step_weight[tag][0] > score[best] + step_weight[best][0])
            best = tag;
    for (size_t i = s->n; i-- > 0; best = came[i][best])
        tags[i] = (uint8_t)best;
}

static void tags_weigh(const struct sample *s, const uint8_t *tags, float by, float steps)
{
    int before = TAG_NONE;
    for (size_t i = 0; i < s->n; before = tags[i], i++) {
        for (size_t k = 0; k < s->n_ids[i]; k++)
            if (s->id[i][k] != UINT32_MAX) {
                weight[s->id[i][k]][tags[i]] += by;
                late[s->id[i][k]][tags[i]] += by * steps;
            }
        step_weight[before][tags[i]] += by;
        step_late[before][tags[i]] += by * steps;
    }
    step_weight[before][TAG_NONE] += by;
    step_late[before][TAG_NONE] += by * steps;
}

static void fit(bool judged)
{
    static uint8_t said[MOST_WORDS], wanted[MOST_WORDS];
    size_t *order = must(malloc(n_samples * sizeof *order)), steps = 1;
    free(weight);
    free(late);
    weight = must(calloc(n_features, sizeof *weight));
    late = must(calloc(n_features, sizeof *late));
    memset(step_weight, 0, sizeof step_weight);
    memset(step_late, 0, sizeof step_late);
    for (size_t i = 0; i < n_samples; i++)
        order[i] = i;
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        shuffle(order, n_samples);
        for (size_t i = 0; i < n_samples; i++) {
            const struct sample *s = &samples[order[i]];
            /* What is labelled in part waits until there is an idea of the parts. */
            if ((judged && s->left_out) || (epoch == 0 && s->frame >> 20))
                continue;
            viterbi(s, false, said);
            viterbi(s, true, wanted);
            steps++;
            if (memcmp(said, wanted, s->n) == 0)
                continue;
            tags_weigh(s, wanted, 1, (float)steps / 1e5f);
            tags_weigh(s, said, -1, (float)steps / 1e5f);
        }
    }
    float all = (float)steps / 1e5f;
    for (size_t f = 0; f < n_features; f++)
        for (int tag = 0; tag < N_TAGS; tag++)
            weight[f][tag] -= late[f][tag] / all;
    for (int from = 0; from < N_TAGS; from++)
        for (int to = 0; to < N_TAGS; to++)
            step_weight[from][to] -= step_late[from][to] / all;
    free(order);
}

/* ---- Figures and writing. ---- */
static bool same_at(const uint8_t *a, const uint8_t *b, size_t n, size_t i, int first, int on)
{
    bool same = a[i] == first && b[i] == first;
    for (i++; same && i < n && (a[i] == on || b[i] == on); i++)
        same = a[i] == b[i];
    return same;
}

static void spans_print(const char *name, int first, int on, bool of_data)
{
    static uint8_t said[MOST_WORDS], wanted[MOST_WORDS];
    int right = 0, all = 0, found = 0;
    for (size_t i = 0; i < n_samples; i++) {
        const struct sample *s = &samples[i];
        if (!s->left_out || (s->frame >> 20 != 0) != of_data)
            continue;
        viterbi(s, false, said);
        viterbi(s, true, wanted);
        for (size_t w = 0; w < s->n; w++) {
            all += wanted[w] == first;
            found += said[w] == first;
            right += same_at(said, wanted, s->n, w, first, on);
        }
    }
    printf("%s, of %s not seen: %d wanted, %d found, %d right, F1 %.3f\n", name,
        of_data ? "templates" : "frames", all, found, right, 2.0 * right / (all + found + 1e-9));
}

static void figures_print(void)
{
    for (int of_data = 0; of_data < 2; of_data++) {
        spans_print("names", TAG_PERSON, TAG_PERSON_ON, of_data);
        spans_print("streets", TAG_STREET, TAG_STREET_ON, of_data);
        spans_print("postal codes", TAG_CODE, -1, of_data);
    }
}

static float largest(const float w[N_TAGS])
{
    float top = 0;
    for (int tag = 0; tag < N_TAGS; tag++)
        top = w[tag] > top ? w[tag] : -w[tag] > top ? -w[tag] : top;
    return top;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

static int16_t scaled(float w, float scale, int most)
{
    float s = w / scale + (w < 0 ? -0.5f : 0.5f);
    return (int16_t)(s > (float)most ? most : s < (float)-most ? -most : (int)s);
}

/* The strongest entries, in bytes: the few that are past the largest are cut. */
static void write_out(const char *path)
{
    struct tag_head head = {.magic = "WEIRTAGS"};
    float *tops = must(malloc((n_features + 1) * sizeof *tops));
    for (size_t i = 0; i < n_features; i++)
        tops[i] = largest(weight[i]);
    qsort(tops, n_features, sizeof *tops, by_value);
    float scale = tops[n_features / 500] / TAG_WEIGHT, least = n_features > ENTRIES ? tops[ENTRIES] : 0;
    struct tag_entry *entries = must(calloc(n_features, sizeof *entries));
    for (size_t i = 0; i < n_features; i++) {
        struct tag_entry *e = &entries[head.n_entries];
        bool any = false;
        e->id = features[i].id;
        for (int tag = 0; tag < N_TAGS; tag++) {
            e->weight[tag] = (int8_t)scaled(weight[i][tag], scale, TAG_WEIGHT);
            any = any || e->weight[tag] != 0;
        }
        head.n_entries += any && largest(weight[i]) > least;
    }
    for (int from = 0; from < N_TAGS; from++)
        for (int to = 0; to < N_TAGS; to++)
            head.step[from][to] =
                follows(from, to) ? scaled(step_weight[from][to], scale, 2000) : (int16_t)TAG_NEVER;
    FILE *f = fopen(path, "w");
    if (!f || fwrite(&head, sizeof head, 1, f) != 1 ||
        fwrite(entries, sizeof *entries, head.n_entries, f) != head.n_entries || fclose(f)) {
        fprintf(stderr, "tag_train: %s cannot be written\n", path);
        exit(1);
    }
    printf("%u entries of %zu, largest weight %.1f\n", head.n_entries, n_features, (double)tops[0]);
    free(entries);
    free(tops);
}

int main(int argc, char **argv)
{
    struct error err;
    bool judged = argc > 1 && strcmp(argv[1], "--judged") == 0;
    int at = judged ? 2 : 1;
    if (argc < at + 2 || detect_lexicon_init(&err)) {
        fprintf(stderr, "usage: tag_train [--judged] OUT train/tag/*.txt train/gist/*.txt DATA.jsonl...\n");
        return 1;
    }
    lines_each("data/names.txt", names_read);
    frames_read(argc - at - 1, argv + at + 1);
    for (size_t i = 0; i < n_frames; i++)
        for (int k = 0; k < (frame_marked(frames[i].text) ? TEXTS : TEXTS_PLAIN); k++)
            frame_sample(i);
    void (*const passes[])(struct str) = {common_read, data_read};
    for (int k = 0; k < 2; k++)
        for (int i = at + 1; i < argc; i++)
            if (!str_ends(str_from(argv[i]), STR(".txt")))
                lines_each(argv[i], passes[k]);
    features_make();
    printf("%zu frames, %zu runs, %zu features\n", n_frames, n_samples, n_features);
    fit(true);
    figures_print();
    if (!judged)
        fit(false);
    write_out(argv[at]);
    return 0;
}
