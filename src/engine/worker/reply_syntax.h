/* How families of models write calls and reasoning, as data. A model's own template tells which.
 *
 *   open  (call_open NAME name_end ARGUMENTS call_close)+  close       NAMED, TAGGED; many: several in one
 *   open  {"name_key": NAME, "args_key": {...}}  close                 JSON; list: [{...}, {...}]
 *   open  NAME{key:value,...}  close                                   GEMMA, strings in <|"|>
 *   open  [name(key=value, ...), ...]  close                           PYTHON
 *   <|channel|>commentary to=functions.NAME<|message|>{...}<|call|>    CHANNEL
 *
 * Markers stand here with the white space that the family writes around them: grammars write it, the parser
 * does without. Where `name_end` is only white space a name ends there or before '<'. */
#ifndef WEIR_ENGINE_WORKER_REPLY_SYNTAX_H
#define WEIR_ENGINE_WORKER_REPLY_SYNTAX_H

#include <stdbool.h>

#include "base/str.h"

enum reply_payload {
    PAYLOAD_JSON,
    PAYLOAD_NAMED,
    PAYLOAD_TAGGED,
    PAYLOAD_GEMMA,
    PAYLOAD_PYTHON,
    PAYLOAD_CHANNEL
};

struct reply_syntax {
    const char *name;
    const char *signs[3]; /* all of them stand in the template */
    enum reply_payload payload;
    bool list;  /* JSON: calls stand in [ ] */
    bool many;  /* several calls between `open` and `close` */
    bool whole; /* a call may be the whole answer, without `open` */
    const char *open, *close;
    const char *between;             /* calls, or where each has an `open` of its own, those */
    const char *name_key, *args_key; /* JSON; NULL: {NAME: {...}} */
    const char *call_open, *call_close;
    const char *name_end, *name_cut; /* name_cut: what follows it is no part of the name */
    const char *name_more;           /* what follows it, as GBNF */
    const char *key_open, *key_end;  /* TAGGED: around a parameter's name */
    const char *key_cut;             /* string="true" or "false" follows the name */
    const char *value_end;
};

struct reply_thinking {
    const char *sign;
    const char *open, *close;
    const char *drops[4];                   /* tags around the answer, which are no part of it */
    const char *answer_open, *answer_close; /* those that a grammar writes; NULL: none */
};

struct reply_form {
    const struct reply_syntax *syntax;     /* NULL: none that is known here */
    const struct reply_thinking *thinking; /* NULL: it does not reason */
};

struct reply_form reply_form_of(struct str template);

/* The tables, for tests. */
const struct reply_syntax *reply_syntaxes(size_t *count);
const struct reply_syntax *reply_syntax_named(const char *name); /* NULL: none */
const struct reply_thinking *reply_thinkings(size_t *count);

/* As the parser looks for it; empty where there is none. */
static inline struct str reply_mark(const char *marker)
{
    return str_trim(str_from(marker));
}

#endif
