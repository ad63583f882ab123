/* The signatures that Gemini gives with its tool calls and wants back with them. No other shape has a place
 * for one, so they stay here: a table in memory, as long as the process lives and no newer one takes the
 * place. A call whose signature is gone is sent with the word that Google documents for such calls. */
#include <pthread.h>
#include <stdlib.h>

#include "base/limits.h"
#include "provider/gemini.h"

enum { PLACES = 2048, SIGNATURE_MAX = 8 * KIB };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint64_t key; /* of the call's id and name; 0: free */
    struct buf signature;
} places[PLACES];

static uint64_t key_of(struct str id, struct str name)
{
    return (str_hash(id) * 31 + str_hash(name)) | 1;
}

void provider_gemini_signature_keep(struct str id, struct str name, struct str signature)
{
    uint64_t key = key_of(id, name);
    if (id.len == 0 || signature.len == 0 || signature.len > SIGNATURE_MAX)
        return;
    pthread_mutex_lock(&lock);
    struct buf *kept = &places[key / 2 % PLACES].signature;
    if (kept->max == 0)
        buf_init(kept, SIGNATURE_MAX);
    buf_clear(kept);
    bool whole = buf_append_str(kept, signature) == 0;
    places[key / 2 % PLACES].key = whole ? key : 0;
    pthread_mutex_unlock(&lock);
}

struct str provider_gemini_signature_find(struct arena *a, struct str id, struct str name)
{
    struct str found = STR_NONE;
    uint64_t key = key_of(id, name);
    pthread_mutex_lock(&lock);
    if (places[key / 2 % PLACES].key == key)
        found = arena_copy(a, buf_str(&places[key / 2 % PLACES].signature));
    pthread_mutex_unlock(&lock);
    return found;
}
