/* The types of the owner's own layer, and the reasons of its `allow`. Findings and decisions outlive a reload
 * and hold only pointers, so neither ever goes; the same one is made once. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/detect_own.h"

enum { TEXTS = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct own_type types[OWN_TYPES];
static size_t n_types; /* atomic: readers take no lock */
static const char *texts[TEXTS];
static size_t n_texts;

const struct detect_type *detect_own_type(size_t index)
{
    size_t n = __atomic_load_n(&n_types, __ATOMIC_ACQUIRE);
    return index < n ? &types[n - 1 - index].type : NULL;
}

/* Only types of the table have that rank. */
static const struct own_type *own_type_of(const struct detect_type *type)
{
    return type && type->rank == DETECT_RANK_OWN ? (const struct own_type *)type : NULL;
}

enum own_kind detect_own_kind(const struct detect_type *type)
{
    const struct own_type *own = own_type_of(type);
    return own ? own->kind : OWN_NONE;
}

bool detect_own_type_stays(const struct detect_type *type)
{
    const struct own_type *own = own_type_of(type);
    return own && own->stays;
}

/* With the lock held. */
static int text_keep(struct str text, const char **out, struct error *err)
{
    for (size_t i = 0; i < n_texts; i++)
        if (str_is(text, texts[i])) {
            *out = texts[i];
            return 0;
        }
    if (n_texts == TEXTS)
        return error_set(
            err, ERROR_LIMIT, "the owner's types and reasons were changed too often: restart weir");
    char *copy = strndup(text.data ? text.data : "", text.len);
    if (!copy)
        return error_set(err, ERROR_MEMORY, "no memory for the owner's types");
    *out = texts[n_texts++] = copy;
    return 0;
}

int own_text_keep(struct str text, const char **out, struct error *err)
{
    pthread_mutex_lock(&lock);
    int rc = text_keep(text, out, err);
    pthread_mutex_unlock(&lock);
    return rc;
}

static int type_add(
    const struct own_type *like, struct str name, const struct detect_type **out, struct error *err)
{
    static const char *const says[] = {[OWN_WORD] = "a word of the owner's own",
        [OWN_PATTERN] = "what a pattern of the owner's own says",
        [OWN_WHOLE] = "a mark of the owner's own"};
    char words[160];
    struct own_type *t = &types[n_types];
    for (size_t i = 0; i < n_types; i++)
        if (str_is(name, types[i].type.name) && types[i].type.category == like->type.category &&
            types[i].kind == like->kind && types[i].stays == like->stays) {
            *out = &types[i].type;
            return 0;
        }
    if (n_types == OWN_TYPES)
        return error_set(
            err, ERROR_LIMIT, "more than %d types of the owner's own: use fewer, or restart weir", OWN_TYPES);
    *t = *like;
    t->type.rank = DETECT_RANK_OWN;
    int rc = text_keep(name, &t->type.name, err);
    snprintf(words, sizeof words, "%s (" STR_FMT ")", says[like->kind], STR_ARG(name));
    if (rc == 0)
        rc = text_keep(str_from(words), &t->type.words, err);
    if (rc)
        return rc;
    *out = &t->type;
    __atomic_store_n(&n_types, n_types + 1, __ATOMIC_RELEASE);
    return 0;
}

int own_type_make(
    const struct own_type *like, struct str name, const struct detect_type **out, struct error *err)
{
    pthread_mutex_lock(&lock);
    int rc = type_add(like, name, out, err);
    pthread_mutex_unlock(&lock);
    return rc;
}
