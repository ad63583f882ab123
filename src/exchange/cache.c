#include "exchange/cache.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/must.h"

enum { SLOTS = 4096 };

/* An event, its strings copied. */
struct kept {
    struct kept *next;
    struct chat_event event;
    char text[];
};

struct cache_answer {
    _Atomic int references;
    char *model, *provider;
    struct kept *first, **end;
    size_t bytes;
};

struct entry {
    struct list used; /* newest first */
    struct entry *next_in_slot;
    unsigned char key[CACHE_KEY];
    int64_t until_ms;
    struct cache_answer *answer;
};

struct cache {
    pthread_mutex_t mutex;
    int64_t ttl_ms;
    size_t max_bytes, bytes, count;
    struct list used;
    struct entry *slots[SLOTS];
};

/* ---- Keys ---- */

static void hash_str(crypto_hash_sha256_state *h, struct str s)
{
    uint64_t len = s.len; /* so that no two lists of strings look alike */
    crypto_hash_sha256_update(h, (const unsigned char *)&len, sizeof len);
    crypto_hash_sha256_update(h, (const unsigned char *)(s.len ? s.data : ""), s.len);
}

/* Members sorted, white space gone, and without how the answer is to be delivered. */
static char *canonical(struct str body, struct error *err)
{
    json_t *root;
    if (json_read(body, &root, err))
        return NULL;
    char *text = NULL;
    if (json_is_object(root)) {
        json_object_del(root, "stream");
        json_object_del(root, "stream_options");
        text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    }
    json_decref(root);
    if (!text)
        error_set(err, ERROR_INVALID, "the request is not a JSON object");
    return text;
}

int cache_key(const struct cache_question *q, unsigned char out[CACHE_KEY], struct error *err)
{
    crypto_hash_sha256_state h;
    char *text = canonical(q->body, err);
    if (!text)
        return ERROR_INVALID;
    crypto_hash_sha256_init(&h);
    hash_str(&h, q->scope);
    hash_str(&h, q->local ? STR("local") : STR("any"));
    hash_str(&h, (struct str){(const char *)&q->world, sizeof q->world});
    hash_str(&h, q->api);
    for (size_t i = 0; i < q->n_targets; i++)
        hash_str(&h, q->targets[i]);
    hash_str(&h, (struct str){(const char *)&q->files, sizeof q->files});
    for (size_t i = 0; i < q->n_headers; i++) {
        hash_str(&h, q->headers[i].name);
        hash_str(&h, q->headers[i].value);
    }
    hash_str(&h, str_from(text));
    crypto_hash_sha256_final(&h, out);
    free(text);
    return 0;
}

bool cache_may(const struct chat_request *r)
{
    return r->n <= 1 && !r->logprobs && !r->count_only &&
           (r->sampling.temperature == 0 || r->sampling.has_seed);
}

/* ---- Answers ---- */

struct cache_answer *cache_answer_create(struct str model, struct str provider)
{
    struct cache_answer *a = must(calloc(1, sizeof *a));
    atomic_init(&a->references, 1);
    a->model = must(strndup(model.len ? model.data : "", model.len));
    a->provider = must(strndup(provider.len ? provider.data : "", provider.len));
    a->end = &a->first;
    a->bytes = sizeof *a + sizeof(struct entry) + model.len + provider.len;
    return a;
}

void cache_answer_unref(struct cache_answer *a)
{
    if (!a || atomic_fetch_sub(&a->references, 1) > 1)
        return;
    for (struct kept *k = a->first; k;) {
        struct kept *next = k->next;
        free(k);
        k = next;
    }
    free(a->model);
    free(a->provider);
    free(a);
}

struct str cache_answer_model(const struct cache_answer *a)
{
    return str_from(a->model);
}

struct str cache_answer_provider(const struct cache_answer *a)
{
    return str_from(a->provider);
}

/* The strings of an event that is kept; false for a kind that is not. */
static bool strings_of(struct chat_event *e, struct str *out[4], size_t *n)
{
    *n = 0;
    switch (e->kind) {
    case CHAT_EVENT_TEXT:
    case CHAT_EVENT_REASONING:
        out[(*n)++] = &e->text;
        return e->n_tokens == 0; /* with log-probabilities: not worth its bytes */
    case CHAT_EVENT_TOOL_CALL:
        out[(*n)++] = &e->tool_call.id;
        out[(*n)++] = &e->tool_call.name;
        out[(*n)++] = &e->tool_call.arguments;
        out[(*n)++] = &e->tool_call.more;
        return true;
    case CHAT_EVENT_NATIVE:
        out[(*n)++] = &e->native.json;
        return true;
    case CHAT_EVENT_STOP:
        out[(*n)++] = &e->stop_string;
        return true;
    case CHAT_EVENT_USAGE:
        return true;
    default:
        return false;
    }
}

bool cache_answer_add(struct cache_answer *a, const struct chat_event *e)
{
    struct chat_event copy = *e;
    struct str *strings[4];
    size_t n, bytes = sizeof(struct kept);
    if (!strings_of(&copy, strings, &n))
        return false;
    for (size_t i = 0; i < n; i++)
        bytes += strings[i]->len;
    if (a->bytes + bytes > CACHE_ANSWER_MOST)
        return false;
    struct kept *k = must(malloc(bytes));
    char *at = k->text;
    for (size_t i = 0; i < n; i++) {
        if (strings[i]->len > 0)
            memcpy(at, strings[i]->data, strings[i]->len);
        strings[i]->data = at;
        at += strings[i]->len;
    }
    k->next = NULL;
    k->event = copy;
    *a->end = k;
    a->end = &k->next;
    a->bytes += bytes;
    return true;
}

void cache_answer_replay(const struct cache_answer *a, struct chat_sink sink)
{
    for (const struct kept *k = a->first; k; k = k->next)
        sink.event(sink.ctx, &k->event);
}

/* ---- The cache ---- */

struct cache *cache_create(void)
{
    struct cache *c = must(calloc(1, sizeof *c));
    pthread_mutex_init(&c->mutex, NULL);
    list_init(&c->used);
    return c;
}

static struct entry **slot_of(struct cache *c, const unsigned char *key)
{
    return &c->slots[(key[0] | (unsigned)key[1] << 8) % SLOTS];
}

static void drop(struct cache *c, struct entry *e)
{
    struct entry **at = slot_of(c, e->key);
    while (*at != e)
        at = &(*at)->next_in_slot;
    *at = e->next_in_slot;
    list_remove(&e->used);
    c->bytes -= e->answer->bytes;
    c->count--;
    cache_answer_unref(e->answer);
    free(e);
}

static void shrink(struct cache *c, size_t bytes)
{
    while (c->bytes > bytes)
        drop(c, list_item(c->used.prev, struct entry, used));
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    shrink(c, 0);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

void cache_configure(struct cache *c, int64_t ttl_ms, size_t max_bytes)
{
    pthread_mutex_lock(&c->mutex);
    c->ttl_ms = ttl_ms;
    c->max_bytes = max_bytes;
    shrink(c, max_bytes);
    pthread_mutex_unlock(&c->mutex);
}

static struct entry *find(struct cache *c, const unsigned char *key)
{
    struct entry *e = *slot_of(c, key);
    while (e && memcmp(e->key, key, CACHE_KEY) != 0)
        e = e->next_in_slot;
    return e;
}

void cache_put(struct cache *c, const unsigned char key[CACHE_KEY], struct cache_answer *a, int64_t now_ms)
{
    pthread_mutex_lock(&c->mutex);
    struct entry *old = find(c, key);
    if (old)
        drop(c, old);
    if (a->bytes <= c->max_bytes) {
        struct entry *e = must(calloc(1, sizeof *e)), **slot = slot_of(c, key);
        shrink(c, c->max_bytes - a->bytes);
        memcpy(e->key, key, CACHE_KEY);
        e->until_ms = now_ms + c->ttl_ms;
        e->answer = a;
        e->next_in_slot = *slot;
        *slot = e;
        list_push_back(c->used.next, &e->used); /* before the newest */
        c->bytes += a->bytes;
        c->count++;
        a = NULL;
    }
    pthread_mutex_unlock(&c->mutex);
    cache_answer_unref(a);
}

struct cache_answer *cache_get(struct cache *c, const unsigned char key[CACHE_KEY], int64_t now_ms)
{
    struct cache_answer *found = NULL;
    pthread_mutex_lock(&c->mutex);
    struct entry *e = find(c, key);
    if (e && now_ms >= e->until_ms) {
        drop(c, e);
    } else if (e) {
        list_remove(&e->used);
        list_push_back(c->used.next, &e->used);
        found = e->answer;
        atomic_fetch_add(&found->references, 1);
    }
    pthread_mutex_unlock(&c->mutex);
    return found;
}

void cache_size(struct cache *c, size_t *bytes, size_t *answers)
{
    pthread_mutex_lock(&c->mutex);
    *bytes = c->bytes;
    *answers = c->count;
    pthread_mutex_unlock(&c->mutex);
}
