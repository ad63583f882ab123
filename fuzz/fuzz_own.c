/* Any text under an owner's layer of words, labels, patterns and an allow-list: spans lie within it, the same
 * text gives the same, and what was found is found with lines around it. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "router/detect_own.h"
#include "detector.h"

static const char owner_yaml[] = "{find: [{words: [a, be, \"be a\", \"kran*\", \"\xE9\xB3\xA5\", stra\xC3\x9F"
                                 "e]}, {labels: [amber, \"nur intern\"]}, {pattern: 'E[0-9]+x?'}], allow: "
                                 "[{type: OWN_PATTERN, values: [E1, E12x], "
                                 "why: known}, {type: OWN_WORD, pattern: '(?i)be a', why: known}]}";

static struct arena *owners; /* as long as the program */

static struct detect_own *own_make(void)
{
    struct error err;
    struct yaml_node *owner;
    struct detect_own *own = NULL;
    owners = arena_create(16 * MIB);
    if (yaml_read(owners, str_from(owner_yaml), "owner", &owner, &err) ||
        detect_own_compile(owners, owner, NULL, &own, &err))
        abort();
    return own;
}

static size_t found_of(const struct router_findings *f, const char *type)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n_entities; i++)
        n += strcmp(f->entities[i].type, type) == 0 && f->entities[i].score >= DETECT_SURE;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"OWN_WORD", "OWN_LABEL", "OWN_PATTERN"};
    static struct detect_own *own;
    struct str text = {(const char *)data, size};
    struct error err;
    if (!own)
        own = own_make();
    if (size > 16 * KIB || !str_utf8_valid(text))
        return 0;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct router_findings f = {0}, around = {0};
    struct buf wrapped;
    buf_init(&wrapped, 64 * KIB);
    buf_append_text(&wrapped, "Thanks a lot.\n");
    buf_append_str(&wrapped, text);
    buf_append_text(&wrapped, "\nIt is all public.");
    if (router_detect_own(own, a, STR_NONE, text, &f, &err) == 0) {
        for (size_t i = 0; i < f.n_entities; i++)
            if (f.entities[i].start > f.entities[i].end || f.entities[i].end > str_utf8_count(text) ||
                (f.entities[i].allowed && f.entities[i].score >= DETECT_SURE))
                abort();
        if (router_detect_own(own, a, STR_NONE, buf_str(&wrapped), &around, &err))
            abort();
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (found_of(&f, types[i]) > 0 && found_of(&around, types[i]) == 0 && around.more == 0)
                abort();
    }
    buf_free(&wrapped);
    arena_free(a);
    return 0;
}
