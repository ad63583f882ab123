/* libFuzzer: JSON as bytes. What our parser takes, jansson takes as well, and the trees are the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/json_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    json_t *ours = json_parse(text);
    if (!ours)
        return 0;
    json_error_t e;
    json_t *theirs = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    /* The order of keys counts, too. */
    char *a = json_dumps(ours, JSON_ENCODE_ANY), *b = theirs ? json_dumps(theirs, JSON_ENCODE_ANY) : NULL;
    if (!a || !b || strcmp(a, b) != 0) {
        fprintf(stderr, "broken: ours %s, theirs %s\n", a ? a : "(none)", b ? b : e.text);
        abort();
    }
    free(a);
    free(b);
    json_decref(ours);
    json_decref(theirs);
    return 0;
}
