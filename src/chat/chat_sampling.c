#include "chat/chat_sampling.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/limits.h"

#define REAL(member, least, most, idle)                                                                      \
    {                                                                                                        \
#member, false, least, most, 0, idle, offsetof(struct chat_sampling, member)                         \
    }
#define WHOLE(member, least, most, all, idle)                                                                \
    {                                                                                                        \
#member, true, least, most, all, idle, offsetof(struct chat_sampling, member)                        \
    }

const struct chat_sampling_field chat_sampling_fields[] = {
    REAL(temperature, 0, 100, NAN),
    WHOLE(top_k, -1, INT32_MAX, 0, 0),
    REAL(top_p, 0, 1, 1),
    REAL(min_p, 0, 1, 0),
    REAL(typical_p, 0, 1, 1),
    REAL(top_n_sigma, -1, 100, -1),
    REAL(xtc_probability, 0, 1, 0),
    REAL(xtc_threshold, 0, 1, NAN),
    REAL(dynatemp_range, 0, 100, 0),
    REAL(dynatemp_exponent, 0, 100, NAN),
    REAL(repeat_penalty, 0.01, 100, 1),
    WHOLE(repeat_last_n, -1, INT32_MAX, CHAT_ALL, 0),
    REAL(presence_penalty, -100, 100, 0),
    REAL(frequency_penalty, -100, 100, 0),
    REAL(dry_multiplier, 0, 100, 0),
    REAL(dry_base, 0, 100, NAN),
    WHOLE(dry_allowed_length, 0, INT32_MAX, 0, NAN),
    WHOLE(dry_penalty_last_n, -1, INT32_MAX, CHAT_ALL, 0),
    WHOLE(mirostat, 0, 2, 0, 0),
    REAL(mirostat_tau, 0, 100, NAN),
    REAL(mirostat_eta, 0, 1, NAN),
    REAL(adaptive_target, -1, 1, -1),
    REAL(adaptive_decay, 0, 0.99, NAN),
    WHOLE(min_keep, 0, INT32_MAX, 0, 0),
    WHOLE(min_tokens, 0, INT32_MAX, 0, 0),
};

/* Numbers that only say how a stage works ask for nothing where the stage is off. */
static const struct {
    const char *name, *of;
} details[] = {{"xtc_threshold", "xtc_probability"}, {"dynatemp_exponent", "dynatemp_range"},
    {"dry_base", "dry_multiplier"}, {"dry_allowed_length", "dry_multiplier"},
    {"dry_penalty_last_n", "dry_multiplier"}, {"mirostat_tau", "mirostat"}, {"mirostat_eta", "mirostat"},
    {"adaptive_decay", "adaptive_target"}};

size_t chat_sampling_n_fields(void)
{
    return sizeof chat_sampling_fields / sizeof *chat_sampling_fields;
}

static double *real_at(struct chat_sampling *s, const struct chat_sampling_field *f)
{
    return (double *)(void *)((char *)s + f->offset);
}

static int64_t *whole_at(struct chat_sampling *s, const struct chat_sampling_field *f)
{
    return (int64_t *)(void *)((char *)s + f->offset);
}

/* NaN: unset. */
static double value_of(const struct chat_sampling *s, const struct chat_sampling_field *f)
{
    const void *at = (const char *)s + f->offset;
    if (!f->whole)
        return *(const double *)at;
    int64_t whole = *(const int64_t *)at;
    return whole < 0 ? NAN : (double)whole;
}

void chat_sampling_init(struct chat_sampling *s)
{
    *s = (struct chat_sampling){0};
    for (size_t i = 0; i < chat_sampling_n_fields(); i++) {
        const struct chat_sampling_field *f = &chat_sampling_fields[i];
        if (f->whole)
            *whole_at(s, f) = -1;
        else
            *real_at(s, f) = NAN;
    }
}

/* ---- Reading ---- */

static const struct chat_sampling_field *field_find(const char *name)
{
    for (size_t i = 0; i < chat_sampling_n_fields(); i++)
        if (*chat_sampling_fields[i].name == *name && strcmp(chat_sampling_fields[i].name, name) == 0)
            return &chat_sampling_fields[i];
    return NULL;
}

static int field_read(
    const json_t *o, const struct chat_sampling_field *f, struct chat_sampling *s, struct error *err)
{
    if (!f->whole)
        return json_get_double(o, f->name, *real_at(s, f), f->least, f->most, real_at(s, f), err);
    int64_t value, unset = INT64_MIN;
    int rc = json_get_int(o, f->name, unset, (int64_t)f->least, (int64_t)f->most, &value, err);
    if (rc == 0 && value != unset)
        *whole_at(s, f) = value < 0 ? (int64_t)f->all : value;
    return rc;
}

static int breakers_read(struct arena *a, const json_t *list, struct chat_sampling *s, struct error *err)
{
    if (!list || json_is_null(list))
        return 0;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > LIMIT_BREAKERS)
        return error_set(
            err, ERROR_INVALID, "'dry_sequence_breakers' must be a list of at most %d texts", LIMIT_BREAKERS);
    struct str *breakers = arena_alloc(a, (n + 1) * sizeof *breakers);
    for (size_t i = 0; i < n; i++) {
        breakers[i] = json_str(json_array_get(list, i));
        if (breakers[i].len == 0 || breakers[i].len > LIMIT_BREAKER)
            return error_set(err, ERROR_INVALID, "dry_sequence_breakers[%zu] must be a text of 1 to %d bytes",
                i, LIMIT_BREAKER);
    }
    s->dry_breakers = breakers;
    s->n_dry_breakers = n;
    s->has_dry_breakers = true;
    return 0;
}

/* `which` is a token's id, as a number or the text of one, or a text to be made less or more likely. */
static int bias_read(
    const json_t *which, struct str key, const json_t *value, struct chat_bias *out, struct error *err)
{
    *out = (struct chat_bias){.token = -1, .text = STR_NONE};
    if (json_is_integer(which))
        out->token = json_integer_value(which);
    else if (!str_to_int64(key, &out->token))
        out->text = key;
    out->bias = json_is_false(value) ? -INFINITY : json_number_value(value);
    bool named = out->text.data ? key.len > 0 && key.len <= LIMIT_TOKEN : out->token >= 0;
    if (!named || (!json_is_false(value) && !json_is_number(value)))
        return error_set(err, ERROR_INVALID,
            "'logit_bias' must give tokens a bias: {\"id\": -100..100} or [[id, -100..100]]");
    if (!json_is_false(value) && !(out->bias >= -100 && out->bias <= 100))
        return error_set(err, ERROR_INVALID, "'logit_bias' must be between -100 and 100, or false");
    return 0;
}

static int biases_read(struct arena *a, const json_t *from, struct chat_sampling *s, struct error *err)
{
    const char *key;
    json_t *value;
    int rc = 0;
    if (!from || json_is_null(from))
        return 0;
    size_t n = json_is_object(from) ? json_object_size(from) : json_array_size(from), count = 0;
    if (!json_is_object(from) && !json_is_array(from))
        return error_set(err, ERROR_INVALID, "'logit_bias' must be an object or a list");
    if (n > LIMIT_BIASES)
        return error_set(
            err, ERROR_INVALID, "'logit_bias' has %zu tokens: at most %d are allowed", n, LIMIT_BIASES);
    struct chat_bias *list = arena_alloc(a, (n + 1) * sizeof *list);
    json_object_foreach((json_t *)(uintptr_t)from, key, value)
    {
        if (rc == 0)
            rc = bias_read(NULL, arena_copy(a, str_from(key)), value, &list[count++], err);
    }
    for (size_t i = 0; i < json_array_size(from) && rc == 0; i++) {
        const json_t *pair = json_array_get(from, i), *which = json_array_get(pair, 0);
        rc = bias_read(which, json_str(which), json_array_get(pair, 1), &list[count++], err);
    }
    s->logit_bias = list;
    s->n_logit_bias = rc ? 0 : n;
    return rc;
}

int chat_sampling_read(struct arena *a, const json_t *object, struct chat_sampling *s, struct error *err)
{
    int rc = 0;
    const char *key;
    json_t *value;
    /* Requests have few members, and there are many fields. */
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        const struct chat_sampling_field *f = rc == 0 ? field_find(key) : NULL;
        rc = f ? field_read(object, f, s, err) : rc;
    }
    if (rc == 0)
        rc = json_get_int(object, "seed", s->seed, INT64_MIN, INT64_MAX, &s->seed, err);
    s->has_seed = s->has_seed || json_is_integer(json_object_get(object, "seed"));
    if (rc == 0)
        rc = json_get_bool(object, "ignore_eos", s->ignore_eos, &s->ignore_eos, err);
    if (rc == 0)
        rc = breakers_read(a, json_object_get(object, "dry_sequence_breakers"), s, err);
    return rc ? rc : biases_read(a, json_object_get(object, "logit_bias"), s, err);
}

bool chat_sampling_set(struct chat_sampling *s, const char *name, double value)
{
    const struct chat_sampling_field *f = field_find(name);
    if (!f || !(value >= f->least && value <= f->most))
        return false;
    if (f->whole)
        *whole_at(s, f) = value < 0 ? (int64_t)f->all : (int64_t)value;
    else
        *real_at(s, f) = value;
    return true;
}

void chat_sampling_fill(struct chat_sampling *s, const struct chat_sampling *defaults)
{
    struct chat_sampling from = *defaults;
    for (size_t i = 0; i < chat_sampling_n_fields(); i++) {
        const struct chat_sampling_field *f = &chat_sampling_fields[i];
        if (!isnan(value_of(s, f)))
            continue;
        if (f->whole)
            *whole_at(s, f) = *whole_at(&from, f);
        else
            *real_at(s, f) = *real_at(&from, f);
    }
}

/* ---- Writing ---- */

static void lists_write(const struct chat_sampling *s, struct json_writer *w)
{
    if (s->has_dry_breakers) {
        json_key(w, "dry_sequence_breakers");
        json_array_begin(w);
        for (size_t i = 0; i < s->n_dry_breakers; i++)
            json_write_str(w, s->dry_breakers[i]);
        json_array_end(w);
    }
    if (s->n_logit_bias == 0)
        return;
    json_key(w, "logit_bias");
    json_array_begin(w);
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        const struct chat_bias *b = &s->logit_bias[i];
        json_array_begin(w);
        if (b->text.data)
            json_write_str(w, b->text);
        else
            json_write_int(w, b->token);
        if (isfinite(b->bias))
            json_write_double(w, b->bias);
        else
            json_write_bool(w, false);
        json_array_end(w);
    }
    json_array_end(w);
}

void chat_sampling_write(const struct chat_sampling *s, struct json_writer *w)
{
    for (size_t i = 0; i < chat_sampling_n_fields(); i++) {
        const struct chat_sampling_field *f = &chat_sampling_fields[i];
        double value = value_of(s, f);
        if (isnan(value) || isinf(value))
            continue;
        json_key(w, f->name);
        if (!f->whole)
            json_write_double(w, value);
        else
            json_write_int(w, f->all > 0 && value >= f->all ? -1 : (int64_t)value);
    }
    if (s->has_seed)
        json_member_int(w, "seed", s->seed);
    if (s->ignore_eos)
        json_member_bool(w, "ignore_eos", true);
    lists_write(s, w);
}

int chat_effort_read(struct str effort, size_t *out, struct error *err)
{
    static const char *const efforts[CHAT_EFFORTS] = {
        "none", "minimal", "low", "medium", "high", "xhigh", "max"};
    for (*out = 0; *out < CHAT_EFFORTS; ++*out)
        if (str_is(effort, efforts[*out]))
            return 0;
    return error_set(
        err, ERROR_INVALID, "'reasoning_effort' must be none, minimal, low, medium, high, xhigh or max");
}

void chat_stops_write(struct json_writer *w, const char *key, const struct chat_request *r)
{
    if (r->n_stops == 0)
        return;
    json_key(w, key);
    json_array_begin(w);
    for (size_t i = 0; i < r->n_stops; i++)
        json_write_str(w, r->stops[i]);
    json_array_end(w);
}

/* ---- Asking ---- */

static bool asks(const struct chat_sampling *s, const char *name)
{
    for (size_t i = 0; i < sizeof details / sizeof *details; i++)
        if (strcmp(details[i].name, name) == 0)
            return asks(s, details[i].of);
    for (size_t i = 0; i < chat_sampling_n_fields(); i++) {
        const struct chat_sampling_field *f = &chat_sampling_fields[i];
        double value = value_of(s, f);
        if (strcmp(f->name, name) == 0)
            return !isnan(value) && !(value <= f->idle && value >= f->idle);
    }
    return false;
}

const char *chat_sampling_beyond(const struct chat_sampling *s, const char *const *known)
{
    for (size_t i = 0; i < chat_sampling_n_fields(); i++) {
        const char *name = chat_sampling_fields[i].name;
        if (!isnan(value_of(s, &chat_sampling_fields[i])) && !str_among(str_from(name), known) &&
            asks(s, name))
            return name;
    }
    if (s->ignore_eos && !str_among(STR("ignore_eos"), known))
        return "ignore_eos";
    if (s->n_dry_breakers > 0 && !str_among(STR("dry_sequence_breakers"), known) && asks(s, "dry_multiplier"))
        return "dry_sequence_breakers";
    return s->n_logit_bias > 0 && !str_among(STR("logit_bias"), known) ? "logit_bias" : NULL;
}
