/* A JSON schema to a grammar; a grammar that was written must be readable. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/grammar.h"
#include "engine/worker/json_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    struct buf gbnf;
    struct grammar *g;
    json_t *schema;
    if (size > 4096 || json_read((struct str){(const char *)data, size}, &schema, NULL))
        return 0;
    buf_init(&gbnf, 1 << 22);
    if (json_schema_grammar(schema, &gbnf, &err) == 0) {
        int rc = grammar_parse(buf_str(&gbnf), &g, &err);
        if (rc == 0)
            grammar_free(g);
        else if (strstr(err.message, "cannot be read in line")) {
            fprintf(stderr, "%s\n%.*s\n", err.message, (int)gbnf.len, gbnf.data);
            abort();
        }
    }
    buf_free(&gbnf);
    json_decref(schema);
    return 0;
}
