/* What tokens cost. The table is data/prices.json, inside the program; it is read once. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "govern/govern.h"
#include "json/json.h"

EMBED(govern_prices_json, "data/prices.json");

enum { MAX_MODELS = 4096, MAX_NAME = 256 };

/*   names: "openai/gpt-4o" -> 3, "anthropic/claude-3-haiku-20240307" -> 44, "anthropic/claude-3-haiku" -> 44,
 * ... */
static struct {
    struct arena *arena;
    struct map names;
    struct govern_price prices[MAX_MODELS];
} table;

/* The table calls providers by their vendor; a kind is the shape of their API. */
static struct str vendor_of(struct str kind)
{
    if (str_is(kind, "gemini") || str_is(kind, "gemini-openai"))
        return STR("google");
    return str_is(kind, "azure") ? STR("openai") : kind;
}

/* "" where one is missing or they do not fit: that is in no table. */
static struct str name_join(struct str vendor, struct str model, char out[MAX_NAME])
{
    if (vendor.len == 0 || model.len == 0 || vendor.len + 1 + model.len > MAX_NAME)
        return STR_NONE;
    memcpy(out, vendor.data, vendor.len);
    out[vendor.len] = '/';
    memcpy(out + vendor.len + 1, model.data, model.len);
    return (struct str){out, vendor.len + 1 + model.len};
}

/* Does the end of `s` look like `pattern`, where '#' is a digit? */
static bool ends_like(struct str s, const char *pattern)
{
    size_t n = strlen(pattern);
    if (s.len <= n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s.data[s.len - n + i];
        if (pattern[i] == '#' ? c < '0' || c > '9' : c != pattern[i])
            return false;
    }
    return true;
}

/* The model's name without its date or version; the same name where there is none. */
static struct str name_base(struct str model)
{
    static const char *const endings[] = {"-####-##-##", "-########", "-latest", "-0##"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_like(model, endings[i]))
            return str_slice(model, 0, model.len - strlen(endings[i]));
    return model;
}

/* The name that stands for the newest of a family whose table entry carries a date: Mistral's are "-YYMM". */
static struct str family_of(struct str vendor, struct str model)
{
    if (str_is(vendor, "mistral") && ends_like(model, "-####"))
        return str_slice(model, 0, model.len - 5);
    return name_base(model);
}

static int name_add(struct str vendor, struct str model, uint32_t index, struct error *err)
{
    char joined[MAX_NAME];
    bool added;
    struct str name = name_join(vendor, model, joined);
    if (name.len == 0)
        return error_set(err, ERROR_LIMIT, "a model's name is too long");
    return map_add(&table.names, arena_copy(table.arena, name), index, &added, err);
}

/* Nano-dollars per token; -1 where the table has none. */
static int price_read(const json_t *model, const char *key, int64_t *out, struct error *err)
{
    double usd_per_million;
    int rc = json_get_double(model, key, -1, -1, 1e6, &usd_per_million, err);
    if (rc == 0)
        *out = usd_per_million < 0 ? -1 : llround(usd_per_million * 1000);
    return rc;
}

static int model_read(const json_t *model, uint32_t index, struct error *err)
{
    struct govern_price *p = &table.prices[index];
    struct str vendor, id;
    int rc = json_get_str(model, "provider", &vendor, err);
    if (rc == 0)
        rc = json_get_str(model, "id", &id, err);
    if (rc == 0)
        rc = price_read(model, "input", &p->input, err);
    if (rc == 0)
        rc = price_read(model, "cached_input", &p->cached_input, err);
    if (rc == 0)
        rc = price_read(model, "cache_write", &p->cache_write, err);
    if (rc == 0)
        rc = price_read(model, "output", &p->output, err);
    /* Anthropic: 1.25 times the input for five minutes, which the table has, and twice for an hour. */
    p->cache_write_long = str_is(vendor, "anthropic") ? 2 * p->input : -1;
    if (rc == 0 && (p->input < 0 || p->output < 0))
        rc = error_set(err, ERROR_INVALID, "a model has no price");
    p->known = true;
    return rc ? rc : name_add(vendor, id, index, err);
}

/* Families come after all full names and newest first, so that they shadow nothing. */
static int families_add(const json_t *models, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < json_array_size(models) && rc == 0; i++) {
        const json_t *model = json_array_get(models, i);
        struct str vendor = json_text(model, "provider");
        struct str id = json_text(model, "id");
        rc = name_add(vendor, family_of(vendor, id), (uint32_t)i, err);
    }
    return rc;
}

static int table_read(struct error *err)
{
    struct str text = EMBEDDED(govern_prices_json);
    table.arena = arena_create(4 * MIB);
    json_t *root;
    int rc = map_init(&table.names, MAX_MODELS, err);
    if (rc == 0)
        rc = json_read(text, &root, err);
    if (rc)
        return rc;
    const json_t *models = json_object_get(root, "models");
    size_t n = json_array_size(models);
    if (n == 0 || n > MAX_MODELS)
        rc = error_set(err, ERROR_INVALID, "it holds %zu models", n);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = model_read(json_array_get(models, i), (uint32_t)i, err);
    if (rc == 0)
        rc = families_add(models, err);
    json_decref(root);
    return rc;
}

/* The table is part of the program: if it does not read, the program was built wrongly. */
static void table_load(void)
{
    struct error err;
    if (table_read(&err) == 0)
        return;
    log_error("govern", "data/prices.json does not read: %s", err.message);
    abort();
}

struct govern_price govern_price_find(struct str kind, struct str model)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, table_load);
    char joined[MAX_NAME], zero[MAX_NAME];
    struct str vendor = vendor_of(kind), base = name_base(model);
    uint32_t *at = map_find(&table.names, name_join(vendor, model, joined));
    if (!at)
        at = map_find(&table.names, name_join(vendor, base, joined));
    /* Anthropic's first of a generation: claude-sonnet-4-20250514 is claude-sonnet-4-0. */
    if (!at && base.len < model.len && base.len + 2 < MAX_NAME) {
        memcpy(zero, base.data, base.len);
        memcpy(zero + base.len, "-0", 2);
        at = map_find(&table.names, name_join(vendor, (struct str){zero, base.len + 2}, joined));
    }
    return at ? table.prices[*at] : (struct govern_price){.known = false};
}

/* Takes up to `asked` of the tokens that are left. */
static int64_t share(int64_t asked, int64_t *left)
{
    int64_t taken = asked < 0 ? 0 : asked > *left ? *left : asked;
    *left -= taken;
    return taken;
}

int64_t govern_price_cost(const struct govern_price *p, const struct chat_usage *u)
{
    if (!p->known || p->input < 0 || p->output < 0 || u->input_tokens < 0 || u->output_tokens < 0)
        return -1;
    int64_t fresh = u->input_tokens, cached = share(u->cached_tokens, &fresh);
    int64_t kept = share(u->written_long_tokens, &fresh);
    int64_t written = share(u->written_tokens - kept, &fresh);
    int64_t write_price = p->cache_write > 0 ? p->cache_write : p->input;
    const struct {
        int64_t tokens, price;
    } parts[] = {{fresh, p->input}, {cached, p->cached_input > 0 ? p->cached_input : p->input},
        {written, write_price}, {kept, p->cache_write_long > 0 ? p->cache_write_long : write_price},
        {u->output_tokens, p->output}};
    int64_t total = 0, part;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (__builtin_mul_overflow(parts[i].tokens, parts[i].price, &part) ||
            __builtin_add_overflow(total, part, &total))
            return -1;
    return total;
}
