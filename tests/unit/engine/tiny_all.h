/* A tiny model of every architecture, for tests of what holds for all of them. */
#ifndef TESTS_UNIT_ENGINE_TINY_ALL_H
#define TESTS_UNIT_ENGINE_TINY_ALL_H

#include "unit/engine/tiny_dense.h"
#include "unit/engine/tiny_model.h"
#include "unit/engine/tiny_special.h"

/* The index-th tiny model of all; NULL behind the last. */
static inline char *any_model(int32_t index, const char **name, size_t *size)
{
    enum {
        DENSE = sizeof dense_all / sizeof *dense_all - 1,
        SPECIAL = sizeof special_all / sizeof *special_all - 1
    };
    struct tiny tiny = TINY_DEFAULT;
    tiny.n_vocab = DENSE_VOCAB;
    *name = "llama";
    if (index < DENSE) {
        *name = dense_all[index].name;
        return dense_model(&dense_all[index], NULL, size);
    }
    if (index < DENSE + SPECIAL) {
        *name = special_all[index - DENSE].name;
        return special_model(&special_all[index - DENSE], NULL, size);
    }
    return index == DENSE + SPECIAL ? tiny_model(&tiny, size) : NULL;
}

#endif
