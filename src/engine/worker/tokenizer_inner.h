/* The parts of the tokenizer, for its own files.
 *
 *   text -> special tokens cut out (tokenizer_special)
 *        -> llama: the whole fragment, spaces escaped (tokenizer_spm)
 *        -> bert: words by white space and punctuation, longest pieces first (tokenizer_wpm)
 *        -> t5: normalised (tokenizer_charsmap), then the likeliest pieces (tokenizer_ugm)
 *        -> gpt2, gemma4: words by regular expressions (tokenizer_pre), then merges (tokenizer_bpe)
 *        -> symbols joined by priority (tokenizer_merge) -> ids */
#ifndef WEIR_ENGINE_WORKER_TOKENIZER_INNER_H
#define WEIR_ENGINE_WORKER_TOKENIZER_INNER_H

#include "base/arena.h"
#include "base/map.h"
#include "engine/worker/tokenizer.h"

enum tokenizer_kind { TOKENIZER_SPM, TOKENIZER_BPE, TOKENIZER_WPM, TOKENIZER_UGM };

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

/* tokenizer_trie.c: texts by their bytes. */
struct trie_item {
    struct str text; /* not empty */
    int32_t id;
};
struct trie_node {
    uint32_t first; /* its children: nodes[first] .. nodes[first + children - 1], by their bytes */
    uint16_t children;
    uint8_t byte;
    int32_t id; /* -1: no text ends here */
};
struct trie {
    struct trie_node *nodes; /* the root first */
    size_t count;
};
/* Sorts the items; their texts need not outlive the call. */
int trie_build(struct trie *t, struct trie_item *items, size_t count, struct error *err) MUST_USE;
void trie_free(struct trie *t); /* a zeroed trie is allowed */
const struct trie_node *trie_step(
    const struct trie *t, const struct trie_node *node, char byte); /* or NULL */
/* The longest text that `text` begins with: its length (0: none) and id. */
size_t trie_longest(const struct trie *t, struct str text, int32_t *id);

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

/* What text is replaced by before it is cut; it points into the file. */
struct charsmap {
    const char *units; /* u32 each, unaligned */
    size_t count;      /* 0: nothing is replaced */
    struct str replacements;
};

struct tokenizer_pre;

struct tokenizer {
    enum tokenizer_kind kind;
    struct token *tokens;
    int32_t n_tokens;
    size_t longest; /* bytes of the longest token */
    struct map ids; /* text -> id */
    int32_t bos, eos, unknown;
    bool add_bos, add_eos;
    bool add_space_prefix; /* llama: a space before the first word and after a special token; t5: each part */
    bool remove_extra_spaces; /* t5: white space is one space before each word */
    bool ignore_merges;       /* gpt2: a word that is a token is that token */
    bool raw;           /* gpt2: symbols are characters, not bytes; what is no token is spelled <0xNN> */
    bool escape_spaces; /* gpt2: a space is U+2581 */
    bool gemma;         /* gpt2: always a BOS, and line ends that are a token are that token */
    bool lowercase, strip_accents;      /* bert */
    bool byte_fallback;                 /* t5: unknown characters are spelled in bytes */
    struct trie specials, user_defined; /* looked for in raw text */
    uint32_t
        byte_symbols[256]; /* the token (llama) or symbol (gpt2) of a byte, SYMBOL_NONE if there is none */
    struct merge_table merges;
    struct map extra;    /* gpt2: symbols that are no tokens: text -> number from n_tokens on */
    struct arena *texts; /* their bytes */
    struct tokenizer_pre *pre;
    struct trie pieces;       /* bert, t5: what text is made of */
    struct charsmap charsmap; /* t5 */
    float unknown_score;      /* t5: of a character that no token covers */
};

/* tokenizer_vocab.c: tokens, flags and special ids from the metadata. */
int tokenizer_vocab_load(struct tokenizer *t, const struct gguf *g, struct error *err) MUST_USE;
/* Fills byte_symbols with the tokens spelled <0xNN>, else SYMBOL_NONE; true if all 256 are there. */
bool tokenizer_load_byte_tokens(struct tokenizer *t);

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

/* tokenizer_merge.c: joins neighbouring symbols, the pair of least priority number first, leftmost among
 * equals. Work is O(n log n). */
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

/* tokenizer_charsmap.c. Without a map in the file nothing is replaced. */
int charsmap_load(struct charsmap *m, const struct gguf *g, struct error *err) MUST_USE;
/* The longest beginning of `text` that is replaced (*length 0: none) and by what. */
int charsmap_find(const struct charsmap *m, struct str text, size_t *length, struct str *replacement,
    struct error *err) MUST_USE;

/* tokenizer_spm.c, tokenizer_wpm.c, tokenizer_ugm.c, tokenizer_bpe.c: append the ids of a text without
 * special tokens. */
int tokenizer_spm_load(struct tokenizer *t, struct error *err) MUST_USE;
int tokenizer_spm_encode(const struct tokenizer *t, struct merger *m, struct str text, bool space_prefix,
    struct token_list *out, struct error *err) MUST_USE;
/* Spaces become U+2581, one more of them first where `prefix`. The caller frees *out, also on error. */
int tokenizer_escape_spaces(struct str text, bool prefix, struct buf *out, struct error *err) MUST_USE;
int tokenizer_wpm_load(struct tokenizer *t, struct error *err) MUST_USE;
int tokenizer_wpm_encode(
    const struct tokenizer *t, struct str text, struct token_list *out, struct error *err) MUST_USE;
int tokenizer_ugm_load(struct tokenizer *t, const struct gguf *g, struct error *err) MUST_USE;
int tokenizer_ugm_encode(
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
/* Sets the flags of `t` that come with the pre-tokenizer; ERROR_UNSUPPORTED for an unknown name. */
int tokenizer_pre_create(struct tokenizer *t, struct str name, struct error *err) MUST_USE;
void tokenizer_pre_free(struct tokenizer_pre *p);
/* Cuts valid UTF-8 into words. */
int tokenizer_pre_split(const struct tokenizer_pre *p, struct str text, struct tokenizer_word_sink sink,
    struct error *err) MUST_USE;

#endif
