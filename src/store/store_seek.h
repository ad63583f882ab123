/* For store.c: reads that are done on a thread of their own. */
#ifndef WEIR_STORE_STORE_SEEK_H
#define WEIR_STORE_STORE_SEEK_H

#include "store/store.h"

struct store_seeker;
struct store_seeker *store_seeker_create(struct store *s);
void store_seeker_free(struct store_seeker *k); /* tells who still waits ERROR_CANCELLED; NULL is allowed */
int store_seeker_ask(struct store_seeker *k, struct str id, struct str key_id, struct arena *a,
    struct store_response *out, struct store_done done, struct error *err) MUST_USE;

#endif
