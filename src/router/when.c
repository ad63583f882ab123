/* Conditions: from YAML to a tree. */
#include "router/policy.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "router/detect.h"

static const struct condition {
    const char *key;
    enum when_kind kind;
    enum when_fact fact;
} conditions[] = {
    {"sensitive", WHEN_BOOL, WHEN_SENSITIVE},
    {"categories", WHEN_CATEGORIES, WHEN_CATEGORY},
    {"entities", WHEN_WORDS, WHEN_ENTITY},
    {"complexity", WHEN_NUMBER, WHEN_COMPLEXITY},
    {"tokens", WHEN_NUMBER, WHEN_TOKENS},
    {"task", WHEN_WORDS, WHEN_TASK},
    {"images", WHEN_BOOL, WHEN_IMAGES},
    {"audio", WHEN_BOOL, WHEN_AUDIO},
    {"files", WHEN_BOOL, WHEN_FILES},
    {"tools", WHEN_BOOL, WHEN_TOOLS},
    {"language", WHEN_WORDS, WHEN_LANGUAGE},
    {"batch", WHEN_BOOL, WHEN_BATCH},
    {"key", WHEN_WORDS, WHEN_KEY},
    {"team", WHEN_WORDS, WHEN_TEAM},
    {"tag", WHEN_WORDS, WHEN_TAG},
    {"time", WHEN_TIME, WHEN_CLOCK},
    {"budget_left", WHEN_NUMBER, WHEN_BUDGET_LEFT},
    {"local_queue", WHEN_NUMBER, WHEN_LOCAL_QUEUE},
    {"latency_ms", WHEN_NUMBER, WHEN_LATENCY_MS},
    {"cost_usd", WHEN_NUMBER, WHEN_COST_USD},
    {"any", WHEN_ANY, WHEN_BATCH},
    {"not", WHEN_NOT, WHEN_BATCH},
};
enum { N_CONDITIONS = sizeof conditions / sizeof *conditions };

static struct when *when_new(struct arena *a, const struct condition *c)
{
    struct when *w = arena_new(a, struct when);
    w->kind = c->kind;
    w->fact = c->fact;
    w->cost = (int)c->fact;
    w->key = c->key;
    return w;
}

/* Puts `child` among its siblings, cheaper ones first, else in the order written. */
static void child_add(struct when *parent, struct when *child)
{
    struct when **at = &parent->first;
    while (*at && (*at)->cost <= child->cost)
        at = &(*at)->next;
    child->next = *at;
    *at = child;
    if (child->cost > parent->cost)
        parent->cost = child->cost;
}

/* One value, or a list of them: how many, and the first. */
static int values_of(
    const struct yaml_node *n, const struct yaml_node **first, size_t *count, struct error *err)
{
    *first = n->kind == YAML_LIST ? n->first : n;
    *count = n->kind == YAML_LIST ? n->count : 1;
    if (n->kind == YAML_MAP || *count == 0)
        return yaml_error(
            n, err, ERROR_INVALID, "'" STR_FMT "' wants a value or a list of values", STR_ARG(n->key));
    const struct yaml_node *v = *first;
    for (size_t i = 0; v && i < *count; i++, v = v->next)
        if (v->kind != YAML_SCALAR || v->value.len == 0)
            return yaml_error(v, err, ERROR_INVALID, "'" STR_FMT "' wants plain values", STR_ARG(n->key));
    return 0;
}

static int bool_compile(const struct yaml_node *n, struct when *w, struct error *err)
{
    if (n->kind != YAML_SCALAR || (!str_is(n->value, "true") && !str_is(n->value, "false")))
        return yaml_error(n, err, ERROR_INVALID, "'" STR_FMT "' is true or false", STR_ARG(n->key));
    w->expected = str_is(n->value, "true");
    return 0;
}

static bool comparison_read(struct str text, struct when *w)
{
    enum when_sign *sign = &w->number.sign;
    double *value = &w->number.value;
    bool *threshold = &w->number.threshold;
    static const struct {
        const char *text;
        enum when_sign sign;
    } signs[] = {{"<=", WHEN_LESS_EQUAL}, {">=", WHEN_GREATER_EQUAL}, {"==", WHEN_EQUAL},
        {"!=", WHEN_NOT_EQUAL}, {"<", WHEN_LESS}, {">", WHEN_GREATER}};
    text = str_trim(text);
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (str_starts(text, str_from(signs[i].text))) {
            *sign = signs[i].sign;
            text = str_trim(str_slice(text, strlen(signs[i].text), text.len));
            *threshold = w->fact == WHEN_COMPLEXITY && str_is(text, "threshold");
            w->number.share = w->fact == WHEN_BUDGET_LEFT && str_ends(text, STR("%"));
            if (w->number.share)
                text = str_trim(str_slice(text, 0, text.len - 1));
            if (*threshold || !str_to_double(text, value))
                return *threshold;
            *value = w->number.share ? *value / 100 : *value;
            return true;
        }
    return false;
}

/* ">= 0.6", or a list of such: all must hold. */
static int number_compile(struct arena *a, const struct yaml_node *n, struct when *w, struct error *err)
{
    const struct yaml_node *v;
    size_t count;
    int rc = values_of(n, &v, &count, err);
    if (rc)
        return rc;
    struct when group = *w;
    w->kind = WHEN_ALL;
    for (; count > 0; count--, v = v->next) {
        struct when *test = arena_new(a, struct when);
        *test = group;
        test->wants = arena_copy(a, v->value);
        if (!comparison_read(v->value, test))
            return yaml_error(v, err, ERROR_INVALID,
                "'" STR_FMT "' wants a comparison like \">= 0.6\" (one of < <= > >= == !=), not '" STR_FMT
                "'",
                STR_ARG(n->key), STR_ARG(v->value));
        child_add(w, test);
    }
    return 0;
}

static bool word_known(enum when_fact fact, struct str word)
{
    switch (fact) {
    case WHEN_TASK:
        return router_task_exists(word);
    case WHEN_LANGUAGE:
        return facts_language_exists(word);
    case WHEN_ENTITY:
        return detect_type_find(word) != NULL;
    default:
        return true;
    }
}

static int word_unknown(
    const struct yaml_node *n, const struct yaml_node *v, enum when_fact fact, struct error *err)
{
    enum { MOST = 400 };
    const char *known[MOST + 1];
    size_t count = 0;
    const struct detect_type *type;
    if (fact == WHEN_ENTITY)
        for (; count < MOST && (type = detect_type_at(count)) != NULL; count++)
            known[count] = type->name;
    known[count] = NULL;
    const char *near = yaml_nearest(v->value, fact == WHEN_ENTITY ? known
                                              : fact == WHEN_TASK ? facts_tasks
                                                                  : facts_languages);
    if (near)
        return yaml_error(v, err, ERROR_INVALID, "'" STR_FMT "' knows no '" STR_FMT "': did you mean '%s'?",
            STR_ARG(n->key), STR_ARG(v->value), near);
    return yaml_error(v, err, ERROR_INVALID, "'" STR_FMT "' knows no '" STR_FMT "': %s", STR_ARG(n->key),
        STR_ARG(v->value),
        fact == WHEN_ENTITY ? "no detector finds that type, so the rule would never match"
        : fact == WHEN_TASK
            ? "tasks are chat code math summarize extract classify translate rag agent embed rerank"
            : "languages are two-letter codes like en, de, fr, or other");
}

static int words_compile(struct arena *a, const struct yaml_node *n, struct when *w, struct error *err)
{
    const struct yaml_node *v;
    size_t count;
    int rc = values_of(n, &v, &count, err);
    if (rc)
        return rc;
    w->words.word = arena_alloc(a, count * sizeof *w->words.word);
    for (; w->words.n < count; v = v->next) {
        if (!word_known(w->fact, v->value))
            return word_unknown(n, v, w->fact, err);
        w->words.word[w->words.n++] = arena_copy(a, v->value);
    }
    return 0;
}

static int categories_compile(const struct yaml_node *n, struct when *w, struct error *err)
{
    const struct yaml_node *v;
    size_t count;
    int rc = values_of(n, &v, &count, err);
    for (; rc == 0 && count > 0; count--, v = v->next) {
        unsigned category = router_category_from(v->value);
        if (category == 0)
            return yaml_error(v, err, ERROR_INVALID,
                "no category '" STR_FMT "': there are PII PHI FINANCIAL SECRET LEGAL PROPRIETARY PERSONAL",
                STR_ARG(v->value));
        w->categories |= category;
    }
    return rc;
}

/* ---- time ---- */
static int day_of(struct str name)
{
    static const char *const days[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
    for (int i = 0; i < 7; i++)
        if (str_is_nocase(name, days[i]))
            return i;
    return -1;
}

/* "mon-fri", "sat,sun" */
static bool days_read(struct str text, unsigned *mask)
{
    struct str item;
    *mask = 0;
    while (str_split(&text, ',', &item)) {
        struct str from = item;
        size_t dash = str_find_char(item, '-');
        int first = day_of(dash == SIZE_MAX ? item : str_slice(from, 0, dash));
        int last = dash == SIZE_MAX ? first : day_of(str_slice(item, dash + 1, item.len));
        if (first < 0 || last < 0)
            return false;
        for (int day = first;; day = (day + 1) % 7) {
            *mask |= 1u << day;
            if (day == last)
                break;
        }
    }
    return *mask != 0;
}

static bool minutes_read(struct str text, int *minutes)
{
    int64_t hour, minute;
    if (text.len != 5 || text.data[2] != ':' || !str_to_int64(str_slice(text, 0, 2), &hour) ||
        !str_to_int64(str_slice(text, 3, 5), &minute) || hour < 0 || minute < 0 || minute > 59 ||
        hour * 60 + minute > 24 * 60)
        return false;
    *minutes = (int)(hour * 60 + minute);
    return true;
}

static bool span_read(struct str text, struct when_span *span)
{
    struct str word;
    bool hours = false, days = false;
    *span = (struct when_span){.days = 0x7F, .from = 0, .to = 24 * 60};
    while (str_split(&text, ' ', &word)) {
        if (word.len == 0)
            continue;
        if (str_is(word, "UTC") && !span->utc)
            span->utc = true;
        else if (!hours && word.len == 11 && word.data[5] == '-' &&
                 minutes_read(str_slice(word, 0, 5), &span->from) &&
                 minutes_read(str_slice(word, 6, 11), &span->to) && span->from != span->to)
            hours = true;
        else if (!days && days_read(word, &span->days))
            days = true;
        else
            return false;
    }
    return hours || days;
}

/* One span, or a list of them of which one must hold. */
static int time_compile(struct arena *a, const struct yaml_node *n, struct when *w, struct error *err)
{
    const struct yaml_node *v;
    size_t count;
    int rc = values_of(n, &v, &count, err);
    if (rc)
        return rc;
    w->kind = WHEN_ANY;
    for (; count > 0; count--, v = v->next) {
        struct when *test = arena_new(a, struct when);
        *test = (struct when){.kind = WHEN_TIME, .fact = WHEN_CLOCK, .cost = WHEN_CLOCK, .key = w->key};
        test->wants = arena_copy(a, v->value);
        if (!span_read(v->value, &test->span))
            return yaml_error(v, err, ERROR_INVALID,
                "'time' wants a span like \"22:00-06:00\", \"mon-fri 09:00-17:00\" or \"sat,sun UTC\", not "
                "'" STR_FMT "'",
                STR_ARG(v->value));
        child_add(w, test);
    }
    return 0;
}

/* `any:` is a list of maps. */
static int any_compile(struct arena *a, const struct yaml_node *n, struct when *w, struct error *err)
{
    if (n->kind != YAML_LIST || n->count == 0)
        return yaml_error(
            n, err, ERROR_INVALID, "'any' wants a list of conditions: [{sensitive: true}, {batch: true}]");
    for (const struct yaml_node *v = n->first; v; v = v->next) {
        struct when *child;
        int rc = when_compile(a, v, &child, err);
        if (rc)
            return rc;
        child_add(w, child);
    }
    return 0;
}

static int not_compile(struct arena *a, const struct yaml_node *n, struct when *w, struct error *err)
{
    struct when *child;
    int rc = when_compile(a, n, &child, err);
    if (rc == 0)
        child_add(w, child);
    return rc;
}

/* The values as written, for people. */
static struct str wants_of(struct arena *a, const struct yaml_node *n)
{
    struct str wants = n->kind == YAML_SCALAR ? arena_copy(a, n->value) : STR_NONE;
    for (const struct yaml_node *v = n->first; v && v->kind == YAML_SCALAR; v = v->next)
        wants = wants.len ? arena_printf(a, STR_FMT " or " STR_FMT, STR_ARG(wants), STR_ARG(v->value))
                          : arena_copy(a, v->value);
    return wants;
}

static int condition_compile(struct arena *a, const struct yaml_node *n, struct when *w, struct error *err)
{
    w->wants = wants_of(a, n);
    switch (w->kind) {
    case WHEN_BOOL:
        return bool_compile(n, w, err);
    case WHEN_NUMBER:
        return number_compile(a, n, w, err);
    case WHEN_WORDS:
        return words_compile(a, n, w, err);
    case WHEN_CATEGORIES:
        return categories_compile(n, w, err);
    case WHEN_TIME:
        return time_compile(a, n, w, err);
    case WHEN_ANY:
        return any_compile(a, n, w, err);
    default:
        return not_compile(a, n, w, err);
    }
}

/* Recursion is bounded: the YAML was read under LIMIT_JSON_DEPTH. */
int when_compile(struct arena *a, const struct yaml_node *map, struct when **out, struct error *err)
{
    const char *keys[N_CONDITIONS + 1] = {NULL};
    for (size_t i = 0; i < N_CONDITIONS; i++)
        keys[i] = conditions[i].key;
    int rc = yaml_check_keys(map, keys, "a condition", err);
    if (rc)
        return rc;
    if (map->count == 0)
        return yaml_error(
            map, err, ERROR_INVALID, "a condition with nothing in it: leave 'when' out for always");
    struct when *all = arena_new(a, struct when);
    all->kind = WHEN_ALL;
    for (const struct yaml_node *n = map->first; n; n = n->next)
        for (size_t i = 0; i < N_CONDITIONS; i++) {
            if (!str_is(n->key, conditions[i].key))
                continue;
            struct when *w = when_new(a, &conditions[i]);
            rc = condition_compile(a, n, w, err);
            if (rc)
                return rc;
            child_add(all, w);
        }
    *out = all;
    return 0;
}
