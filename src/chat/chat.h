/* The one vendor-neutral form of a conversation: what every api reads into and every provider writes from.
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
    CHAT_PART_OTHER  /* only `raw` */
};

struct chat_part {
    enum chat_part_kind kind;
    struct str text;   /* text; for OTHER empty */
    struct str url;    /* image */
    struct str data;   /* audio, base64 */
    struct str format; /* audio format, image detail */
    const json_t *raw; /* the part as it came, for a target of the same shape; NULL for plain text */
};

struct chat_tool_call {
    struct str id, name;
    struct str arguments; /* JSON text, as the model wrote it */
};

struct chat_message {
    enum chat_role role;
    struct str name;         /* optional */
    struct chat_part *parts; /* none for an assistant message that only calls tools */
    size_t n_parts;
    struct chat_tool_call *tool_calls;
    size_t n_tool_calls;
    struct str tool_call_id; /* CHAT_TOOL: which call this answers */
    struct str reasoning;    /* assistant: reasoning_content, where a client sends it back */
    const json_t *vendor;    /* members of the message that are not named here, or NULL */
};

struct chat_tool {
    struct str name, description;
    const json_t *parameters; /* JSON Schema; NULL: no arguments */
    const json_t *raw;        /* the tool as it came */
};

enum chat_tool_choice { CHAT_TOOLS_UNSET, CHAT_TOOLS_AUTO, CHAT_TOOLS_NONE, CHAT_TOOLS_REQUIRED, CHAT_TOOLS_NAMED };

/* NaN or negative: unset, the target's own default applies. The embedded engine's defaults: temperature 0.8,
 * top_k 40, top_p 0.95, min_p 0.05, repeat_penalty 1.0 over the last 64 tokens, the other penalties 0. */
struct chat_sampling {
    double temperature;       /* 0..2; 0 is greedy */
    double top_p;             /* 0..1 */
    double min_p;             /* 0..1 */
    int64_t top_k;            /* 0: all */
    double repeat_penalty;    /* 1: none */
    int64_t repeat_last_n;    /* tokens looked back at */
    double presence_penalty;  /* -2..2 */
    double frequency_penalty; /* -2..2 */
    bool has_seed;
    int64_t seed;
};

/* Whose words `raw`, `vendor` and `native` members are: only a target of the same shape is sent them. */
enum chat_shape { CHAT_SHAPE_OPENAI, CHAT_SHAPE_ANTHROPIC, CHAT_SHAPE_OLLAMA };

struct chat_header {
    struct str name, value;
};

struct chat_request {
    struct arena *arena;
    enum chat_shape shape;
    struct str model; /* as the client named it */
    struct chat_message *messages;
    size_t n_messages;
    struct str prompt; /* instead of messages: text continued as it stands, without the chat template */
    bool has_prompt;
    struct chat_tool *tools;
    size_t n_tools;
    enum chat_tool_choice tool_choice;
    struct str tool_choice_name; /* CHAT_TOOLS_NAMED */
    int parallel_tool_calls;     /* -1 unset, 0, 1 */
    struct chat_sampling sampling;
    int64_t max_tokens; /* -1 unset */
    struct str *stops;
    size_t n_stops;
    bool stream;
    bool include_usage;       /* stream_options.include_usage */
    struct str user;          /* the client's own name for its end user */
    const json_t *vendor;     /* top-level members that have no field here; NULL if none. Passed on to a target of
                                 the same shape, refused where they cannot be honoured */
    struct chat_header *headers; /* of the client's request, for a target of the same shape */
    size_t n_headers;
};

void chat_sampling_init(struct chat_sampling *s); /* everything unset */
/* A zeroed request in its own arena with every number unset. */
struct chat_request *chat_request_create(struct arena *arena);
const char *chat_role_name(enum chat_role role);

/* Every piece of a request that a person or program wrote, for detectors: message texts, names, tool calls'
 * names and arguments, tool results, tool definitions, image and other parts' text, prompt, vendor members.
 * Calls visit(ctx, where, text) for each; `where` is like "messages[2].content" and lives in the arena, `text`
 * only during the call. A non-zero return stops the walk and is returned. */
int chat_request_visit(const struct chat_request *r, int (*visit)(void *ctx, struct str where, struct str text), void *ctx);

/* ---- What comes back ----
 *
 *   START (TEXT | REASONING | TOOL_CALL)* USAGE? STOP        or, at any point,  ... ERROR
 *
 * STOP or ERROR comes exactly once and last. USAGE may come more than once; the last one counts. Spans live only
 * during the call to the sink. */
enum chat_event_kind {
    CHAT_EVENT_START,
    CHAT_EVENT_TEXT,
    CHAT_EVENT_REASONING,
    CHAT_EVENT_TOOL_CALL, /* a first piece has id and name; later ones of the same index only arguments */
    CHAT_EVENT_USAGE,
    CHAT_EVENT_STOP,
    CHAT_EVENT_ERROR
};

enum chat_stop { CHAT_STOP_END, CHAT_STOP_LENGTH, CHAT_STOP_TOOLS, CHAT_STOP_FILTER };

struct chat_usage {
    int64_t input_tokens;  /* all of the prompt, cached ones included; -1 unknown */
    int64_t cached_tokens; /* of those, read from a prompt cache */
    int64_t output_tokens; /* reasoning included; -1 unknown */
    int64_t reasoning_tokens;
};

/* Why a target failed; decides fallback and the HTTP status the client sees. */
struct chat_failure {
    int code;         /* enum error_code */
    int status;       /* the provider's HTTP status, 0 if there was none */
    bool retryable;   /* another target may do better: connect, time-out, 429, 5xx */
    int64_t retry_after_ms; /* -1 unknown */
    struct str message;     /* for the client; never holds a key */
    struct str type;        /* the provider's own error type or code, may be empty */
};

struct chat_event {
    enum chat_event_kind kind;
    union {
        struct {
            struct str id;    /* the provider's id of the answer, may be empty */
            struct str model; /* the model as the provider names it, may be empty */
        } start;
        struct str text; /* TEXT and REASONING: whole UTF-8 characters */
        struct {
            uint32_t index; /* 0.. in order of appearance */
            struct str id, name, arguments;
        } tool_call;
        struct chat_usage usage;
        enum chat_stop stop;
        struct chat_failure failure;
    };
};

struct chat_sink {
    void (*event)(void *ctx, const struct chat_event *event);
    void *ctx;
};

#endif
