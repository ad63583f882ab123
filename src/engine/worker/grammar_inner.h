/* What the parts of a grammar share (inside the grammar code).
 *
 *   grammar_parse.c    text to trees
 *   grammar_compile.c  trees to a program, and what they may not be
 *   grammar_match.c    sets of states and where bytes lead
 *   grammar_vocab.c    the vocabulary against a set
 *
 * Symbols are code points, and SYMBOL_TOKEN + id for special tokens. */
#ifndef WEIR_ENGINE_WORKER_GRAMMAR_INNER_H
#define WEIR_ENGINE_WORKER_GRAMMAR_INNER_H

#include "base/arena.h"
#include "base/limits.h"
#include "base/map.h"
#include "engine/worker/grammar.h"

enum {
    SYMBOL_LAST = 0x10FFFF, /* of Unicode */
    SYMBOL_TOKEN = 0x110000,
    GRAMMAR_RULES_MAX = 1 << 16,
    GRAMMAR_OPS_MAX = 1 << 20,
    GRAMMAR_DEPTH_MAX = 200,     /* of parentheses */
    GRAMMAR_NULLABLE_MOST = 256, /* times that something which may be empty is repeated, unless without end */
    GRAMMAR_TURNS_MAX = 1 << 30
};
#define GRAMMAR_SOURCE_MAX (8 * MIB)
#define GRAMMAR_MEMORY (128 * MIB)
#define GRAMMAR_ENDLESS UINT32_MAX

struct grammar_range {
    uint32_t first, last;
};

enum grammar_node_kind { NODE_CHARS, NODE_CALL, NODE_SEQUENCE, NODE_CHOICE, NODE_REPEAT };

struct grammar_node {
    enum grammar_node_kind kind;
    struct grammar_node *next;  /* its sibling */
    struct grammar_node *first; /* SEQUENCE, CHOICE: the children, in order; REPEAT: what is repeated */
    struct grammar_range *ranges;
    uint32_t n_ranges;    /* CHARS: sorted, apart; none: nothing fits */
    uint32_t rule;        /* CALL */
    uint32_t least, most; /* REPEAT */
};

struct grammar_rule {
    struct str name;
    struct grammar_node *body; /* NULL: named but not defined */
    uint32_t entry;            /* where its program begins */
    bool nullable, productive; /* can it be empty; can it end at all */
};

enum grammar_op_kind {
    OP_CHARS,  /* a: first range, b: ranges; then the next op */
    OP_SPLIT,  /* a or b */
    OP_JUMP,   /* a */
    OP_CALL,   /* a, then the next op */
    OP_REPEAT, /* a: the body, b: in `turns`; the next op when it is done */
    OP_RETURN
};

struct grammar_op {
    enum grammar_op_kind kind;
    uint32_t a, b;
};

struct grammar_turns {
    uint32_t least, most;
};

struct grammar {
    struct arena *arena;
    struct grammar_rule *rules; /* while it is made */
    uint32_t n_rules, root;
    struct grammar_op *ops;
    struct grammar_range *ranges;
    struct grammar_turns *turns;
    uint32_t n_ops, n_ranges, n_turns;
};

int grammar_compile(struct grammar *g, struct error *err) MUST_USE;

/* ---- Matching ---- */

/* Set 0: nothing fits any more. */
int grammar_set_next(
    struct grammar_matcher *m, uint32_t set, uint8_t byte, uint32_t *out, struct error *err) MUST_USE;
int grammar_set_next_token(
    struct grammar_matcher *m, uint32_t set, int32_t id, uint32_t *out, struct error *err) MUST_USE;
/* Calls see(ctx, id) for the special tokens that fit a set. */
void grammar_set_tokens(const struct grammar_matcher *m, uint32_t set,
    void (*see)(void *ctx, uint32_t first, uint32_t last), void *ctx);

enum { MATCHER_MASKS = 16 };

struct grammar_mask {
    uint32_t set;   /* 0: none */
    uint64_t *bits; /* the tokens that fit */
    size_t count;
};

struct grammar_set {
    uint32_t first, count; /* in `states` */
    bool complete;
    uint8_t missing;  /* bytes of a character that are still to come */
    uint32_t partial; /* its bits so far */
    uint32_t low;     /* the least code point that its length may spell */
    uint32_t *next;   /* by byte; UNKNOWN where it was not asked for; NULL: none was */
};

struct grammar_state {
    uint32_t op, frame;
};

/* Where to go on when what was called ends. Frame 0: the answer is complete. */
struct grammar_frame {
    uint32_t op, parent, turn;
};

struct grammar_index {
    uint32_t *slots; /* value + 1; 0: empty */
    size_t capacity, count;
};

struct grammar_item {
    uint32_t op, frame, turn;
};

struct grammar_matcher {
    const struct grammar *g;
    const struct grammar_vocab *v;
    uint64_t seed;
    uint32_t now; /* the set that the answer has come to */
    struct grammar_set *sets;
    struct grammar_state *states;
    struct grammar_frame *frames;
    uint32_t n_sets, n_states, n_frames;
    struct grammar_index set_index, frame_index;
    /* A closure under way: what was seen, of which `todo` and later is still to be followed. */
    struct grammar_item *items;
    uint32_t n_items, todo;
    struct grammar_index item_index;
    bool complete;
    uint64_t work;     /* done for this token */
    uint32_t building; /* first state of the set under way */
    struct grammar_mask masks[MATCHER_MASKS];
    uint32_t oldest; /* of the masks */
};

/* Forgets everything but where the answer is. */
int grammar_matcher_compact(struct grammar_matcher *m, struct error *err) MUST_USE;
void grammar_masks_forget(struct grammar_matcher *m);

/* ---- The vocabulary ---- */

struct grammar_vocab {
    int32_t n_vocab;
    int32_t *ids;     /* of tokens that have text, by its bytes */
    uint32_t *starts; /* in `bytes`, n_ids + 1 */
    uint16_t *common; /* bytes shared with the one before */
    uint32_t n_ids;
    char *bytes;
    int32_t *places; /* by id: where in `ids`, or -1 */
    uint8_t *ends;   /* by id */
};

#endif
