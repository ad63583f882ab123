#include "govern/limits.h"

#include <string.h>

#include "base/limits.h"
#include "govern/rate.h"

#define NANO INT64_C(1000000000)
#define USD_MOST (NANO * NANO)

struct store_limits limits_none(struct str kind, struct str name)
{
    return (struct store_limits){
        .kind = kind, .name = name, .usd = {-1, -1, -1, -1}, .requests = -1, .tokens = -1, .parallel = -1};
}

/* ---- Money ---- */

bool limits_usd_read(struct str text, int64_t *nano_usd)
{
    int64_t value = 0, unit = NANO;
    bool point = false, digits = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9' || (!point && value > USD_MOST / 10))
            return false;
        digits = true;
        if (point) {
            unit /= 10;
            value += (c - '0') * unit;
        } else {
            value = value * 10 + (c - '0') * NANO;
        }
        if (unit == 0)
            return false;
    }
    *nano_usd = value;
    return digits && value <= USD_MOST;
}

static int budget_add(struct str amount, struct str period, struct store_limits *l, struct error *err)
{
    enum period p = PERIOD_TOTAL;
    int64_t nano_usd;
    if (!period_from(period, &p))
        return error_set(err, ERROR_INVALID,
            "a budget is for a day, week, month or total, not for '" STR_FMT "'",
            STR_ARG(str_slice(period, 0, 40)));
    if (!limits_usd_read(amount, &nano_usd))
        return error_set(err, ERROR_INVALID,
            "a budget is US dollars, like 12.50 or 10/day,100/month, or none; not '" STR_FMT "'",
            STR_ARG(str_slice(amount, 0, 40)));
    if (l->usd[p] >= 0)
        return error_set(err, ERROR_INVALID, "there are two budgets for the same time (%s)", period_name(p));
    l->usd[p] = nano_usd;
    return 0;
}

static void budgets_clear(struct store_limits *l)
{
    for (int p = 0; p < PERIODS; p++)
        l->usd[p] = -1;
}

int limits_budget_read(struct str text, struct store_limits *l, struct error *err)
{
    struct str part;
    int rc = 0;
    budgets_clear(l);
    if (str_is(str_trim(text), "none"))
        return 0;
    if (str_trim(text).len == 0)
        return budget_add(text, STR("total"), l, err);
    while (rc == 0 && str_split(&text, ',', &part)) {
        size_t slash = str_find_char(part, '/');
        struct str amount = str_trim(str_slice(part, 0, slash == SIZE_MAX ? part.len : slash));
        struct str period = slash == SIZE_MAX ? STR("total") : str_trim(str_slice(part, slash + 1, part.len));
        rc = budget_add(amount, period, l, err);
    }
    return rc;
}

/* Cents, or as many places as it takes. */
static void usd_append(struct buf *out, int64_t nano_usd)
{
    int places = 9;
    for (; places > 2 && nano_usd % 10 == 0; places--)
        nano_usd /= 10;
    buf_append_decimal(out, nano_usd, places);
}

void limits_budget_write(const struct store_limits *l, struct buf *out)
{
    static const enum period order[] = {PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIOD_TOTAL};
    const char *glue = "";
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (l->usd[order[i]] < 0)
            continue;
        buf_append_text(out, glue);
        usd_append(out, l->usd[order[i]]);
        buf_appendf(out, "/%s", period_name(order[i]));
        glue = ",";
    }
    if (!*glue)
        buf_append_char(out, '-');
}

/* ---- The others ---- */

static int count_check(const char *what, int64_t n, struct error *err)
{
    return n >= 1 && n <= RATE_MOST
               ? 0
               : error_set(err, ERROR_INVALID, "'%s' wants a number from 1 to %d, or none", what, RATE_MOST);
}

int limits_count_read(const char *what, struct str text, int64_t *out, struct error *err)
{
    if (str_is(text, "none")) {
        *out = -1;
        return 0;
    }
    return count_check(what, str_to_int64(text, out) ? *out : 0, err);
}

static int name_check(struct str name, struct error *err)
{
    bool good = name.len > 0 && name.len <= LIMIT_MODEL_NAME && str_utf8_valid(name);
    for (size_t i = 0; good && i < name.len; i++)
        good = (unsigned char)name.data[i] >= ' ' && name.data[i] != ',' && name.data[i] != 0x7f;
    return good ? 0
                : error_set(err, ERROR_INVALID,
                      "the models that may be asked for are names like auto,gpt-4*, or all");
}

int limits_models_read(struct str text, struct store_limits *l, struct error *err)
{
    struct str rest = text, name;
    int rc =
        text.len > LIMITS_MODELS_MOST
            ? error_set(err, ERROR_LIMIT, "the models' names are longer than %d bytes", LIMITS_MODELS_MOST)
            : 0;
    l->models = STR_NONE;
    if (str_is(text, "all"))
        return 0;
    if (rc == 0 && text.len == 0)
        rc = name_check(text, err);
    while (rc == 0 && str_split(&rest, ',', &name))
        rc = name_check(str_trim(name), err);
    if (rc == 0)
        l->models = text;
    return rc;
}

bool limits_model_allowed(struct str models, struct str model)
{
    struct str pattern;
    if (models.len == 0)
        return true;
    while (str_split(&models, ',', &pattern)) {
        pattern = str_trim(pattern);
        bool open = pattern.len > 0 && pattern.data[pattern.len - 1] == '*';
        if (open ? str_starts(model, str_slice(pattern, 0, pattern.len - 1)) : str_eq(model, pattern))
            return true;
    }
    return false;
}

int limits_team_check(struct str name, struct error *err)
{
    bool good = name.len > 0 && name.len < 64 && str_utf8_valid(name);
    for (size_t i = 0; good && i < name.len; i++)
        good = (unsigned char)name.data[i] >= ' ' && name.data[i] != 0x7f;
    return good ? 0
                : error_set(err, ERROR_INVALID,
                      "a team's name is 1 to 63 bytes of text without control characters");
}

/* ---- JSON ---- */

static bool json_usd(const json_t *value, int64_t *nano_usd)
{
    struct buf text;
    struct json_writer w;
    if (json_is_string(value))
        return limits_usd_read(json_str(value), nano_usd);
    if (!json_is_number(value))
        return false;
    /* As it is written, so that 0.1 is a tenth. */
    buf_init(&text, 64);
    json_writer_init(&w, &text);
    json_write_value(&w, value);
    bool good = limits_usd_read(buf_str(&text), nano_usd);
    buf_free(&text);
    return good;
}

static int json_budget(const json_t *value, struct store_limits *l, struct error *err)
{
    const char *key;
    json_t *amount;
    if (json_is_string(value))
        return limits_budget_read(json_str(value), l, err);
    budgets_clear(l);
    if (json_is_null(value))
        return 0;
    if (json_is_number(value) && json_usd(value, &l->usd[PERIOD_TOTAL]))
        return 0;
    if (!json_is_object(value))
        return error_set(err, ERROR_INVALID,
            "'budget' is an amount, \"10/day,100/month\" or {\"day\": 10, \"month\": 100}");
    json_object_foreach((json_t *)(uintptr_t)value, key, amount)
    {
        enum period p;
        if (!period_from(str_from(key), &p))
            return error_set(
                err, ERROR_INVALID, "'budget' has no '%.40s': there are day, week, month and total", key);
        if (!json_is_null(amount) && !json_usd(amount, &l->usd[p]))
            return error_set(err, ERROR_INVALID, "'budget.%s' wants US dollars, like 12.50", key);
    }
    return 0;
}

static int json_count(const json_t *object, const char *key, int64_t *out, struct error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!value)
        return 0;
    *out = json_is_integer(value) ? json_integer_value(value) : -1;
    return json_is_null(value) ? 0 : count_check(key, *out, err);
}

static int json_models(struct arena *a, const json_t *value, struct store_limits *l, struct error *err)
{
    struct buf text;
    l->models = STR_NONE;
    if (json_is_null(value))
        return 0;
    if (json_array_size(value) == 0) /* an empty one could mean none as well */
        return error_set(err, ERROR_INVALID, "'models' wants a list of names, or null: all");
    if (json_array_size(value) == 1 && str_is(json_str(json_array_get(value, 0)), "all"))
        return 0; /* as on the command line */
    buf_init(&text, LIMITS_MODELS_MOST + 1);
    int rc = 0;
    for (size_t i = 0; i < json_array_size(value) && rc == 0; i++) {
        struct str name = json_str(json_array_get(value, i));
        rc = name_check(name, err);
        buf_appendf(&text, "%s" STR_FMT, i ? "," : "", STR_ARG(name));
    }
    if (rc == 0 && text.failed)
        rc = error_set(err, ERROR_LIMIT, "the models' names are longer than %d bytes", LIMITS_MODELS_MOST);
    if (rc == 0)
        l->models = arena_copy(a, buf_str(&text));
    buf_free(&text);
    return rc;
}

int limits_json_read(struct arena *a, const json_t *object, struct store_limits *l, struct error *err)
{
    const json_t *budget = json_object_get(object, "budget"), *models = json_object_get(object, "models");
    int rc = budget ? json_budget(budget, l, err) : 0;
    if (rc == 0)
        rc = json_count(object, "requests", &l->requests, err);
    if (rc == 0)
        rc = json_count(object, "tokens", &l->tokens, err);
    if (rc == 0)
        rc = json_count(object, "parallel", &l->parallel, err);
    return rc || !models ? rc : json_models(a, models, l, err);
}

void limits_usd_write(struct json_writer *w, const char *key, int64_t nano_usd)
{
    struct buf text;
    json_key(w, key);
    if (nano_usd < 0) {
        json_write_null(w);
        return;
    }
    buf_init(&text, 64);
    usd_append(&text, nano_usd);
    json_write_raw(w, buf_str(&text));
    buf_free(&text);
}

static void count_write(struct json_writer *w, const char *key, int64_t n)
{
    json_key(w, key);
    if (n < 0)
        json_write_null(w);
    else
        json_write_int(w, n);
}

void limits_json_write(const struct store_limits *l, struct json_writer *w)
{
    struct str rest = l->models, name;
    count_write(w, "requests", l->requests);
    count_write(w, "tokens", l->tokens);
    count_write(w, "parallel", l->parallel);
    json_key(w, "models");
    if (l->models.len == 0) {
        json_write_null(w);
        return;
    }
    json_array_begin(w);
    while (str_split(&rest, ',', &name))
        json_write_str(w, str_trim(name));
    json_array_end(w);
}
