/* Any bytes as a text: findings lie inside it, in order but for those that only another reading of it shows
 * (their span is all of it), and come out the same twice. */
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
        size_t points = str_utf8_count(text), before = 0;
        for (size_t i = 0; i < f.n_entities; i++) {
            bool all = f.entities[i].start == 0 && f.entities[i].end == points;
            if ((f.entities[i].start < before && !all) || f.entities[i].start >= f.entities[i].end ||
                f.entities[i].end > points)
                abort();
            before = all ? before : f.entities[i].start;
        }
        if (router_detect(a, STR_NONE, text, &again, &err) || again.n_entities != f.n_entities ||
            again.categories != f.categories)
            abort();
        (void)router_score(text);
    }
    arena_free(a);
    return 0;
}
