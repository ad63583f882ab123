/* The unigram language model (Kudo 2018, arxiv.org/abs/1804.10959) as SentencePiece trains it for T5 and
 * XLM-RoBERTa: the text is normalised, then cut so that the sum of the pieces' log probabilities is greatest
 * (Viterbi; work is linear in the text times the longest token). */
#include <float.h>
#include <stdlib.h>

#include "engine/worker/tokenizer_inner.h"

static const struct str escaped_space = {"\xe2\x96\x81", 3}; /* U+2581 */

/* What a character that no token covers costs beyond the worst token. */
static const float unknown_penalty = 10;

/* A text may grow by its normalisation: the longest replacement of one character has 11 times its bytes. */
enum { GROWTH_MAX = 40 };

int tokenizer_ugm_load(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    const int matched = TOKEN_NORMAL | TOKEN_USER_DEFINED | TOKEN_UNUSED;
    size_t count = 0;
    float least = FLT_MAX;
    if (t->unknown < 0)
        return error_set(
            err, ERROR_INVALID, "the vocabulary has no unknown token: the model file is not usable");
    struct trie_item *items = calloc((size_t)t->n_tokens, sizeof *items);
    if (!items)
        return error_set(err, ERROR_MEMORY, "no memory for a vocabulary of %d tokens", t->n_tokens);
    for (int32_t i = 0; i < t->n_tokens; i++) {
        const struct token *token = &t->tokens[i];
        if ((token->flags & TOKEN_NORMAL) && token->score < least)
            least = token->score;
        if ((token->flags & matched) && token->text.len > 0)
            items[count++] = (struct trie_item){token->text, i};
    }
    t->unknown_score = least - unknown_penalty;
    t->byte_fallback = tokenizer_load_byte_tokens(t);
    int rc = trie_build(&t->pieces, items, count, err);
    free(items);
    return rc ? rc : charsmap_load(&t->charsmap, g, err);
}

/* Appends the normal form of a text: SentencePiece's rules of white space over what the map makes of it. */
struct normalizer {
    const struct tokenizer *t;
    struct buf *out;
    bool in_word, prefixed;
};

static void append_normal(struct normalizer *n, struct str part)
{
    const struct tokenizer *t = n->t;
    for (size_t i = 0; i < part.len; i++) {
        bool space = part.data[i] == ' ';
        bool begins = !space && !n->in_word;
        if (begins && ((t->add_space_prefix && !n->prefixed) || t->remove_extra_spaces)) {
            buf_append_str(n->out, escaped_space);
            n->prefixed = true;
        }
        n->in_word = !space;
        if (!space)
            buf_append_char(n->out, part.data[i]);
        else if (!t->remove_extra_spaces)
            buf_append_str(n->out, escaped_space);
    }
}

static int normalize(const struct tokenizer *t, struct str text, struct buf *out, struct error *err)
{
    struct normalizer n = {.t = t, .out = out};
    size_t max = GROWTH_MAX * text.len + 64;
    buf_init(out, max < UINT32_MAX ? max : UINT32_MAX - 1);
    for (size_t length = 0; text.len > 0 && !out->failed; text = str_slice(text, length, text.len)) {
        struct str part;
        uint32_t c;
        int rc = charsmap_find(&t->charsmap, text, &length, &part, err);
        if (rc)
            return rc;
        if (length == 0) {
            length = str_utf8_decode(text, &c);
            part = length ? str_slice(text, 0, length) : STR("\xef\xbf\xbd");
            length = length ? length : 1;
        }
        append_normal(&n, part);
    }
    return out->failed
               ? error_set(err, out->failed, "the text grows too long when it is normalised: send less")
               : 0;
}

/* The best way to reach a place in the text, and on the best way through it, where it goes on. */
struct place {
    double score;
    uint32_t from, next;
    int32_t token; /* from there to here */
};

static void offer(struct place *places, size_t from, size_t to, double cost, int32_t token)
{
    double score = places[from].score + cost;
    if (score > places[to].score)
        places[to] = (struct place){.score = score, .from = (uint32_t)from, .token = token};
}

/* Offers every token that begins at `at`, and the unknown one if none is the whole character. */
static size_t offer_tokens(const struct tokenizer *t, struct str text, size_t at, struct place *places)
{
    uint32_t c;
    const struct trie_node *node = t->pieces.nodes;
    size_t character = str_utf8_decode(str_slice(text, at, text.len), &c);
    character = character ? character : 1;
    bool covered = false;
    for (size_t i = at; i < text.len && (node = trie_step(&t->pieces, node, text.data[i])); i++) {
        if (node->id < 0)
            continue;
        const struct token *token = &t->tokens[node->id];
        covered = covered || i + 1 - at == character;
        offer(places, at, i + 1, token->flags & TOKEN_USER_DEFINED ? 0 : (double)token->score, node->id);
    }
    if (!covered)
        offer(places, at, at + character, (double)t->unknown_score, t->unknown);
    return character;
}

static int append_bytes(const struct tokenizer *t, struct str part, struct token_list *out, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < part.len && rc == 0; i++)
        rc = token_list_append(out, (int32_t)t->byte_symbols[(uint8_t)part.data[i]], err);
    return rc;
}

/* Unknown characters side by side are one unknown token, or the tokens of their bytes. */
static int append_path(const struct tokenizer *t, struct str text, struct place *places,
    struct token_list *out, struct error *err)
{
    for (size_t at = text.len; at > 0; at = places[at].from)
        places[places[at].from].next = (uint32_t)at;
    bool unknown = false;
    int rc = 0;
    for (size_t at = 0, to; at < text.len && rc == 0; at = to) {
        to = places[at].next;
        bool again = unknown;
        unknown = places[to].token == t->unknown;
        if (unknown && t->byte_fallback)
            rc = append_bytes(t, str_slice(text, at, to), out, err);
        else if (!unknown || !again)
            rc = token_list_append(out, places[to].token, err);
    }
    return rc;
}

int tokenizer_ugm_encode(
    const struct tokenizer *t, struct str text, struct token_list *out, struct error *err)
{
    struct buf normal;
    struct place *places = NULL;
    int rc = normalize(t, text, &normal, err);
    if (rc == 0 && normal.len > 0) {
        places = malloc((normal.len + 1) * sizeof *places);
        rc = places ? 0
                    : error_set(err, ERROR_MEMORY, "no memory to tokenize a text of this length: send less");
    }
    if (places) {
        places[0] = (struct place){.score = 0};
        for (size_t i = 1; i <= normal.len; i++)
            places[i] = (struct place){.score = -DBL_MAX, .token = t->unknown};
        for (size_t at = 0; at < normal.len;)
            at += offer_tokens(t, buf_str(&normal), at, places);
        rc = append_path(t, buf_str(&normal), places, out, err);
    }
    free(places);
    buf_free(&normal);
    return rc;
}
