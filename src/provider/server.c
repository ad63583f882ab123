#include "provider/server.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- Lists that several rows share ---- */

static const char *const four[] = {"temperature", "top_p", "presence_penalty", "frequency_penalty", NULL};
static const char *const five[] = {
    "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", NULL};
static const char *const open_weight[] = {"temperature", "top_p", "top_k", "min_p", "repeat_penalty",
    "presence_penalty", "frequency_penalty", "logit_bias", NULL};
static const char *const served[] = {"temperature", "top_p", "top_k", "min_p", "repeat_penalty",
    "presence_penalty", "frequency_penalty", "logit_bias", "ignore_eos", "min_tokens", NULL};
/* What only OpenAI keeps for its own use. */
static const char *const bookkeeping[] = {"store", "metadata", "service_tier", "user", "safety_identifier",
    "prompt_cache_key", "prompt_cache_retention", NULL};

#define SYSTEM PROVIDER_SYSTEM_ONLY
#define NO_OPTIONS PROVIDER_NO_STREAM_OPTIONS
#define OURS "reasoning_content"
#define EMBEDS PROVIDER_EMBEDS
#define PACKS (PROVIDER_EMBEDS | PROVIDER_PACKS)
#define RERANKS PROVIDER_RERANKS
#define KEEPS PROVIDER_KEEPS

/* ---- The table. Sources: each server's own reference of its API, as of November 2026. ---- */

static const struct provider_server plain = {
    .kind = "openai", .flags = EMBEDS | RERANKS | KEEPS, .reasoning = OURS};

static const struct provider_server servers[] = {
    {"openai", "api.openai.com", "https://api.openai.com/v1", PACKS, .sampling = five},
    {"azure", "openai.azure.com", NULL, PROVIDER_DEPLOYMENTS | PACKS, .max_tokens = "max_completion_tokens",
        .key_header = "api-key", .sampling = five},
    {"mistral", "api.mistral.ai", "https://api.mistral.ai/v1",
        SYSTEM | NO_OPTIONS | PROVIDER_SHORT_IDS | EMBEDS, .max_tokens = "max_tokens",
        .dimensions = "output_dimension", .seed = "random_seed", .required = "any", .sampling = four,
        .refuses = NAMES("logprobs", "name"), .omits = bookkeeping},
    {"deepseek", "api.deepseek.com", "https://api.deepseek.com", SYSTEM, .max_tokens = "max_tokens",
        .reasoning = OURS, .sampling = four, .refuses = NAMES("n", "seed"), .omits = bookkeeping},
    {"groq", "api.groq.com", "https://api.groq.com/openai/v1", SYSTEM, .max_tokens = "max_completion_tokens",
        .sampling = NAMES("temperature", "top_p"), .refuses = NAMES("n", "logprobs", "name", "prompt")},
    {"xai", "api.x.ai", "https://api.x.ai/v1", SYSTEM, .max_tokens = "max_tokens", .reasoning = OURS,
        .sampling = four},
    {"openrouter", "openrouter.ai", "https://openrouter.ai/api/v1", EMBEDS | KEEPS,
        .max_tokens = "max_tokens", .repeat_penalty = "repetition_penalty", .reasoning = "reasoning",
        .sampling = open_weight},
    {"together", "api.together.xyz", "https://api.together.xyz/v1", SYSTEM | EMBEDS | RERANKS,
        .max_tokens = "max_tokens", .repeat_penalty = "repetition_penalty", .reasoning = "reasoning",
        .sampling = open_weight},
    {"fireworks", "api.fireworks.ai", "https://api.fireworks.ai/inference/v1", SYSTEM | EMBEDS | RERANKS,
        .max_tokens = "max_tokens", .repeat_penalty = "repetition_penalty", .reasoning = OURS,
        .sampling = open_weight},
    {"cerebras", "api.cerebras.ai", "https://api.cerebras.ai/v1", SYSTEM,
        .max_tokens = "max_completion_tokens", .reasoning = "reasoning",
        .sampling = NAMES("temperature", "top_p"), .refuses = NAMES("n", "parallel_tool_calls"),
        .omits = bookkeeping},
    {"perplexity", "api.perplexity.ai", "https://api.perplexity.ai", SYSTEM | NO_OPTIONS,
        .max_tokens = "max_tokens",
        .sampling = NAMES("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty"),
        .refuses = NAMES("n", "logprobs", "seed", "stop", "tools", "prompt"), .omits = bookkeeping},
    {"gemini-openai", "generativelanguage.googleapis.com",
        "https://generativelanguage.googleapis.com/v1beta/openai", SYSTEM | EMBEDS | KEEPS,
        .max_tokens = "max_tokens", .sampling = NAMES("temperature", "top_p"),
        .refuses = NAMES("seed", "logprobs", "parallel_tool_calls", "prompt"), .omits = bookkeeping},
    {"vllm", NULL, "http://127.0.0.1:8000/v1", SYSTEM | PACKS | RERANKS, .max_tokens = "max_tokens",
        .repeat_penalty = "repetition_penalty", .reasoning = "reasoning", .sampling = served},
    {"sglang", NULL, "http://127.0.0.1:30000/v1", SYSTEM | EMBEDS, .max_tokens = "max_tokens",
        .repeat_penalty = "repetition_penalty", .reasoning = OURS, .sampling = served},
    {"llamacpp", NULL, "http://127.0.0.1:8080/v1", SYSTEM | PACKS | RERANKS, .max_tokens = "max_tokens",
        .reasoning = OURS},
    {"lmstudio", NULL, "http://127.0.0.1:1234/v1", SYSTEM | EMBEDS, .max_tokens = "max_tokens",
        .reasoning = OURS, .sampling = open_weight},
    {"jan", NULL, "http://127.0.0.1:1337/v1", SYSTEM | EMBEDS, .max_tokens = "max_tokens", .reasoning = OURS},
    {"ollama-openai", NULL, "http://127.0.0.1:11434/v1", SYSTEM | EMBEDS, .max_tokens = "max_tokens",
        .reasoning = "reasoning", .sampling = four,
        .refuses = NAMES("n", "tool_choice", "parallel_tool_calls", "name")},
    /* Whose models embed and rank, and nothing else. */
    {"jina", "api.jina.ai", "https://api.jina.ai/v1", .flags = EMBEDS | RERANKS},
    {"voyage", "api.voyageai.com", "https://api.voyageai.com/v1", .flags = EMBEDS | RERANKS,
        .dimensions = "output_dimension", .top_n = "top_k"},
};

enum { N_SERVERS = sizeof servers / sizeof *servers };

const struct provider_server *provider_server_named(struct str kind)
{
    for (size_t i = 0; i < N_SERVERS; i++)
        if (str_is(kind, servers[i].kind))
            return &servers[i];
    return NULL;
}

const struct provider_server *provider_server_at(struct str host)
{
    host = str_slice(host, 0, str_find_char(host, ':'));
    for (size_t i = 0; i < N_SERVERS; i++) {
        struct str theirs = servers[i].host ? str_from(servers[i].host) : STR_NONE;
        bool ends = theirs.len > 0 && str_ends(host, theirs);
        if (ends && (host.len == theirs.len || host.data[host.len - theirs.len - 1] == '.'))
            return &servers[i];
    }
    return &plain;
}

static char kinds[512];

static void kinds_write(void)
{
    size_t used = 0;
    for (size_t i = 1; i < N_SERVERS && used < sizeof kinds;
         i++) /* from the second: OpenAI is a kind itself */
        used +=
            (size_t)snprintf(kinds + used, sizeof kinds - used, "%s%s", i > 1 ? ", " : "", servers[i].kind);
}

const char *provider_server_kinds(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, kinds_write);
    return kinds;
}

bool provider_server_has(const char *const *list, const char *name)
{
    for (; list && *list; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}
