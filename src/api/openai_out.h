/* chat_events into OpenAI's answers: whole (chat.completion), streamed (chat.completion.chunk) and the same
 * two of the older completions API; and OpenAI's errors. Pure: everything is appended to a buffer. */
#ifndef WEIR_API_OPENAI_OUT_H
#define WEIR_API_OPENAI_OUT_H

#include "api/tool_calls.h"
#include "json/json_members.h"

/* Log-probabilities as pieces of JSON. Chat has one list of objects, the older API four lists. */
struct openai_logprobs {
    struct buf content; /* objects, commas between */
    struct buf tokens, values, tops, offsets;
};

/* What has been gathered of one choice. */
struct openai_choice {
    struct buf text, reasoning;
    struct openai_logprobs logprobs;
    int64_t characters; /* of the text, where the older API's next token begins */
    struct tool_calls tool_calls;
    struct json_members more; /* whole answers: members of the message that only OpenAI's shape has */
    enum chat_stop stop;
    bool refused; /* the text says why there is no answer */
    bool opened;  /* streams: the chunk with the role has been written */
};

/* And of one answer. */
struct openai_answer {
    char id[64];
    struct buf head;      /* streams: what each chunk begins with, up to the choice's index */
    struct buf text_head; /* and one with text, up to the text; for chunks like the last one: */
    enum chat_event_kind text_kind;
    uint32_t text_choice;
    bool text_refused;
    struct buf more, usage_more; /* members of the answer and of its usage, as their maker told them */
    int64_t created_s;
    struct str model;
    bool completion;    /* the older API */
    bool include_usage; /* streams: usage as null in each chunk, and a last chunk with it */
    bool obfuscation;   /* streams: a chunk's length tells little of its text's */
    bool with_logprobs;
    bool reasoning_too; /* the client asks in OpenRouter's words: reasoning is told in them, too */
    struct openai_choice *choices;
    uint32_t n_choices;
    size_t gathered; /* bytes of the texts of all */
};

void openai_answer_init(struct openai_answer *a, bool completion, const struct chat_request *r);
void openai_answer_free(struct openai_answer *a);

/* Whole answers: gather each event, then write. ERROR_LIMIT when the answer passes its bound. */
int openai_answer_gather(struct openai_answer *a, const struct chat_event *e, struct error *err) MUST_USE;
void openai_answer_write(const struct openai_answer *a, const struct chat_usage *usage, struct buf *out);

/* Streams: the server-sent events of one chat_event; then the closing ones. */
void openai_stream_event(struct openai_answer *a, const struct chat_event *e, struct buf *out);
void openai_stream_end(struct openai_answer *a, const struct chat_usage *usage, struct buf *out);

/* The member `obfuscation`, the last of an event: random characters, so many that the event's length is a
 * multiple of 64 and who sees only that (behind TLS) does not see how long the tokens are. */
void openai_obfuscation_write(struct json_writer *w);
/* The member `usage` of what has no output: embeddings and ranks. */
void openai_prompt_usage_write(struct json_writer *w, const struct chat_usage *u);

/* The type of a 404 that is not about a model: it has no code. */
#define OPENAI_NOT_FOUND "not_found"
/* {"error":{"message","type","param":null,"code"}}; `type` empty: by status. */
void openai_error_write(int status, struct str message, struct str type, struct buf *out);
/* The same as a shape's `error` (shape.h). */
int openai_error(int status, struct str message, struct str type, struct str request_id, struct buf *out);

#endif
