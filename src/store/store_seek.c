/* Reads that a loop must not wait for: a thread, made when the first is asked for, does one after another.
 *
 *   ask -> waiting -> the thread -> posted to the loop that asked */
#include "store/store_seek.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/must.h"

struct store_seeker {
    struct store *store;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t wake;
    struct list waiting;
    bool has_thread, stop;
};

struct seek {
    struct list node;
    struct str id, key_id;
    struct arena *arena;
    struct store_response *out;
    struct store_done done;
    int code;
};

struct store_seeker *store_seeker_create(struct store *s)
{
    struct store_seeker *k = must(calloc(1, sizeof *k));
    k->store = s;
    pthread_mutex_init(&k->mutex, NULL);
    pthread_cond_init(&k->wake, NULL);
    list_init(&k->waiting);
    return k;
}

static void on_found(void *ctx)
{
    struct seek *s = ctx;
    s->done.fn(s->done.ctx, s->code);
    free(s);
}

/* NULL: it is over. Those that still wait then are told so. */
static struct seek *seek_take(struct store_seeker *k, bool *stop)
{
    struct seek *s = NULL;
    pthread_mutex_lock(&k->mutex);
    while (list_empty(&k->waiting) && !k->stop)
        pthread_cond_wait(&k->wake, &k->mutex);
    if (!list_empty(&k->waiting)) {
        s = list_item(k->waiting.next, struct seek, node);
        list_remove(&s->node);
    }
    *stop = k->stop;
    pthread_mutex_unlock(&k->mutex);
    return s;
}

static void *seeker_main(void *ctx)
{
    struct store_seeker *k = ctx;
    struct seek *s;
    bool stop;
    while ((s = seek_take(k, &stop))) {
        struct error err;
        s->code =
            stop ? ERROR_CANCELLED : store_response_find(k->store, s->id, s->key_id, s->arena, s->out, &err);
        loop_post(s->done.loop, on_found, s);
    }
    return NULL;
}

int store_seeker_ask(struct store_seeker *k, struct str id, struct str key_id, struct arena *a,
    struct store_response *out, struct store_done done, struct error *err)
{
    int rc = 0;
    pthread_mutex_lock(&k->mutex);
    if (!k->has_thread)
        k->has_thread = pthread_create(&k->thread, NULL, seeker_main, k) == 0;
    if (!k->has_thread)
        rc = error_set(err, ERROR_MEMORY,
            "cannot start the thread that reads responses: raise the limit "
            "(ulimit -u)");
    if (rc == 0) {
        struct seek *s = must(calloc(1, sizeof *s));
        *s = (struct seek){.id = id, .key_id = key_id, .arena = a, .out = out, .done = done};
        list_push_back(&k->waiting, &s->node);
        pthread_cond_signal(&k->wake);
    }
    pthread_mutex_unlock(&k->mutex);
    return rc;
}

void store_seeker_free(struct store_seeker *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->mutex);
    k->stop = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->mutex);
    if (k->has_thread)
        pthread_join(k->thread, NULL);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->mutex);
    free(k);
}
