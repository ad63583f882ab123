/* The one vendor-neutral form of a request: what every api reads into and every provider writes from. Mostly
 * a conversation; or texts to embed, or documents to rank, which go the same way.
 *
 *   api (in) -> chat_request -> provider          provider -> chat_event ... -> chat_sink -> api (out)
 *
 * Everything a request points at lives in its arena. */
#ifndef WEIR_CHAT_CHAT_H
#define WEIR_CHAT_CHAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"
#include "json/json.h"

enum chat_role { CHAT_SYSTEM, CHAT_DEVELOPER, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL };

enum chat_part_kind {
    CHAT_PART_TEXT,
    CHAT_PART_IMAGE, /* `url` (https: or data:) */
    CHAT_PART_AUDIO, /* `data` base64, `format` */
    CHAT_PART_FILE,  /* `url` (https: or data:), `text`: its name */
    CHAT_PART_OTHER  /* only `raw` */
};

struct chat_part {
    enum chat_part_kind kind;
    struct str text;   /* text; for OTHER empty */
    struct str url;    /* image, file */
    struct str data;   /* audio, base64 */
    struct str format; /* audio format, image detail */
    const json_t *raw; /* the part as it came, for a target of the same shape; NULL for plain text */
    bool raw_is_rest;  /* an image or file in Anthropic's shape: of it `raw` is what it has besides */
};

struct chat_tool_call {
    struct str id, name;
    struct str arguments; /* JSON text, as the model wrote it */
    const json_t *raw;    /* the call as it came, for a target of the same shape; NULL: no more than this. Of
                             OpenAI's: what it has besides */
};

/* A piece of reasoning that a client sends back with what its maker wants to see again. */
struct chat_thought {
    struct str text, signature;
    struct str data; /* instead of both: reasoning that only its maker reads */
};

struct chat_message {
    enum chat_role role;
    struct str name;         /* optional */
    struct chat_part *parts; /* none for an assistant message that only calls tools */
    size_t n_parts;
    struct chat_tool_call *tool_calls;
    size_t n_tool_calls;
    struct str tool_call_id;       /* CHAT_TOOL: which call this answers */
    bool failed;                   /* CHAT_TOOL: the call failed: the first part says so */
    struct str reasoning;          /* assistant: reasoning_content, where a client sends it back */
    struct chat_thought *thoughts; /* assistant: the same with its signatures */
    size_t n_thoughts;
    struct str order; /* assistant: how its pieces followed one another, a letter each: r(easoning), p(art)
                         and c(all); empty: in that order */
    const json_t *vendor; /* members of the message that are not named here, or NULL. Of a tool's result in
                             Anthropic's shape: those of its block */
};

struct chat_tool {
    struct str name, description;
    const json_t *parameters; /* JSON Schema; NULL: no arguments */
    const json_t *raw;        /* the tool as it came */
    struct str written;       /* `raw` as JSON, for all who want it (chat_tool_write); may be empty */
    bool builtin; /* no function of the client's but the provider's own tool, which only `raw` describes */
};

enum chat_tool_choice {
    CHAT_TOOLS_UNSET,
    CHAT_TOOLS_AUTO,
    CHAT_TOOLS_NONE,
    CHAT_TOOLS_REQUIRED,
    CHAT_TOOLS_NAMED
};

/* How much likelier or less likely a token is made: added to its logit. */
struct chat_bias {
    int64_t token;   /* of the target's vocabulary; -1: the tokens of `text` */
    struct str text; /* STR_NONE where `token` says which */
    double bias;     /* -100..100; minus infinity: never */
};

/* How tokens are drawn. NaN or negative: unset, the target's own default applies: for the embedded engine
 * what the model's file says (general.sampling.*), else temperature 0.8, top_k 40, top_p 0.95, min_p 0.05,
 * and every other stage off. chat_sampling.h has the table of names, ranges and which value switches a stage
 * off. */
struct chat_sampling {
    double temperature; /* 0 is greedy */
    double top_p, min_p, typical_p;
    double top_n_sigma;
    int64_t top_k; /* 0: all */
    double xtc_probability, xtc_threshold;
    double dynatemp_range, dynatemp_exponent;
    double repeat_penalty, presence_penalty, frequency_penalty;
    int64_t repeat_last_n; /* tokens looked back at; CHAT_ALL: the whole context */
    double dry_multiplier, dry_base;
    int64_t dry_allowed_length, dry_penalty_last_n; /* the latter as repeat_last_n */
    const struct str *dry_breakers;
    size_t n_dry_breakers;
    bool has_dry_breakers; /* none may be given, too */
    int64_t mirostat;      /* 0, 1, 2 */
    double mirostat_tau, mirostat_eta;
    double adaptive_target, adaptive_decay;
    int64_t min_keep;   /* filters leave so many tokens at least */
    int64_t min_tokens; /* no end of the answer before */
    bool ignore_eos;    /* no end of the answer at all */
    const struct chat_bias *logit_bias;
    size_t n_logit_bias;
    bool has_seed;
    int64_t seed;
};
enum { CHAT_ALL = INT32_MAX };

/* In whose words a client asked. What came (`raw`, `native`, `headers`) is sent only to a target of that
 * shape; the others are told what the fields say. */
enum chat_shape {
    CHAT_SHAPE_OPENAI,
    CHAT_SHAPE_ANTHROPIC,
    CHAT_SHAPE_GEMINI,
    CHAT_SHAPE_OLLAMA,
    CHAT_SHAPE_BEDROCK
};

struct chat_header {
    struct str name, value;
};

/* What is asked for. EMBED and RERANK have `inputs` in place of messages, and of the settings only those that
 * stand with them, `user`, `vendor`, `native` and keep_alive. */
enum chat_kind { CHAT_KIND_ANSWER, CHAT_KIND_EMBED, CHAT_KIND_RERANK, CHAT_KINDS };

struct chat_input {
    struct str text;
    const int32_t *ids; /* instead: tokens of the target's vocabulary */
    size_t n_ids;
};

/* The first tokens are drawn once more, at a temperature of their own: never, where a slot of the engine is
 * free, or in any case. */
enum chat_again { CHAT_AGAIN_NEVER, CHAT_AGAIN_WHERE_FREE, CHAT_AGAIN_ALWAYS };

struct chat_request {
    struct arena *arena;
    enum chat_shape shape;
    enum chat_kind kind;
    struct str model; /* as the client named it */
    struct chat_message *messages;
    size_t n_messages;
    struct str prompt; /* instead of messages: text continued as it stands, without the chat template */
    bool has_prompt;
    const int32_t *prompt_ids; /* beside has_prompt, instead of `prompt`: tokens of the target's vocabulary */
    size_t n_prompt_ids;
    struct str suffix; /* beside has_prompt: what is to follow the answer (fill in the middle) */
    bool echo;         /* beside has_prompt: the answer begins with the prompt */
    struct chat_tool *tools;
    size_t n_tools;
    enum chat_tool_choice tool_choice;
    struct str tool_choice_name; /* CHAT_TOOLS_NAMED */
    int parallel_tool_calls;     /* -1 unset, 0, 1 */
    struct chat_sampling sampling;
    int64_t max_tokens;   /* -1 unset */
    int32_t n; /* choices, 1..CHAT_CHOICES_MAX; each has a seed of its own: seed, seed + 1, ... Of several
                  prompts: of all together, 1..CHAT_ANSWERS_MAX, those of the first one first */
    bool logprobs;        /* TEXT comes with the tokens that it is made of */
    int32_t top_logprobs; /* and so many alternatives for each, 0..CHAT_TOP_LOGPROBS_MAX */
    int32_t measure; /* of so many tokens at the beginning MEASURE comes too, where the engine answers; 0: of
                        none */
    bool measure_prompt;           /* and one of the prompt's end, before them */
    enum chat_again measure_again; /* and one of how far a second answer agrees with them */
    bool context_shift; /* a full context drops its oldest tokens but the first n_keep, and goes on */
    int64_t n_keep;     /* -1 unset */
    bool truncation;    /* of a conversation that the context has no room for the oldest turns are left out */
    struct str *stops;
    size_t n_stops;
    bool has_keep_alive; /* how long a model of our own stays loaded after this; negative: for ever */
    int64_t keep_alive_ms;
    bool count_only; /* nothing is to be answered: USAGE tells the tokens of the prompt, then STOP; max_tokens
                        is 0 */
    bool stream;
    bool include_usage; /* stream_options.include_usage */
    bool obfuscation; /* stream_options.include_obfuscation: how long a piece is does not show in its event's
                         length */
    uint64_t asker;   /* whose turn it is where many wait for a model of our own: a hash; 0: nobody's */
    uint64_t scope;   /* with whom it may share what such a model has computed of a prompt: a hash likewise */
    struct str user;  /* the client's own name for its end user */
    const json_t *vendor;   /* top-level members that have no field here, in OpenAI's words; NULL if none.
                               Passed on to a target of that shape, refused where they cannot be honoured */
    const json_t *native;   /* of another shape: the members as they came for which a target of the same shape
                               has words of its own, in place of `vendor`; NULL if none */
    struct str only_native; /* the first of them that nothing here says: other targets refuse it by name */
    struct chat_input *inputs; /* EMBED: a vector of each; RERANK: the documents, all texts; ANSWER, beside
                                  has_prompt: several prompts instead of `prompt` */
    size_t n_inputs;
    int64_t dimensions; /* EMBED: how many values a vector has; 0: as many as the model makes */
    bool unscaled;    /* EMBED: as the model makes them, else with a length of 1 where the target does that */
    bool packed;      /* EMBED: the client wants base64 of little-endian floats */
    struct str query; /* RERANK: what the documents are held against */
    int64_t top_n;    /* RERANK: the best so many; 0: all */
    bool return_documents; /* RERANK: with their texts */
    const json_t *asked;   /* the body as it came, for an answer that says some of it again; never sent */
    struct chat_header *headers; /* of the client's request, for a target of the same shape */
    size_t n_headers;
};

enum { CHAT_CHOICES_MAX = 16, CHAT_ANSWERS_MAX = 128, CHAT_TOP_LOGPROBS_MAX = 20, CHAT_MEASURE_MAX = 256 };

void chat_sampling_init(struct chat_sampling *s); /* everything unset */
/* A zeroed request in its own arena with every number unset; one choice. */
struct chat_request *chat_request_create(struct arena *arena);
const char *chat_role_name(enum chat_role role);
bool chat_role_find(struct str name, enum chat_role *out); /* false: no role's name */

/* Every piece of a request that a person or program wrote, for detectors: message texts, names, tool calls'
 * names and arguments, tool results, tool definitions, image and other parts' text, prompt, suffix, inputs,
 * query, vendor members. What token ids spell no detector can see: only a target inside may be sent them.
 * Calls visit(ctx, where, text) for each; `where` is like "messages[2].content" and lives in the arena,
 * `text` only during the call. A non-zero return stops the walk and is returned. */
int chat_request_visit(
    const struct chat_request *r, int (*visit)(void *ctx, struct str where, struct str text), void *ctx);
/* The same, but for a call of tool(ctx, index) in the place of each tool's texts; and those. */
int chat_request_visit_tools(const struct chat_request *r,
    int (*visit)(void *ctx, struct str where, struct str text), int (*tool)(void *ctx, size_t index),
    void *ctx);
void chat_tool_write(struct json_writer *w, const struct chat_tool *t); /* `raw`; without, its parameters */
int chat_tool_visit(const struct chat_request *r, size_t index,
    int (*visit)(void *ctx, struct str where, struct str text), void *ctx);
/* "messages[12].content" of "messages[" and "].content", for what is called for each message. */
struct str chat_place(struct arena *a, const char *list, size_t index, const char *member);

/* ---- chat_rewrite.c ---- */
/* Gives in *out what is to stand for `text`: the same span where nothing changes, else memory of the
 * request's arena, in which `text` is, too. */
typedef int chat_rewrite(void *ctx, struct str text, struct str *out, struct error *err);
/* A copy in the same arena with every text that chat_request_visit shows put through `rewrite`; what does not
 * change is shared. A tool call's arguments are rewritten string by string where they are JSON. Numbers in
 * trees must stay numbers: else ERROR_UNSUPPORTED. `asked` is left out, token ids stay as they are. */
int chat_request_rewrite(const struct chat_request *r, chat_rewrite *rewrite, void *ctx,
    struct chat_request **out, struct error *err) MUST_USE;

/* ---- What comes back ----
 *
 *   START (TEXT | REASONING | SIGNATURE | TOOL_CALL | NATIVE | USAGE | STOP)* STOP      or, at any point, ...
 * ERROR
 *
 * Of a request to embed: START EMBEDDING* USAGE STOP, one for each input in their order. To rerank: START
 * SCORE* USAGE STOP, in any order, at least of the best top_n.
 *
 * STOP comes once for each choice (of a request for one: once), the last of them comes last; ERROR once and
 * last. The choices' events may be mixed. USAGE is of all choices together; it may come more than once, the
 * last one counts. Spans live only during the call to the sink. */
enum chat_event_kind {
    CHAT_EVENT_START,
    CHAT_EVENT_TEXT,
    CHAT_EVENT_REASONING,
    CHAT_EVENT_MEASURE,   /* before the piece that holds the token: how sure the model was of it */
    CHAT_EVENT_TOOL_CALL, /* a first piece has id and name; later ones of the same index only arguments */
    CHAT_EVENT_SIGNATURE, /* ends a piece of reasoning; what its maker wants back with it */
    CHAT_EVENT_NATIVE,    /* what only a client of the provider's own shape understands */
    CHAT_EVENT_EMBEDDING, /* the vector of an input */
    CHAT_EVENT_SCORE,     /* how well a document answers the query */
    CHAT_EVENT_USAGE,
    CHAT_EVENT_STOP,
    CHAT_EVENT_ERROR
};

enum chat_stop {
    CHAT_STOP_END,
    CHAT_STOP_LENGTH,
    CHAT_STOP_TOOLS,
    CHAT_STOP_FILTER,
    CHAT_STOP_STRING, /* one of the request's `stops` came */
    CHAT_STOP_PAUSE   /* the provider's own tools want another turn: send the answer back to go on */
};

struct chat_usage {
    int64_t input_tokens;  /* all of the prompt, cached ones included; -1 unknown */
    int64_t cached_tokens; /* of those, read from a prompt cache */
    int64_t output_tokens; /* reasoning included; -1 unknown */
    int64_t reasoning_tokens;
    int64_t written_tokens;                 /* of the input's, written to a prompt cache */
    int64_t written_long_tokens;            /* of those, to be kept for an hour: dearer */
    int64_t load_ns, prefill_ns, decode_ns; /* the embedded engine's own timings; 0: not told */
    int64_t drafted_tokens, drawn_tokens;   /* the embedded engine's: drafted, and of these drawn */
    /* Of what the request's `prediction` says: tokens that the answer has, and those it has not. */
    int64_t accepted_prediction_tokens, rejected_prediction_tokens;
    int64_t audio_input_tokens, audio_output_tokens; /* of those above, sound; 0: none, or not told */
    /* 0 or 1, and no padding: usages are compared as bytes. */
    int32_t goes_on;   /* output_tokens was told before the output: what came may be more */
    int32_t estimated; /* some of it by what was sent and what came */
};

/* Why a target failed; decides fallback and the HTTP status the client sees. */
struct chat_failure {
    int code;       /* enum error_code */
    int status;     /* the provider's HTTP status, or the one it meant; 0 if there was none */
    bool retryable; /* another target may do better: connect, time-out, 429, 5xx, a prompt over the context */
    int64_t retry_after_ms; /* -1 unknown */
    struct str message;     /* for the client; never holds a key */
    struct str type;        /* the provider's own error type or code, may be empty */
};

/* Of an error of our own (enum error_code), not a provider's. */
struct chat_failure chat_failure_of(int code, struct str message);

/* A token, how likely the model thought it (natural logarithm, of its unmodified distribution), and which
 * ones it thought likeliest. */
struct chat_token {
    struct str text;  /* U+FFFD for what is no whole character */
    struct str bytes; /* STR_NONE: not told */
    double logprob;
    const struct chat_token *top; /* likeliest first, without `top` of their own */
    size_t n_top;
};

/* What of an answer only a client of the provider's own shape understands. */
enum chat_native {
    CHAT_NATIVE_BLOCK,  /* Anthropic: a whole block */
    CHAT_NATIVE_PIECE,  /* Anthropic: a citation of the block before it */
    CHAT_NATIVE_CHOICE, /* OpenAI: members of a choice's message, or pieces of them */
    CHAT_NATIVE_ANSWER, /* members of the answer: those that are told last count */
    CHAT_NATIVE_USAGE   /* members of its usage, likewise */
};

enum chat_measured { CHAT_MEASURED_TOKEN, CHAT_MEASURED_PROMPT, CHAT_MEASURED_AGAIN };

struct chat_event {
    enum chat_event_kind kind;
    uint32_t choice; /* TEXT REASONING TOOL_CALL STOP: which of the request's n answers */
    bool at_once;    /* it came with the one before: no time is between them */
    uint32_t drawn;  /* TEXT REASONING TOOL_CALL, of the engine: the tokens that were drawn since the last of
                        these */
    const struct chat_token
        *tokens; /* TEXT, with `logprobs`: those that have become text since the last ones */
    size_t n_tokens;
    bool refusal; /* TEXT: why the model does not answer, which OpenAI's shapes tell apart */
    union {
        struct {
            struct str id;                        /* the provider's id of the answer, may be empty */
            struct str model;                     /* the model as the provider names it, may be empty */
            int64_t prompt_tokens, cached_tokens; /* of the engine, which counts before it answers; else 0 */
        } start;
        struct {
            enum chat_measured of;
            double logprob; /* of the token that was drawn, before any sampler; of a grammar, among what fits
                               it. PROMPT: the mean of its last tokens */
            double entropy; /* of what it was drawn from; both in nats */
            double agreement; /* AGAIN: 0 to 1; NaN: there was no second answer */
        } measure;
        struct str text; /* TEXT and REASONING: whole UTF-8 characters; may be empty beside tokens */
        struct {
            uint32_t index; /* 0.. in order of appearance */
            struct str id, name, arguments;
            struct str more;         /* of a first piece: further members of the call, without braces, ... */
            enum chat_shape more_of; /* ... in the words of this shape */
        } tool_call;
        struct {
            struct str text; /* of the reasoning before it; empty where it has none */
            struct str data; /* instead of any text: reasoning that only its maker reads */
        } signature;
        struct {
            enum chat_shape shape;
            enum chat_native what;
            struct str
                json; /* in the words of that shape: an object; of members only what stands in its braces */
        } native;
        struct {
            size_t index; /* of the input */
            const float *values;
            size_t n_values;
        } embedding;
        struct {
            size_t index;
            double score;
        } score;
        struct chat_usage usage;
        enum chat_stop stop;
        struct chat_failure failure;
    };
    struct str stop_string; /* STOP by CHAT_STOP_STRING: which, where the provider says it */
};

/* A copy whose spans live in the arena; false: no memory for it there. NATIVE, EMBEDDING, SCORE and ERROR,
 * which nobody holds back, are not copied. */
bool chat_event_copy(struct arena *a, const struct chat_event *e, struct chat_event *out) MUST_USE;

struct chat_sink {
    void (*event)(void *ctx, const struct chat_event *event);
    void *ctx;
};

#endif
