/* A dialect: how one family of providers wants to be asked and how it answers. All of it pure; remote.c does
 * the sending. */
#ifndef WEIR_PROVIDER_DIALECT_H
#define WEIR_PROVIDER_DIALECT_H

#include "provider/answer.h"
#include "provider/aws_sign.h"
#include "provider/provider.h"
#include "provider/server.h"

enum { PROVIDER_HEADERS_MAX = 32, PROVIDER_SIGNATURE_MAX = AWS_HEADERS_MAX };

/* Fills at most PROVIDER_HEADERS_MAX, gives how many; texts live in `a`. */
typedef size_t provider_headers_fn(
    struct arena *a, const struct provider *p, const struct chat_request *r, struct egress_header *out);

struct provider_dialect {
    /* ERROR_UNSUPPORTED names what a request asks for that this dialect cannot say. */
    int (*supports)(const struct provider_model *m, const struct chat_request *r, struct error *err);
    /* The body; checks with `supports` first. `r->stream`: how the answer is asked for, whatever the client
     * wants. */
    int (*encode)(
        const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err);
    /* Appended to the target's base_url; text made for it lives in `a`. */
    struct str (*path)(struct arena *a, const struct provider_model *m, const struct chat_request *r);
    provider_headers_fn *headers;
    provider_event *event;
    /* Further headers that depend on all of the request: at most PROVIDER_SIGNATURE_MAX; NULL: none. */
    size_t (*sign)(struct arena *a, const struct provider *p, const struct egress_request *request,
        struct egress_header *out);
    bool whole; /* can be asked for the answer at once */
    /* How many texts it embeds in one call (several.c makes several); NULL: any number. */
    size_t (*at_once)(const struct provider_model *m);
    /* Does it continue a bare prompt? NULL, false: it is sent one as what the user says. */
    bool (*continues)(const struct provider_model *m);
};

extern const struct provider_dialect provider_dialect_openai, provider_dialect_anthropic,
    provider_dialect_gemini, provider_dialect_ollama, provider_dialect_bedrock;
extern const struct provider_dialect provider_embed_openai, provider_embed_gemini, provider_embed_ollama,
    provider_embed_bedrock, provider_rerank_openai;

int provider_openai_encode(const struct provider_model *m, const struct chat_request *r, struct buf *out,
    struct error *err) MUST_USE;
provider_event provider_openai_event;
/* "/chat/completions" as the model's server has it; what carries its key, whatever is asked (NULL is
 * allowed). */
struct str provider_openai_path(struct arena *a, const struct provider_model *m, const char *what);
provider_headers_fn provider_openai_headers;
/* Whose form of the shape it is. */
const struct provider_server *provider_server_of(const struct provider_model *m);
int provider_anthropic_encode(const struct provider_model *m, const struct chat_request *r, struct buf *out,
    struct error *err) MUST_USE;
provider_event provider_anthropic_event;
int provider_gemini_encode(const struct provider_model *m, const struct chat_request *r, struct buf *out,
    struct error *err) MUST_USE;
provider_event provider_gemini_event;
/* "/v1beta/models/NAME" and `method`, as the base_url and the name want it. */
struct str provider_gemini_path(struct arena *a, const struct provider_model *m, const char *method);
provider_headers_fn provider_gemini_headers; /* likewise */
provider_event provider_ollama_event;
int provider_bedrock_encode(const struct provider_model *m, const struct chat_request *r, struct buf *out,
    struct error *err) MUST_USE;
provider_event provider_bedrock_event;

/* ---- remote.c: a call over egress ---- */

struct provider {
    struct arena *arena; /* holds the provider itself */
    const struct provider_ops *ops;
    struct str name, kind;
    struct egress_target *target; /* NULL for "local" */
    char *api_key;
    size_t api_key_len;
    const struct provider_server *server; /* of OpenAI's shape; else NULL */
    struct str api_version;               /* Azure's */
    struct str region;                    /* Amazon's */
    struct aws_credentials credentials;
    int64_t answer_timeout_ms;
    struct egress_header *headers; /* that go with every request */
    size_t n_headers;
};
struct str provider_key(const struct provider *p);

/* Both by the kind's dialect for what is asked. */
int provider_remote_supports(
    const struct provider_model *m, const struct chat_request *r, struct error *err) MUST_USE;
int provider_remote_start(
    const struct provider_start *s, struct provider_call **out, struct error *err) MUST_USE;
void provider_remote_pause(struct provider_call *c, bool paused);
void provider_remote_close(struct provider_call *c);

#define PROVIDER_REMOTE_CALLS                                                                                \
    .supports = provider_remote_supports, .start = provider_remote_start, .pause = provider_remote_pause,    \
    .close = provider_remote_close

/* ---- local_ask.c: what the embedded engine is asked question by question ---- */
int provider_local_ask_start(
    const struct provider_start *s, struct provider_call **out, struct error *err) MUST_USE;

extern const struct provider_ops provider_local_ops, provider_openai_ops, provider_anthropic_ops,
    provider_gemini_ops, provider_ollama_ops, provider_bedrock_ops;

/* ---- dialect.c ---- */

/* `object` has `key` with a value that asks for something: not null, false, 0, "", [] or {}. */
bool provider_asks(const json_t *object, const char *key);
/* What some servers of OpenAI's shape give with a message or a call and want back with it; others do without.
 */
extern const char *const provider_kept[];
/* Content-Type, Accept (in this order) and, with a key, one that carries it; gives how many. */
size_t provider_headers(struct arena *a, const char *key_header, const char *key_prefix, struct str api_key,
    struct egress_header *out);

/* For shapes unlike OpenAI's: refuses a bare prompt, members, sampling, tools and names that they have no
 * word for, so that nothing a client asked for is dropped in silence. Let through are only members that
 * cannot change the answer, and `honoured` ones (NULL last), which the dialect looks at itself. `vendor` is
 * who the message says it is. */
int provider_check_request(const char *vendor, enum chat_shape shape, const char *const *honoured,
    const struct chat_request *r, struct error *err) MUST_USE;
/* The same but for the prompt and the sampling, for those who look at these themselves. */
int provider_check_members(const char *vendor, enum chat_shape shape, const char *const *honoured,
    const struct chat_request *r, struct error *err) MUST_USE;
/* Refuses what only a target of the client's shape can honour, unless this one is of that shape. */
int provider_check_native(enum chat_shape shape, const struct chat_request *r, struct error *err) MUST_USE;
int provider_refuse(const char *vendor, const char *what, struct error *err);

/* What a request asks for beside its messages: the first of n, logprobs, ... and the sampling's members that
 * is not among `known` (ends with NULL); NULL: none. */
const char *provider_beyond(const struct chat_request *r, const char *const *known);

/* "data:image/png;base64,AAAA" --> media type and data; false for any other URL. */
bool provider_data_url(struct str url, struct str *type, struct str *data);
/* A tool call's arguments as the text of a JSON object, "{}" for none; ERROR_INVALID names the call. */
int provider_arguments(const struct chat_tool_call *call, struct str *out, struct error *err) MUST_USE;
/* How a body that has been written ended: an error where `out` could not hold it. */
int provider_written(const struct buf *out, struct error *err) MUST_USE;
bool provider_is_instruction(const struct chat_message *m); /* of the system or the developer */
bool provider_has_content(const struct chat_message *m);    /* says anything at all */

#endif
