/* The parts of the tokenizer, for its own files.
 *
 *   text -> special tokens cut out (tokenizer_special)
 *        -> llama: the whole fragment, spaces escaped (tokenizer_spm)
 *        -> bert: words by white space and punctuation, longest pieces first (tokenizer_wpm)
 *        -> gpt2: words by regular expressions (tokenizer_pre), then merges (tokenizer_bpe)
 *        -> symbols joined by priority (tokenizer_merge) -> ids */
#ifndef WEIR_ENGINE_WORKER_TOKENIZER_INNER_H
#define WEIR_ENGINE_WORKER_TOKENIZER_INNER_H

#include "base/arena.h"
#include "base/map.h"
#include "engine/worker/tokenizer.h"

enum tokenizer_kind { TOKENIZER_SPM, TOKENIZER_BPE, TOKENIZER_WPM };

enum token_flag {
    TOKEN_UNKNOWN = 1,
    TOKEN_UNUSED = 2,
    TOKEN_NORMAL = 4,
    TOKEN_CONTROL = 8,
    TOKEN_USER_DEFINED = 16,
    TOKEN_BYTE = 32,
    TOKEN_LEFT_STRIP = 64,   /* swallows white space before it */
    TOKEN_RIGHT_STRIP = 128, /* swallows white space after it */
    TOKEN_END = 256          /* ends a generation */
};

struct token {
    struct str text;
    float score;
    uint16_t flags;
};

/* Tokens looked for in raw text, sorted by their bytes; those that begin with byte b stand at
 * first[b] .. first[b + 1]. */
struct special_set {
    int32_t *ids;
    size_t first[257];
};

/* Merge rules of symbol pairs, open addressing. */
struct merge_rule {
    uint64_t pair; /* left << 32 | right; MERGE_EMPTY: no rule */
    uint32_t rank, result;
};
#define MERGE_EMPTY UINT64_MAX
#define SYMBOL_NONE UINT32_MAX

struct merge_table {
    struct merge_rule *rules;
    int shift; /* 64 - log2(slots) */
    size_t mask;
    uint64_t seed[2];
};

struct tokenizer_pre;

struct tokenizer {
    enum tokenizer_kind kind;
    struct token *tokens;
    int32_t n_tokens;
    size_t longest;  /* bytes of the longest token */
    struct map ids;  /* text -> id */
    int32_t bos, eos, unknown;
    bool add_bos, add_eos;
    bool add_space_prefix; /* llama: a space before the first word and after a special token */
    bool ignore_merges;    /* gpt2: a word that is a token is that token */
    struct special_set specials, user_defined;
    uint32_t byte_symbols[256]; /* the token (llama) or symbol (gpt2) of a byte, SYMBOL_NONE if there is none */
    struct merge_table merges;
    struct map extra;       /* gpt2: symbols that are no tokens: text -> number from n_tokens on */
    struct arena *texts;    /* their bytes */
    struct tokenizer_pre *pre;
};

/* tokenizer_vocab.c: tokens, flags and special ids from the metadata. */
int tokenizer_vocab_load(struct tokenizer *t, const struct gguf *g, struct error *err) MUST_USE;

/* tokenizer_special.c */
int tokenizer_special_load(struct tokenizer *t, struct error *err) MUST_USE;

struct fragment {
    uint32_t start, length;
    int32_t token; /* -1: text */
};
struct fragment_list {
    struct fragment *items;
    size_t count, capacity;
};
/* Cuts the text where it spells special tokens. The caller frees list->items, also on error. */
int tokenizer_special_split(const struct tokenizer *t, struct str text, bool parse_special,
    struct fragment_list *list, struct error *err) MUST_USE;

/* tokenizer_heap.c: a binary heap, smallest key first. */
struct heap_item {
    uint64_t key;
    uint32_t right, length, result;
};
struct heap {
    struct heap_item *items;
    size_t count, capacity;
};
int heap_push(struct heap *h, struct heap_item item, struct error *err) MUST_USE;
bool heap_pop(struct heap *h, struct heap_item *item);

/* tokenizer_merge.c: joins neighbouring symbols, the pair of least priority number first, leftmost among equals.
 * Work is O(n log n). */
struct symbol {
    uint32_t start, length; /* bytes of the text; length 0: joined to the left */
    int32_t prev, next;     /* -1 at the ends */
    uint32_t id;
};
struct merger {
    const struct tokenizer *t;
    struct str text;
    struct symbol *symbols;
    size_t count, capacity;
    struct heap heap;
    /* May two neighbours be joined, how urgently, to what? */
    bool (*find)(const struct merger *m, const struct symbol *left, const struct symbol *right,
        uint32_t *priority, uint32_t *result);
};
int merger_add(struct merger *m, size_t start, size_t length, uint32_t id, struct error *err) MUST_USE;
int merger_run(struct merger *m, struct error *err) MUST_USE;
void merger_free(struct merger *m);

/* tokenizer_spm.c, tokenizer_wpm.c, tokenizer_bpe.c: append the ids of a text without special tokens. */
int tokenizer_spm_load(struct tokenizer *t, struct error *err) MUST_USE;
int tokenizer_spm_encode(const struct tokenizer *t, struct merger *m, struct str text, bool space_prefix,
    struct token_list *out, struct error *err) MUST_USE;
int tokenizer_wpm_load(struct tokenizer *t, struct error *err) MUST_USE;
int tokenizer_wpm_encode(
    const struct tokenizer *t, struct str text, struct token_list *out, struct error *err) MUST_USE;
int tokenizer_bpe_load(struct tokenizer *t, const struct gguf *g, struct error *err) MUST_USE;
int tokenizer_bpe_encode(const struct tokenizer *t, struct merger *m, struct str text, struct token_list *out,
    struct error *err) MUST_USE;
void tokenizer_bpe_free(struct tokenizer *t);
/* GPT-2's reversible spelling of bytes as printable characters, and back (-1: spells no byte). */
uint32_t tokenizer_byte_char(uint8_t byte);
int tokenizer_char_byte(uint32_t code_point);

/* tokenizer_pre.c */
struct tokenizer_word_sink {
    int (*word)(void *ctx, struct str word, struct error *err);
    void *ctx;
};
/* Sets ignore_merges and add_bos as the pre-tokenizer has them; ERROR_UNSUPPORTED for an unknown name. */
int tokenizer_pre_create(struct tokenizer *t, struct str name, struct error *err) MUST_USE;
void tokenizer_pre_free(struct tokenizer_pre *p);
/* Cuts valid UTF-8 into words. */
int tokenizer_pre_split(const struct tokenizer_pre *p, struct str text, struct tokenizer_word_sink sink,
    struct error *err) MUST_USE;

#endif
