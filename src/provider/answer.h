/* An answer on its way back: a provider's bytes become chat_events, in the order that chat.h promises.
 *
 *   bytes --+-- server-sent events --> JSON --+--> dialect->event --> START TEXT REASONING TOOL_CALL USAGE
 *           +-- Amazon's event stream ---------+                       and what STOP will say
 *           +-- lines of JSON, or one document +
 *
 * Pure: no network. A provider that sends nonsense, stops half-way or says too much gives one ERROR event. */
#ifndef WEIR_PROVIDER_ANSWER_H
#define WEIR_PROVIDER_ANSWER_H

#include "chat/chat.h"
#include "json/json_members.h"
#include "json/json_view.h"
#include "provider/eventstream.h"
#include "provider/sse.h"

struct provider_answer;

/* Takes one event or one whole document of the provider's: an object. */
typedef int provider_event(struct provider_answer *a, const struct json_item *event, struct error *err);

struct provider_answer_tool {
    int64_t index;    /* the provider's, -1: it gave none */
    uint64_t id_hash; /* of its id, 0: it gave none */
    bool has_arguments;
};

struct provider_answer_choice {
    struct provider_answer_tool *tools;
    size_t n_tools, tools_capacity;
    bool has_stop;
    enum chat_stop stop;
};

enum provider_answer_form {
    PROVIDER_FORM_UNKNOWN,
    PROVIDER_FORM_EVENTS,
    PROVIDER_FORM_LINES,
    PROVIDER_FORM_MESSAGES,
    PROVIDER_FORM_WHOLE
};

/* Members of an answer or of its usage. */
struct provider_answer_rest {
    uint64_t last; /* the event's that came last, hashed: events repeat them; 0: none have come */
    struct json_members members;
};

struct provider_answer {
    struct str provider, api_key; /* for messages: the one is named, the other kept out */
    provider_event *event;
    struct chat_sink sink;
    enum provider_answer_form form;
    char content_type[96];
    struct sse sse;
    struct eventstream messages;
    struct buf whole;      /* the document, or of the lines the one that is not complete */
    struct json_view view; /* of the event that is being taken */
    bool started, ended;
    bool said;     /* something of an answer came, not only its frame */
    int n_emitted; /* events of ours that came of the one that is being taken */
    /* Where the text of the one that came of it begins, if that is a text and no more came; else NULL. Only
     * compared with where the view finds a text (json_view_change), never read. */
    const char *only_text;
    bool again;   /* was it the event before it, but for that text? Then the next one may be so, too */
    bool at_once; /* something has come of the bytes that are being fed */
    struct buf stop_string;
    struct buf rest; /* members as they are told; of a tool call, until it is told */
    enum chat_shape rest_of;
    struct provider_answer_rest answer_rest, usage_rest; /* told at the end */
    struct chat_usage usage;                             /* as last told */
    /* Anthropic: a block on its way that has no event of its own, and the block that stands for the text */
    json_t *block;
    struct buf block_input;
    int64_t block_index, text_index;
    /* The choices that were asked for; what comes belongs to the one that was chosen last, at first the only.
     */
    struct provider_answer_choice choices[CHAT_CHOICES_MAX], *choice;
    uint32_t n_choices;
    size_t n_inputs; /* of a request to embed or to rerank */
};

void provider_answer_init(struct provider_answer *a, struct str provider, struct str api_key,
    provider_event *event, struct chat_sink sink);
void provider_answer_free(struct provider_answer *a);
void provider_answer_expect(
    struct provider_answer *a, int32_t n_choices); /* before the first bytes; else 1 */
/* Of the answer's header; may be empty. Before the first bytes. */
void provider_answer_content_type(struct provider_answer *a, struct str content_type);
void provider_answer_feed(struct provider_answer *a, struct str bytes);
/* No more bytes will come: `code` is 0 or why the transfer failed. After it, STOP or ERROR has been sent. */
void provider_answer_finish(struct provider_answer *a, int code, const struct error *err);
/* No event from now on. */
void provider_answer_abandon(struct provider_answer *a);

/* ---- For dialects. Nothing is sent once the answer has ended. ---- */
void provider_answer_start(
    struct provider_answer *a, struct str id, struct str model);          /* the first time only */
void provider_answer_refusal(struct provider_answer *a, struct str text); /* not in one answer with text */
void provider_answer_text(struct provider_answer *a, struct str text);
void provider_answer_reasoning(struct provider_answer *a, struct str text);
/* For a dialect in which an event that repeats changes nothing: is this one the last but for a text, which
 * was all that came of it? Then so it is again, and has been told. */
bool provider_answer_again(struct provider_answer *a);
void provider_answer_signature(struct provider_answer *a, struct str text, struct str data);
/* `json` in the words of `shape`; see CHAT_EVENT_NATIVE. */
void provider_answer_native(
    struct provider_answer *a, enum chat_shape shape, enum chat_native what, struct str json);
/* The members of `object` that are not `known` and say something, for a client of the same shape: those of a
 * choice at once, others at the end, so that nothing seems to have begun. */
int provider_answer_rest(struct provider_answer *a, enum chat_shape shape, enum chat_native what,
    const struct json_item *object, const char *const *known, struct error *err) MUST_USE;
void provider_answer_rest_tell(struct provider_answer *a); /* provider_answer_end's */
/* Of a piece of a tool call, before it is told: what the call has besides. */
int provider_answer_tool_rest(struct provider_answer *a, enum chat_shape shape, const struct json_item *call,
    const char *const *known, struct error *err) MUST_USE;
/* The same with its tokens' log-probabilities; may be empty. */
void provider_answer_tokens(
    struct provider_answer *a, struct str text, const struct chat_token *tokens, size_t n_tokens);
/* Likewise, as `read` makes them of a provider's own JSON, in an arena that ends here (chat_tokens_read). */
typedef int provider_tokens_read(
    struct arena *arena, const json_t *logprobs, const struct chat_token **out, size_t *n, struct error *err);
int provider_answer_logprobs(struct provider_answer *a, struct str text, const struct json_item *logprobs,
    provider_tokens_read *read, struct error *err) MUST_USE;
/* The vectors of all inputs, n_inputs times `width` values, one input after the other. */
void provider_answer_embeddings(struct provider_answer *a, const float *values, size_t width);
void provider_answer_score(struct provider_answer *a, size_t index, double score);
/* What follows belongs to this choice; false: it was not asked for. */
bool provider_answer_choose(struct provider_answer *a, int64_t choice);
/* A piece of a tool call. `index` (-1: none given) and `id` find the call it belongs to; the first piece of a
 * call must have a name. */
int provider_answer_tool(struct provider_answer *a, int64_t index, struct str id, struct str name,
    struct str arguments, struct error *err) MUST_USE;
/* A call that comes whole, with its arguments as an object ("{}" where they are none). */
int provider_answer_call(struct provider_answer *a, struct str id, struct str name,
    const struct json_item *arguments, struct error *err) MUST_USE;
/* The call with this index is complete: one without any arguments gets "{}". */
void provider_answer_tool_end(struct provider_answer *a, int64_t index);
void provider_answer_usage(struct provider_answer *a, const struct chat_usage *usage);
void provider_answer_stop(struct provider_answer *a, enum chat_stop stop); /* remembered until the end */
void provider_answer_stop_string(
    struct provider_answer *a, struct str which);    /* it was this of the `stops` */
void provider_answer_end(struct provider_answer *a); /* STOP of each choice */
void provider_answer_fail(struct provider_answer *a, const struct chat_failure *failure);

/* Members read leniently: absent, null, of another type or no count that could be true gives the fallback
 * (-1, STR_NONE). Counts are bounded so that sums of them and their cost cannot overflow. */
#define PROVIDER_COUNT_MAX ((int64_t)1 << 40)
int64_t provider_count(const json_t *object, const char *key);
int64_t provider_count_of(const struct json_item *item);
static inline int64_t provider_item_count(const struct json_item *object, const char *key)
{
    return provider_count_of(json_item_get(object, key));
}
/* Likewise, of what is left out where it is 0; -1: it is there and can be no count. */
int64_t provider_item_part(const struct json_item *object, const char *key);

#endif
