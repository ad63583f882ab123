/* What the detector is worth on labelled texts: `judge_score [--wrong SPLIT] FILE.jsonl...`
 *
 *   {"id", "text", "sensitive": true, "categories": ["PHI"], "lang": "de", "split": "tune",
 *    "entities": [{"type": "PERSON", "start": 0, "end": 9}]}      offsets in code points; all but the text
 * may lack
 *
 * Says for each split and language: recall and precision of "sensitive", recall of each category (found as
 * anything, and as itself), and the F1 of names and addresses, exact and overlapping, over the texts that are
 * not said to be harmless. --wrong lists the rows of a split that were judged wrong: look only at the one you
 * tune on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/must.h"
#include "json/json.h"
#include "router/detect.h"

enum { GROUPS = 64, CATEGORIES = 7, SPANS = 2 };

static const char *const span_types[SPANS] = {"PERSON", "STREET_ADDRESS"};

struct spans {
    int exact, overlap, right, given,
        wanted; /* wanted ones found, exactly and in part; given ones that are right in part */
};

struct group {
    char name[64];
    int right, extra, missing, clean;
    int any[CATEGORIES], itself[CATEGORIES], wanted[CATEGORIES];
    struct spans spans[SPANS];
};

static struct group groups[GROUPS];
static size_t n_groups;
static const char *wrong; /* the split whose errors are listed */

static struct group *group_of(struct str split, const char *lang)
{
    char name[sizeof groups->name];
    snprintf(name, sizeof name, STR_FMT "%s%s", STR_ARG(split), *lang ? " " : "", lang);
    for (size_t i = 0; i < n_groups; i++)
        if (strcmp(groups[i].name, name) == 0)
            return &groups[i];
    if (n_groups == GROUPS) {
        fprintf(stderr, "judge_score: more than %d splits and languages\n", GROUPS);
        exit(1);
    }
    snprintf(groups[n_groups].name, sizeof name, "%s", name);
    return &groups[n_groups++];
}

/* Does it share a character with a wanted one of its type? */
static bool span_near(const json_t *want, const struct router_entity *e)
{
    bool near = false;
    for (size_t i = 0; i < json_array_size(want) && !near; i++) {
        const json_t *x = json_array_get(want, i);
        near = str_is(json_text(x, "type"), e->type) &&
               e->start < (size_t)json_integer_value(json_object_get(x, "end")) &&
               (size_t)json_integer_value(json_object_get(x, "start")) < e->end;
    }
    return near;
}

static void spans_count(
    struct spans *s, const char *type, const json_t *want, const struct router_findings *f)
{
    for (size_t i = 0; i < f->n_entities; i++) {
        const struct router_entity *e = &f->entities[i];
        if (strcmp(e->type, type) != 0)
            continue;
        s->given++;
        s->right += span_near(want, e);
    }
    for (size_t i = 0; i < json_array_size(want); i++) {
        const json_t *x = json_array_get(want, i);
        size_t start = (size_t)json_integer_value(json_object_get(x, "start"));
        size_t end = (size_t)json_integer_value(json_object_get(x, "end"));
        bool exact = false, overlap = false;
        if (!str_is(json_text(x, "type"), type))
            continue;
        for (size_t k = 0; k < f->n_entities; k++) {
            const struct router_entity *e = &f->entities[k];
            bool same = strcmp(e->type, type) == 0;
            exact = exact || (same && e->start == start && e->end == end);
            overlap = overlap || (same && e->start < end && start < e->end);
        }
        s->wanted++;
        s->exact += exact;
        s->overlap += overlap;
    }
}

static void group_count(struct group *g, const json_t *row, const struct router_findings *f)
{
    const json_t *said = json_object_get(row, "sensitive"), *names = json_object_get(row, "categories");
    bool sensitive = json_is_true(said), found = f->categories != 0;
    if (said) {
        g->right += sensitive && found;
        g->missing += sensitive && !found;
        g->extra += !sensitive && found;
        g->clean += !sensitive;
    }
    for (size_t i = 0; i < json_array_size(names); i++) {
        unsigned category = router_category_from(json_str(json_array_get(names, i)));
        for (size_t k = 0; k < CATEGORIES; k++)
            if (category == 1u << k) {
                g->wanted[k]++;
                g->any[k] += found;
                g->itself[k] += (f->categories & category) != 0;
            }
    }
    for (size_t i = 0; i < SPANS && (sensitive || !said); i++)
        spans_count(&g->spans[i], span_types[i], json_object_get(row, "entities"), f);
}

static void wrong_print(const json_t *row, const struct router_findings *f)
{
    struct str text = json_text(row, "text");
    printf("%s " STR_FMT ": " STR_FMT "\n", f->categories ? "extra" : "missing",
        STR_ARG(json_text(row, "id")), STR_ARG(text));
    for (size_t i = 0; i < f->n_entities; i++)
        printf("      %s %.1f %zu..%zu\n", f->entities[i].type, f->entities[i].score, f->entities[i].start,
            f->entities[i].end);
}

static void row_count(const json_t *row)
{
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct str split = json_text(row, "split"), lang = json_text(row, "lang");
    char language[16];
    snprintf(language, sizeof language, STR_FMT, STR_ARG(lang));
    if (router_detect(a, STR_NONE, json_text(row, "text"), &f, &err)) {
        fprintf(stderr, "judge_score: %s\n", err.message);
        exit(1);
    }
    split = split.len ? split : STR("all");
    group_count(group_of(split, ""), row, &f);
    if (lang.len)
        group_count(group_of(split, language), row, &f);
    const json_t *said = json_object_get(row, "sensitive");
    if (said && wrong && str_is(split, wrong) && json_is_true(said) != (f.categories != 0))
        wrong_print(row, &f);
    arena_free(a);
}

static void file_count(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    struct error err;
    if (!f) {
        fprintf(stderr, "judge_score: cannot read %s\n", path);
        exit(1);
    }
    for (ssize_t n; (n = getline(&line, &capacity, f)) > 0;) {
        json_t *row;
        if (json_read(str_trim((struct str){line, (size_t)n}), &row, &err)) {
            fprintf(stderr, "judge_score: %s: %s\n", path, err.message);
            exit(1);
        }
        row_count(row);
        json_decref(row);
    }
    free(line);
    fclose(f);
}

static double share(int part, int whole)
{
    return whole ? (double)part / whole : 1;
}

static double f1(double recall, double precision)
{
    return recall + precision > 0 ? 2 * recall * precision / (recall + precision) : 0;
}

static void spans_print(const char *type, const struct spans *s)
{
    printf(" %s F1 %.3f exact %.3f overlapping", type,
        f1(share(s->exact, s->wanted), share(s->exact, s->given)),
        f1(share(s->overlap, s->wanted), share(s->right, s->given)));
}

static void group_print(const struct group *g)
{
    printf("%-12s", g->name);
    if (g->right + g->missing + g->clean > 0)
        printf(" recall %.3f precision %.3f (%d missed, %d extra)", share(g->right, g->right + g->missing),
            share(g->right, g->right + g->extra), g->missing, g->extra);
    for (size_t k = 0; k < CATEGORIES; k++)
        if (g->wanted[k] > 0)
            printf(" %s %.2f/%.2f", router_category_name(1u << k), share(g->any[k], g->wanted[k]),
                share(g->itself[k], g->wanted[k]));
    for (size_t i = 0; i < SPANS; i++)
        if (g->spans[i].wanted > 0)
            spans_print(span_types[i], &g->spans[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    int at = 1;
    if (argc > 2 && strcmp(argv[1], "--wrong") == 0) {
        wrong = argv[2];
        at = 3;
    }
    if (at == argc) {
        fprintf(stderr, "usage: judge_score [--wrong SPLIT] FILE.jsonl...\n");
        return 1;
    }
    for (; at < argc; at++)
        file_count(argv[at]);
    for (size_t i = 0; i < n_groups; i++)
        group_print(&groups[i]);
    return 0;
}
