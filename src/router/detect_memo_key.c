/* Plain: SipHash-2-4, a byte in one and a half cycles.
 *
 * Quick: AES with secret round keys, a byte in a third of one. Eight lanes, each the CBC-MAC of every eighth
 * block; their ends are encrypted once more, each with its own place (as PMAC does, Black and Rogaway 2002),
 * added, and encrypted with the text's length:
 *
 *   caller --> + block 0 --> AES --> + block 8 --> AES ... + place 0 --> AES --+
 *   caller --> + block 1 --> AES --> + block 9 --> AES ... + place 1 --> AES --+--> + length --> AES --> key
 *
 * What is added to a text to fill its last blocks are zeros, which the length tells from the text's own. */
#include "router/detect_memo_key.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

_Static_assert(DETECT_MEMO_KEY == crypto_shorthash_siphashx24_BYTES, "a key");
_Static_assert(sizeof(struct detect_memo_caller) == crypto_shorthash_siphashx24_KEYBYTES, "a key of keys");

enum { LANES = 8, BLOCK = 16, STEP = LANES * BLOCK, ROUNDS = 10 };

static struct {
    unsigned char callers[crypto_shorthash_siphashx24_KEYBYTES];
    _Alignas(BLOCK) unsigned char rounds[ROUNDS + 1][BLOCK], places[LANES][BLOCK];
} secret;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void secret_make(void)
{
    randombytes_buf(&secret, sizeof secret);
}

/* A version is hashed, not added: keys whose difference is known would let bits turned in a text make up for
 * it. */
void detect_memo_caller_make(uint64_t version, struct str who, struct detect_memo_caller *caller)
{
    unsigned char of_who[crypto_shorthash_siphashx24_BYTES];
    pthread_once(&once, secret_make);
    crypto_shorthash_siphashx24(
        of_who, (const unsigned char *)(who.len ? who.data : ""), who.len, secret.callers);
    crypto_shorthash_siphashx24(caller->key, (const unsigned char *)&version, sizeof version, of_who);
}

void detect_memo_key_plain(
    const struct detect_memo_caller *caller, struct str text, unsigned char key[DETECT_MEMO_KEY])
{
    crypto_shorthash_siphashx24(
        key, (const unsigned char *)(text.len ? text.data : ""), text.len, caller->key);
}

#ifdef __x86_64__
#define WITH_AES __attribute__((target("aes")))

WITH_AES static inline __m128i block_load(const void *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

/* Each lane's sum with a block of its own, encrypted: eight at once, for one alone would wait for each round.
 */
WITH_AES static inline void lanes_take(__m128i lanes[LANES], const void *blocks)
{
    const __m128i *keys = (const __m128i *)(const void *)secret.rounds;
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++)
        lanes[i] = lanes[i] ^ block_load((const char *)blocks + i * BLOCK) ^ keys[0];
    for (int round = 1; round < ROUNDS; round++) {
        const __m128i key = keys[round];
#pragma GCC unroll 8
        for (int i = 0; i < LANES; i++)
            lanes[i] = _mm_aesenc_si128(lanes[i], key);
    }
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++)
        lanes[i] = _mm_aesenclast_si128(lanes[i], keys[ROUNDS]);
}

WITH_AES static inline __m128i block_encrypt(__m128i block)
{
    const __m128i *keys = (const __m128i *)(const void *)secret.rounds;
    block ^= keys[0];
    for (int round = 1; round < ROUNDS; round++)
        block = _mm_aesenc_si128(block, keys[round]);
    return _mm_aesenclast_si128(block, keys[ROUNDS]);
}

WITH_AES static void key_quick(
    const struct detect_memo_caller *caller, struct str text, unsigned char key[DETECT_MEMO_KEY])
{
    __m128i lanes[LANES], sum;
    size_t at = 0;
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++)
        lanes[i] = block_load(caller->key);
    for (; text.len - at >= STEP; at += STEP)
        lanes_take(lanes, text.data + at);
    if (text.len > at) {
        char last[STEP] = {0};
        memcpy(last, text.data + at, text.len - at);
        lanes_take(lanes, last);
    }
    lanes_take(lanes, secret.places);
    sum = _mm_cvtsi64_si128((long long)text.len);
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++)
        sum ^= lanes[i];
    sum = block_encrypt(sum);
    memcpy(key, &sum, sizeof sum);
}

bool detect_memo_key_quick(
    const struct detect_memo_caller *caller, struct str text, unsigned char key[DETECT_MEMO_KEY])
{
    const bool has = __builtin_cpu_supports("aes");
    if (has)
        key_quick(caller, text, key);
    return has;
}
#else
bool detect_memo_key_quick(
    const struct detect_memo_caller *caller, struct str text, unsigned char key[DETECT_MEMO_KEY])
{
    (void)caller;
    (void)text;
    (void)key;
    return false;
}
#endif

void detect_memo_key_make(
    const struct detect_memo_caller *caller, struct str text, unsigned char key[DETECT_MEMO_KEY])
{
    /* A short text takes longer the quick way (90 ns). Two texts are one only where their lengths are, too.
     */
    enum { SHORT = 96 };
    if (text.len < SHORT || !detect_memo_key_quick(caller, text, key))
        detect_memo_key_plain(caller, text, key);
}
