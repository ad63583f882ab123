/* What a model says, taken apart while it streams: reasoning, text, tool calls.
 *
 *   START --open--> REASONING --close--> START --> TEXT --opening marker--> CALL --closing marker--> TEXT
 *     \--<|channel|>--> HEADER --<|message|>--> REASONING | TEXT | CALL --<|end|>--> HEADER        (channels)
 *
 * reply_syntax.h says how each family writes. A call is announced when its name and the beginning of its
 * arguments are known; where those are JSON, they are passed on as they come, exactly as the model writes
 * them. What only looked like a call is text after all, with its marker; once announced it stays a call:
 * arguments that turn out to be no JSON are passed on as they are up to the closing marker. */
#ifndef WEIR_ENGINE_WORKER_REPLY_H
#define WEIR_ENGINE_WORKER_REPLY_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/worker/reply_json.h"
#include "engine/worker/reply_syntax.h"
#include "json/json.h"

struct reply_sink {
    void (*text)(void *ctx, struct str text);
    void (*reasoning)(void *ctx, struct str text);
    /* The first piece of a call has its name, later ones of the same index (the last one) have none. Their
     * arguments, one after the other, are the text of a JSON object; a piece may have none. */
    void (*tool_call)(void *ctx, size_t index, struct str name, struct str arguments);
    void *ctx;
};

enum reply_state { REPLY_START, REPLY_HEADER, REPLY_REASONING, REPLY_TEXT, REPLY_CALL };

/* Where in a call the parser is; reply_call.c. */
enum reply_stage {
    STAGE_BEGIN,  /* of a call, or the end of them */
    STAGE_MEMBER, /* JSON: a key or the end of the object */
    STAGE_VALUE,  /* JSON: of a member that is not streamed */
    STAGE_NAME,
    STAGE_ARGS_BEGIN,
    STAGE_ARGS,   /* announced: pieces are passed on */
    STAGE_BROKEN, /* the same, but it is no JSON */
    STAGE_PAIR,   /* TAGGED */
    STAGE_CALL_CLOSE,
    STAGE_CLOSE,
    STAGE_WHOLE /* everything up to the closing marker is read at once */
};

struct reply {
    struct reply_form form; /* syntax NULL: no tools were given */
    const json_t *tools;    /* of the request */
    struct reply_sink sink;
    enum reply_state state;
    enum reply_stage stage;
    bool quiet;                 /* white space is left out until something else comes */
    bool opened;                /* CALL: its marker is not in `held` and was not passed on */
    bool in_list;               /* JSON: inside [ ] */
    bool in_object;             /* JSON: the call is an object with a name and arguments */
    bool in_args;               /* JSON: the member at hand is the arguments */
    bool in_name;               /* ... or the name */
    struct buf held;            /* what may begin a tag; in CALL what is not passed on yet */
    size_t at;                  /* CALL: bytes of it that were read */
    size_t from;                /* CALL: where the value at hand begins */
    size_t scanned;             /* bytes in which what is looked for does not begin */
    struct buf name, arguments; /* of the call at hand; arguments empty: none so far */
    json_t *pairs;              /* TAGGED: its arguments */
    struct json_scan scan;
    size_t n_calls;
    size_t failures;
};

/* `inside`: the prompt ends in open reasoning. `tools`: the request's list, which must outlive the reply;
 * NULL or empty: nothing is a call. */
void reply_init(
    struct reply *r, struct reply_form form, bool inside, const json_t *tools, const struct reply_sink *sink);
void reply_free(struct reply *r);
/* Is there anything to take apart? */
bool reply_is_plain(const struct reply *r);
/* Whole characters. */
int reply_push(struct reply *r, struct str text, struct error *err) MUST_USE;
int reply_finish(struct reply *r, struct error *err) MUST_USE;
/* Is it a special token that must be read as text to take the reply apart? */
bool reply_wants(const struct reply *r, struct str token);
/* The parameters' schema of a tool, or NULL. */
const json_t *reply_tool_schema(const json_t *tools, struct str name);

#endif
