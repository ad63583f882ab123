/* How the model's file wants tokens drawn, where a request does not say. */
#include <math.h>

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

void session_sampling_read(const struct gguf *g, struct chat_sampling *out)
{
    chat_sampling_init(out);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[64];
        snprintf(key, sizeof key, "general.sampling.%s", keys[i].key);
        const struct gguf_pair *pair = gguf_find(g, key);
        if (pair && !chat_sampling_set(out, keys[i].name, number_of(pair)))
            log_warn("session", "the model file's %s cannot be true: it is left out", key);
    }
}
