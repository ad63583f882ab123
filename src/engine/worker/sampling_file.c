/* How the model's file, or what stands beside it, wants tokens drawn, where a request does not say. */
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "chat/chat_sampling.h"
#include "engine/worker/session_inner.h"

/* The keys' last parts, where they differ from the names in requests; general.sampling.sequence (another
 * order of the stages) is not followed. */
static const struct {
    const char *key, *name;
} keys[] = {{"temp", "temperature"}, {"top_k", "top_k"}, {"top_p", "top_p"}, {"min_p", "min_p"},
    {"xtc_probability", "xtc_probability"}, {"xtc_threshold", "xtc_threshold"},
    {"penalty_last_n", "repeat_last_n"}, {"penalty_repeat", "repeat_penalty"}, {"mirostat", "mirostat"},
    {"mirostat_tau", "mirostat_tau"}, {"mirostat_eta", "mirostat_eta"}};

/* NaN: it is no number. */
static double number_of(const struct gguf_pair *pair)
{
    switch (pair->type) {
    case GGUF_UINT8:
    case GGUF_UINT16:
    case GGUF_UINT32:
    case GGUF_UINT64:
        return (double)pair->u;
    case GGUF_INT8:
    case GGUF_INT16:
    case GGUF_INT32:
    case GGUF_INT64:
        return (double)pair->i;
    case GGUF_FLOAT32:
    case GGUF_FLOAT64:
        return pair->f;
    default:
        return NAN;
    }
}

static bool field_known(const char *name)
{
    for (size_t i = 0; i < chat_sampling_n_fields(); i++)
        if (strcmp(chat_sampling_fields[i].name, name) == 0)
            return true;
    return false;
}

static bool stops_read(const json_t *list, struct session *s)
{
    if (!json_is_array(list) || json_array_size(list) > LIMIT_STOPS)
        return false;
    s->stops_arena = arena_create(MIB);
    s->stops = arena_alloc(s->stops_arena, (json_array_size(list) + 1) * sizeof *s->stops);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const struct str stop = json_str(json_array_get(list, i));
        if (stop.len > 0)
            s->stops[s->n_stops++] = arena_copy(s->stops_arena, stop);
    }
    return true;
}

/* (What is no matter of sampling, Ollama's num_ctx and others, is passed over.) */
static void beside_read(const json_t *beside, struct session *s)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)beside, key, value)
    {
        bool good = strcmp(key, "stop") == 0
                        ? stops_read(value, s)
                        : !field_known(key) || (json_is_number(value) && chat_sampling_set(&s->sampling, key,
                                                                             json_number_value(value)));
        if (!good)
            log_warn("session", "'%s' beside the model's file cannot be true: it is left out", key);
    }
}

void session_sampling_read(const struct gguf *g, const json_t *beside, struct session *s)
{
    struct chat_sampling of_file;
    chat_sampling_init(&s->sampling);
    chat_sampling_init(&of_file);
    beside_read(beside, s);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[64];
        snprintf(key, sizeof key, "general.sampling.%s", keys[i].key);
        const struct gguf_pair *pair = gguf_find(g, key);
        if (pair && !chat_sampling_set(&of_file, keys[i].name, number_of(pair)))
            log_warn("session", "the model file's %s cannot be true: it is left out", key);
    }
    chat_sampling_fill(&s->sampling, &of_file);
}
