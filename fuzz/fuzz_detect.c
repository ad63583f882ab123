/* Any bytes as a text: findings lie inside it, and come out the same twice. They need not be in order: those
 * that another reading of the text shows stand behind the others, wherever they are. */
#include <stdlib.h>

#include "base/limits.h"
#include "router/router.h"
#include "detector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_create(64 * MIB);
    struct str text = {(const char *)data, size};
    struct router_findings f = {0}, again = {0};
    struct error err;
    if (router_detect(a, STR_NONE, text, &f, &err) == 0) {
        size_t points = str_utf8_count(text);
        for (size_t i = 0; i < f.n_entities; i++)
            if (f.entities[i].start >= f.entities[i].end || f.entities[i].end > points)
                abort();
        if (router_detect(a, STR_NONE, text, &again, &err) || again.n_entities != f.n_entities ||
            again.categories != f.categories)
            abort();
        (void)router_score(text);
    }
    arena_free(a);
    return 0;
}
