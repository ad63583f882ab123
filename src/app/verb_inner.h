/* What verbs share. */
#ifndef WEIR_APP_VERB_INNER_H
#define WEIR_APP_VERB_INNER_H

#include <stdio.h>

#include "app/verbs.h"
#include "base/buf.h"
#include "chat/chat.h"
#include "router/router.h"

/* Options of run and chat. */
struct verb_sampling {
    const char *temperature, *top_p, *top_k, *min_p, *repeat_penalty, *presence_penalty, *frequency_penalty,
        *seed, *max_tokens, *stop, *more, *context, *threads, *config, *lora;
    bool memory_unchecked, context_shift;
};
#define VERB_SAMPLING_OPTIONS(s)                                                                             \
    {"temperature", &(s)->temperature, NULL}, {"top-p", &(s)->top_p, NULL}, {"top-k", &(s)->top_k, NULL},    \
        {"min-p", &(s)->min_p, NULL}, {"repeat-penalty", &(s)->repeat_penalty, NULL},                        \
        {"presence-penalty", &(s)->presence_penalty, NULL},                                                  \
        {"frequency-penalty", &(s)->frequency_penalty, NULL}, {"seed", &(s)->seed, NULL},                    \
        {"max-tokens", &(s)->max_tokens, NULL}, {"sampling", &(s)->more, NULL},                              \
        {"context-shift", NULL, &(s)->context_shift}, {"stop", &(s)->stop, NULL},                            \
        {"lora", &(s)->lora, NULL}, {"memory-unchecked", NULL, &(s)->memory_unchecked},                      \
        {"context", &(s)->context, NULL}, {"threads", &(s)->threads, NULL},                                  \
    {                                                                                                        \
        "config", &(s)->config, NULL                                                                         \
    }
#define VERB_SAMPLING_HELP                                                                                      \
    "  --temperature T        0 is greedy; default 0.8\n"                                                       \
    "  --top-k N --top-p P --min-p P\n"                                                                         \
    "                         which tokens may be drawn; defaults 40, 0.95, 0.05\n"                             \
    "  --repeat-penalty R --presence-penalty P --frequency-penalty P\n"                                         \
    "                         against repetition; defaults 1, 0, 0\n"                                           \
    "  --sampling NAME=N,...  any other number of the sampler, by the name that requests give it: typical_p,\n" \
    "                         top_n_sigma, xtc_probability, dry_multiplier, mirostat, dynatemp_range, ...\n"    \
    "  --seed S               the same seed, the same answer\n"                                                 \
    "  --max-tokens N         the answer's length at most\n"                                                    \
    "  --stop TEXT            ends the answer before this text\n"                                               \
    "  --context-shift        forget the oldest half when the context is full, instead of ending there\n"       \
    "  --context N            tokens that prompt and answer may take together\n"                                \
    "  --threads N            default: the machine's cores\n"                                                   \
    "  --lora FILE[:SCALE]    a LoRA adapter; several are parted by commas\n"                                   \
    "  --memory-unchecked     load the model though it does not seem to fit; then it is slow\n"                 \
    "  --config FILE          where models have names; default weir.yaml\n"

/* The request's sampling, limits and stop; false after having said what is wrong. */
bool verb_sampling_read(const struct verb_sampling *s, struct chat_request *r);
/* --threads and --context; 0 where not given. */
bool verb_size_read(const char *name, const char *text, int *out);

/* The rules of a configuration, for its `owner`; NULL where no file is named. */
int verb_policy(const char *config, struct router_policy **out, struct error *err) MUST_USE;

/* All of a stream, up to `most` bytes. */
int verb_read_all(FILE *from, size_t most, struct buf *out, struct error *err) MUST_USE;
/* Text that a model or a file brought: on a terminal, characters that control it are written as '?'. Returns
 * 0, or ERROR_IO when it cannot be written. */
int verb_text_write(FILE *to, struct str text);

#endif
