/* Runs engine tests on every instruction set that this CPU has. */
#ifndef TESTS_UNIT_ENGINE_ISA_H
#define TESTS_UNIT_ENGINE_ISA_H

#include <stdlib.h>

#include "engine/worker/backend.h"
#include "engine/worker/cpu/kernels.h"

static inline struct backend *backend_for(const char *isa, int32_t n_threads)
{
    struct backend *b;
    struct error err = {0};
    assert_int_equal(setenv("WEIR_ISA", isa, 1), 0);
    if (backend_cpu_create(n_threads, &b, &err) != 0)
        fail_msg("%s", err.message);
    assert_string_equal(backend_isa(b), isa);
    unsetenv("WEIR_ISA");
    return b;
}

#endif
